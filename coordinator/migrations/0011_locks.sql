-- Runs of urgent templates queue before the others.
alter table lock_waiters add column urgent boolean not null default false;
comment on table lock_waiters is 'Queue behind a lock: urgent ones first, then in order of waiter_id.';

-- Who waits for its children waits for whatever they wait for.
create index runs_open_children on runs (parent_workflow_id)
    where parent_workflow_id is not null and completed_at is null;
