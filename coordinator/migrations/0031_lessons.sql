-- What runs learn from each other's failures. It helps agents and decides nothing: losing it costs a hint.
create table lessons (
    agent      text not null,
    signature  text not null,
    failures   bigint not null check (failures >= 0),
    recovered  bigint not null check (recovered >= 0),
    fix        text,
    updated_at timestamptz not null,
    primary key (agent, signature)
);
create index lessons_by_age on lessons (agent, updated_at);
comment on table lessons is 'Failures that are alike, by agent: how often they came, how often trying again worked, what helped.';
comment on column lessons.signature is 'Stable word and message of the failure, without what differs from one to the next.';
comment on column lessons.fix is 'What the agent said had helped, the last time it said so.';

create function grant_run_time_lessons(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role = current_user then
        return;
    end if;
    execute format('grant select, insert, update, delete on lessons to %I', run_time_role);
end $$;
revoke execute on function grant_run_time_lessons(name) from public;
