-- Workers by name, so that a worker that comes back is known as the one that went away.

create table workers (
    name        text primary key check (name ~ '^[A-Za-z0-9_-]{1,128}$'),
    worker_id   text not null,
    agents      text[] not null,
    concurrency int not null,
    held        int not null,
    version     text not null,
    started_at  timestamptz not null,
    heard_at    timestamptz not null,
    lost_at     timestamptz
);
comment on table workers is 'Workers that announced themselves: who has which name, and since when nobody heard of them.';
comment on column workers.worker_id is 'The process that has the name; attempts and claims carry it.';
comment on column workers.lost_at is 'When it was noticed that nobody had heard of it for a lease.';

-- What the run-time role may do with the tables of operations. Later migrations replace it.
create function grant_operations(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role = current_user then
        return;
    end if;
    execute format('grant select, insert, update, delete on workers to %I', run_time_role);
end $$;
revoke execute on function grant_operations(name) from public;
