-- States of runs after every tenth event, so that a long history need not be folded from its beginning. A
-- snapshot is signed like an event, because whoever could change it could change what a run does next.
create table snapshots (
    workflow_id text not null,
    event_count bigint not null check (event_count > 0 and event_count % 10 = 0),
    snapshot_id text not null,
    format      int not null,
    state       bytea not null,
    last_hash   bytea not null check (octet_length(last_hash) = 32),
    key_id      text not null,
    signature   bytea not null check (octet_length(signature) = 32),
    created_at  timestamptz not null,
    primary key (workflow_id, event_count)
);
comment on table snapshots is 'States after every tenth event, the last three of each run. Rebuilt from events at any time.';
comment on column snapshots.state is 'JSON of the state, UTF-8.';
comment on column snapshots.last_hash is 'SHA-256 of the last event that is folded into it.';
comment on column snapshots.format is 'Which releases can read the state; others fold the events.';
-- Lies beside its row: it is read whole or not at all.
alter table snapshots alter column state set storage extended;

create view workflow_snapshots as
    select snapshot_id, workflow_id, convert_from(state, 'UTF8')::jsonb as state, event_count, created_at,
           false as compressed
      from snapshots;
comment on view workflow_snapshots is 'Kept states with their fields as columns.';

create function grant_run_time_snapshots(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role = current_user then
        return;
    end if;
    execute format('grant select, insert, delete on snapshots to %I', run_time_role);
    execute format('grant select on workflow_snapshots to %I', run_time_role);
end $$;
revoke execute on function grant_run_time_snapshots(name) from public;
