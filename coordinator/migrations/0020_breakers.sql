-- Circuit breakers across runs and coordinators. Only breakers that are not as new have a row that says
-- something; a closed one keeps its row for its version.
create table breakers (
    template_name     text not null,
    step              text not null,
    version           bigint not null default 1,
    failures          int not null check (failures >= 0),
    successes         int not null check (successes >= 0),
    opened_at         timestamptz,
    trial_workflow_id text,
    trial_until       timestamptz,
    updated_at        timestamptz not null,
    primary key (template_name, step),
    check ((trial_workflow_id is null) = (trial_until is null))
);
comment on table breakers is 'Steps that have failed for good in a row, by template file.';
comment on column breakers.version is 'The optimistic check of every writer.';
comment on column breakers.failures is 'Executions in a row that failed for good.';
comment on column breakers.successes is 'Trials that worked since the breaker opened.';
comment on column breakers.opened_at is 'While it is set, the step is refused or tried; null: closed.';

create function grant_run_time_breakers(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role = current_user then
        return;
    end if;
    execute format('grant select, insert, update on breakers to %I', run_time_role);
end $$;
revoke execute on function grant_run_time_breakers(name) from public;
