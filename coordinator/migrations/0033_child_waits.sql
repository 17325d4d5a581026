-- Ends of runs that other runs wait for: one row a waiting step. It is written and deleted in the
-- transactions of the parent's events, so that whoever looks can tell a parent that waits from one that is
-- stranded, and a child whose end was never told from one that nobody waits for.
create table child_waits (
    workflow_id       text not null,
    step_path         text not null,
    visit             int not null check (visit > 0),
    child_workflow_id text not null unique,
    primary key (workflow_id, step_path, visit)
);
comment on table child_waits is 'Steps that wait for the end of a run that they started.';

create function grant_run_time_child_waits(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role <> current_user then
        execute format('grant select, insert, delete on child_waits to %I', run_time_role);
    end if;
end $$;
revoke execute on function grant_run_time_child_waits(name) from public;
