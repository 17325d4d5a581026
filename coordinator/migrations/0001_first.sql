-- The first schema. Migrations are additive and never edited once released; a breaking change takes
-- two steps. Table and column comments are for people who query the database directly.

-- Runs. The row is narrow and updated in place: no indexed column changes while a run is under way,
-- and pages keep room, so that updates stay heap-only.
create table runs (
    workflow_id        text primary key check (workflow_id ~ '^[A-Za-z0-9_-]{1,64}$'),
    started_month      date not null,
    template_name      text not null,
    template_sha256    text not null,
    status             text not null check (status in
                       ('pending', 'running', 'paused', 'completed', 'failed', 'rolled_back', 'cancelled')),
    current_step       text,
    sequence           bigint not null check (sequence > 0),
    last_hash          bytea not null check (octet_length(last_hash) = 32),
    parent_workflow_id text,
    started_at         timestamptz not null,
    updated_at         timestamptz not null,
    completed_at       timestamptz,
    failed_step        text,
    error_message      text
) with (fillfactor = 70);
comment on table runs is 'One row a run: where it stands. Rebuilt from events at any time.';
comment on column runs.started_month is 'First day of the UTC month the run started in; its events lie in that partition.';
comment on column runs.sequence is 'Number of events; the optimistic check of every writer.';
comment on column runs.last_hash is 'SHA-256 of the last event''s canonical bytes; the next event names it.';

-- Both indexes cover columns that change at most once in a run's life.
create index runs_open on runs (workflow_id) where completed_at is null;
create index runs_newest on runs (started_at desc, workflow_id desc);

-- Events are stored as the bytes that were signed; views make them readable.
create table events (
    started_month date not null,
    workflow_id   text not null,
    sequence      bigint not null check (sequence > 0),
    body          bytea not null,
    signature     bytea not null check (octet_length(signature) = 32),
    primary key (started_month, workflow_id, sequence)
) partition by range (started_month);
comment on table events is 'Append-only history of every run, partitioned by the month the run started.';
comment on column events.body is 'RFC 8785 canonical JSON of the event without its signature, UTF-8.';
comment on column events.signature is 'HMAC-SHA256 of body under the secret that body.key_id names.';

create function refuse_event_change() returns trigger language plpgsql as $$
begin
    raise exception 'events are append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end $$;
create trigger events_append_only before update or delete on events
    for each row execute function refuse_event_change();
create trigger events_no_truncate before truncate on events
    for each statement execute function refuse_event_change();

create view workflow_events as
    select data ->> 'event_id' as event_id, e.workflow_id, e.sequence, data ->> 'action' as action,
           data ->> 'step_id' as step_id, data -> 'data' as data,
           (data ->> 'timestamp')::timestamptz as timestamp,
           (data ->> 'event_version')::int as event_version,
           data ->> 'prev_hash' as prev_hash, data ->> 'key_id' as key_id,
           encode(e.signature, 'hex') as signature,
           data ->> 'parent_workflow_id' as parent_workflow_id
      from events e
      cross join lateral (select convert_from(e.body, 'UTF8')::jsonb as data) as readable;
comment on view workflow_events is 'Events with their fields as columns.';

-- Template texts, by what they contain: a run goes on with the text it started with.
create table templates (
    sha256     text primary key check (sha256 ~ '^[0-9a-f]{64}$'),
    file_name  text not null,
    body       text not null,
    created_at timestamptz not null default now()
);
comment on table templates is 'Every template text that a run was started with.';

-- Outstanding attempts only: a settled attempt is deleted, so the table stays as small as the work
-- under way. The command itself is not stored: it is a function of the run's state. No foreign key:
-- its check would lock the run's row once more for every attempt, and runs are never deleted.
create table attempts (
    workflow_id           text not null,
    step_path             text not null,
    visit                 int not null check (visit > 0),
    attempt               int not null check (attempt > 0),
    agent                 text not null,
    urgent                boolean not null,
    claim                 boolean not null,
    idempotent            boolean not null,
    timeout_ms            bigint not null,
    queue_timeout_ms      bigint,
    lease_ms              bigint not null,
    due_at                timestamptz not null,
    fence                 bigint not null default 1,
    dispatch              int not null default 1,
    lost                  int not null default 0,
    stream_created_micros bigint,
    stream_sequence       bigint,
    published_at          timestamptz,
    worker_id             text,
    claimed               boolean not null default false,
    leased_at             timestamptz,
    lease_until           timestamptz,
    primary key (workflow_id, step_path, visit, attempt)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
comment on table attempts is 'Outstanding executions: outbox, lease and fence in one row.';
comment on column attempts.fence is 'Only messages with this number are listened to.';
comment on column attempts.dispatch is 'How often the attempt was published.';
comment on column attempts.lost is 'Dispatches lost under a worker.';
comment on column attempts.stream_created_micros is 'Creation time of the stream that holds the message.';

-- Locks belong to runs, not to processes: there is no lease to run out.
create table locks (
    name           text primary key check (name <> ''),
    workflow_id    text references runs deferrable initially deferred,
    step           text,
    fencing_number bigint not null default 0,
    acquired_at    timestamptz
);
comment on table locks is 'Exclusive locks. A free lock keeps its row for its fencing number.';
create table lock_waiters (
    waiter_id    bigint generated always as identity primary key,
    name         text not null references locks,
    workflow_id  text not null references runs deferrable initially deferred,
    step         text not null,
    requested_at timestamptz not null,
    wait_until   timestamptz,
    constraint lock_waiters_once unique (name, workflow_id, step)
);
comment on table lock_waiters is 'Queue behind a lock, in order of waiter_id.';

create table approvals (
    approval_id   text primary key,
    workflow_id   text not null references runs deferrable initially deferred,
    step_id       text not null,
    status        text not null check (status in ('pending', 'approved', 'rejected', 'expired', 'cancelled')),
    reason        text not null,
    risk_level    text not null,
    approver_role text,
    required      int not null check (required > 0),
    created_at    timestamptz not null,
    decided_at    timestamptz
);
comment on table approvals is 'What people were asked to decide. Waiting costs nothing but this row.';
create index approvals_pending on approvals (workflow_id) where status = 'pending';

-- Answers to mutating requests that named themselves, so that a repeated one changes nothing.
create table requests (
    request_id text primary key,
    verb       text not null,
    response   bytea not null,
    created_at timestamptz not null default now()
);
comment on table requests is 'Answers to mutating requests, kept seven days.';

create table dead_letters (
    dead_letter_id bigint generated always as identity primary key,
    source         text not null,
    subject        text not null,
    reason         text not null,
    payload        bytea not null,
    created_at     timestamptz not null default now()
);
comment on table dead_letters is 'Messages that could not be processed, with the reason.';

-- Makes the event partitions of `months` months from the month of `first` on. Runs as the owner,
-- since the run-time role may not create tables.
create function ensure_event_partitions(first date, months int) returns void
language plpgsql security definer set search_path from current as $$
declare
    month date;
begin
    -- Two coordinators may ask at once.
    perform pg_advisory_xact_lock(hashtext('ensure_event_partitions'));
    for month in select generate_series(date_trunc('month', first),
                 date_trunc('month', first) + make_interval(months => months - 1), interval '1 month') loop
        execute format('create table if not exists %I partition of events for values from (%L) to (%L)',
                       'events_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
    end loop;
end $$;

-- What the run-time role may do: everything it needs, and no change to what was recorded.
create function grant_run_time(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role = current_user then
        return;
    end if;
    execute format('grant usage on schema %I to %I', current_schema(), run_time_role);
    execute format('grant select, insert on events, templates to %I', run_time_role);
    execute format('grant select on workflow_events to %I', run_time_role);
    execute format('grant select, insert, update on runs, locks, approvals to %I', run_time_role);
    execute format('grant select, insert, update, delete on attempts, lock_waiters, requests, dead_letters to %I',
                   run_time_role);
    execute format('grant execute on function ensure_event_partitions(date, int) to %I', run_time_role);
end $$;
revoke execute on function ensure_event_partitions(date, int) from public;
revoke execute on function grant_run_time(name) from public;
