-- Runs that have moved since their last checkpoint. Empty, and not written to, where no checkpoints are made.
create table checkpoints_due (
    workflow_id text primary key,
    sequence    bigint not null,
    last_hash   bytea not null check (octet_length(last_hash) = 32),
    ended       boolean not null,
    due_at      timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
comment on table checkpoints_due is 'Runs that have moved since their last checkpoint, and when the next one is made at the latest.';
create index checkpoints_due_at on checkpoints_due (due_at);

create function grant_run_time_checkpoints(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role <> current_user then
        execute format('grant select, insert, update, delete on checkpoints_due to %I', run_time_role);
    end if;
end $$;
revoke execute on function grant_run_time_checkpoints(name) from public;
