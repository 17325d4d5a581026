-- Moments that runs wait for: one row a waiting step. A wait costs nothing but its row and its place in
-- the index that every sweep looks at the head of.
create table timers (
    workflow_id text not null,
    step_path   text not null,
    visit       int not null check (visit > 0),
    due_at      timestamptz not null,
    primary key (workflow_id, step_path, visit)
);
comment on table timers is 'Moments that runs wait for. The step goes on at the first sweep after due_at.';
create index timers_due on timers (due_at);

-- Each migration with a table grants what the run-time role needs; `grant_run_time` does the rest.
create function grant_run_time_timers(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role <> current_user then
        execute format('grant select, insert, delete on timers to %I', run_time_role);
    end if;
end $$;
revoke execute on function grant_run_time_timers(name) from public;
