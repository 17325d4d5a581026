-- The archive: events of runs that ended long ago, out of the way of the others. Whole runs are moved, byte by
-- byte; their rows in `runs` stay, so that everything that reads finds them.

create table events_archive (
    started_month date not null,
    workflow_id   text not null,
    sequence      bigint not null check (sequence > 0),
    body          bytea not null,
    signature     bytea not null check (octet_length(signature) = 32),
    archived_at   timestamptz not null,
    primary key (started_month, workflow_id, sequence)
) partition by range (started_month);
comment on table events_archive is 'Events of runs that ended long ago, as they were in events; partitioned by the month the run started.';
comment on column events_archive.started_month is 'First day of the UTC month the run started in.';
comment on column events_archive.workflow_id is 'The run.';
comment on column events_archive.sequence is 'Number of the event in its run, from 1 without gaps.';
comment on column events_archive.body is 'RFC 8785 canonical JSON of the event without its signature, UTF-8.';
comment on column events_archive.signature is 'HMAC-SHA256 of body under the secret that body.key_id names.';
comment on column events_archive.archived_at is 'When it was moved here.';

create function refuse_archive_change() returns trigger language plpgsql as $$
begin
    raise exception 'the archive is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end $$;
create trigger events_archive_append_only before update or delete on events_archive
    for each row execute function refuse_archive_change();
create trigger events_archive_no_truncate before truncate on events_archive
    for each statement execute function refuse_archive_change();

-- An event may leave `events` only when the archive has it to the byte: it is moved, and never lost. A new
-- partition looks empty to the planner, which must not walk through it for every row all the same.
create or replace function refuse_event_change() returns trigger language plpgsql
set search_path from current set enable_seqscan = off as $$
begin
    if tg_op = 'DELETE' then
        if exists (select from events_archive a
                    where a.started_month = old.started_month and a.workflow_id = old.workflow_id
                      and a.sequence = old.sequence and a.body = old.body
                      and a.signature = old.signature) then
            return old;
        end if;
    end if;
    raise exception 'events are append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end $$;

-- Null while a run has events that are not in the archive. One that goes on, or is annotated, has some again.
alter table runs add column archived_at timestamptz;
comment on column runs.archived_at is 'When its events were moved into the archive; null while it has some that are not there.';
-- For those that may be archived, those that ended lately, and those that were archived lately: nothing is
-- archived before it has ended. A run has one entry from its end on.
create index runs_ended on runs (archived_at, completed_at, workflow_id) where completed_at is not null;

-- What reads the record reads this.
create view every_event as
    select started_month, workflow_id, sequence, body, signature from events
    union all
    select started_month, workflow_id, sequence, body, signature from events_archive;
comment on view every_event is 'Events and archived events as they are stored.';
comment on column every_event.started_month is 'First day of the UTC month the run started in.';
comment on column every_event.workflow_id is 'The run.';
comment on column every_event.sequence is 'Number of the event in its run, from 1 without gaps.';
comment on column every_event.body is 'RFC 8785 canonical JSON of the event without its signature, UTF-8.';
comment on column every_event.signature is 'HMAC-SHA256 of body under the secret that body.key_id names.';

create or replace view workflow_events as
    select data ->> 'event_id' as event_id, e.workflow_id, e.sequence, data ->> 'action' as action,
           data ->> 'step_id' as step_id, data -> 'data' as data,
           (data ->> 'timestamp')::timestamptz as timestamp,
           (data ->> 'event_version')::int as event_version,
           data ->> 'prev_hash' as prev_hash, data ->> 'key_id' as key_id,
           encode(e.signature, 'hex') as signature,
           data ->> 'parent_workflow_id' as parent_workflow_id
      from every_event e
      cross join lateral (select convert_from(e.body, 'UTF8')::jsonb as data) as readable;
comment on view workflow_events is 'Events with their fields as columns, archived ones too.';

create view workflow_events_archive as
    select data ->> 'event_id' as event_id, e.workflow_id, e.sequence, data ->> 'action' as action,
           data ->> 'step_id' as step_id, data -> 'data' as data,
           (data ->> 'timestamp')::timestamptz as timestamp,
           (data ->> 'event_version')::int as event_version,
           data ->> 'prev_hash' as prev_hash, data ->> 'key_id' as key_id,
           encode(e.signature, 'hex') as signature,
           data ->> 'parent_workflow_id' as parent_workflow_id,
           e.archived_at
      from events_archive e
      cross join lateral (select convert_from(e.body, 'UTF8')::jsonb as data) as readable;
comment on view workflow_events_archive is 'Archived events with their fields as columns.';
comment on column workflow_events_archive.event_id is 'UUID.';
comment on column workflow_events_archive.workflow_id is 'The run.';
comment on column workflow_events_archive.sequence is 'Place in the history of the run, from 1 without gaps.';
comment on column workflow_events_archive.action is 'What happened, such as complete_step.';
comment on column workflow_events_archive.step_id is 'The step it is about, if it is about one.';
comment on column workflow_events_archive.data is 'What there is to say of it; its fields depend on the action.';
comment on column workflow_events_archive.timestamp is 'When it happened.';
comment on column workflow_events_archive.event_version is 'Form of the event as it is stored.';
comment on column workflow_events_archive.prev_hash is 'SHA-256 of the preceding event, in hex; zeros in the first one.';
comment on column workflow_events_archive.key_id is 'The secret that signed it.';
comment on column workflow_events_archive.signature is 'HMAC-SHA256 in hex.';
comment on column workflow_events_archive.parent_workflow_id is 'The run that started this one, if one did.';
comment on column workflow_events_archive.archived_at is 'When the event was moved into the archive.';

create table archive_moves (
    move_id      bigint generated always as identity primary key,
    requested_by text not null,
    ended_before timestamptz not null,
    runs         bigint not null,
    events       bigint not null,
    moved_at     timestamptz not null
);
comment on table archive_moves is 'Who had runs moved into the archive: one row a batch, written with it.';
comment on column archive_moves.move_id is 'Number of the batch.';
comment on column archive_moves.requested_by is 'Who asked for it, in their own words.';
comment on column archive_moves.ended_before is 'Only runs that had ended before were moved.';
comment on column archive_moves.runs is 'Runs that were moved.';
comment on column archive_moves.events is 'Events that were moved.';
comment on column archive_moves.moved_at is 'When.';

-- Makes the partitions that the next batch needs. In a transaction of its own, and attached rather than
-- created in place, so that nobody who reads the archive waits for it.
create function ensure_archive_partitions(ended_before timestamptz, most_runs int) returns void
language plpgsql security definer set search_path from current as $$
declare
    month date;
    part  text;
begin
    for month in select distinct c.started_month
                   from (select started_month from runs
                          where archived_at is null and completed_at < ended_before
                          order by completed_at, workflow_id limit most_runs) c loop
        part := 'events_archive_' || to_char(month, 'YYYY_MM');
        continue when exists (select from pg_tables where schemaname = current_schema() and tablename = part);
        -- Two coordinators may ask at once. A query sees what the other has made meanwhile; `to_regclass`
        -- would remember that there was no such table.
        perform pg_advisory_xact_lock(hashtext('ensure_event_partitions'));
        continue when exists (select from pg_tables where schemaname = current_schema() and tablename = part);
        execute format('create table %I (like events_archive including all)', part);
        execute format('alter table events_archive attach partition %I for values from (%L) to (%L)',
                       part, month, (month + interval '1 month')::date);
    end loop;
end $$;

-- Moves one batch of runs that had ended before a moment: the first to end first, at most so many, and no
-- more events than that unless a single run has more. Runs that somebody else is at are left for next time.
-- It runs as the owner: the run-time role can have events moved, and neither changed nor deleted.
create function archive_ended_runs(ended_before timestamptz, most_runs int, most_events bigint, actor text)
returns table (moved_runs bigint, moved_events bigint)
language plpgsql security definer set search_path from current set enable_seqscan = off as $$
declare
    ids     text[];
    inserts bigint;
    deletes bigint;
    moment  timestamptz := clock_timestamp();
begin
    with candidates as (
        select r.workflow_id, r.completed_at, r.sequence from runs r
         where r.archived_at is null and r.completed_at < ended_before
         order by r.completed_at, r.workflow_id limit most_runs
           for update skip locked),
    counted as (
        select c.workflow_id, sum(c.sequence) over (order by c.completed_at, c.workflow_id) as total,
               row_number() over (order by c.completed_at, c.workflow_id) as place
          from candidates c)
    select array_agg(c.workflow_id) into ids from counted c where c.place = 1 or c.total <= most_events;
    if ids is null then
        return query select 0::bigint, 0::bigint;
        return;
    end if;
    insert into events_archive (started_month, workflow_id, sequence, body, signature, archived_at)
    select e.started_month, e.workflow_id, e.sequence, e.body, e.signature, moment
      from runs r join events e on e.started_month = r.started_month and e.workflow_id = r.workflow_id
     where r.workflow_id = any(ids);
    get diagnostics inserts = row_count;
    delete from events e using runs r
     where r.workflow_id = any(ids) and e.started_month = r.started_month and e.workflow_id = r.workflow_id;
    get diagnostics deletes = row_count;
    if inserts <> deletes then
        raise exception '% events were copied and % deleted: nothing is moved', inserts, deletes;
    end if;
    update runs r set archived_at = moment where r.workflow_id = any(ids);
    insert into archive_moves (requested_by, ended_before, runs, events, moved_at)
    values (actor, ended_before, cardinality(ids), inserts, moment);
    return query select cardinality(ids)::bigint, inserts;
end $$;

create function grant_run_time_archive(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role = current_user then
        return;
    end if;
    execute format('grant select on events_archive, every_event, workflow_events_archive, archive_moves to %I',
                   run_time_role);
    execute format('grant execute on function ensure_archive_partitions(timestamptz, int) to %I', run_time_role);
    execute format('grant execute on function archive_ended_runs(timestamptz, int, bigint, text) to %I',
                   run_time_role);
end $$;
revoke execute on function ensure_archive_partitions(timestamptz, int) from public;
revoke execute on function archive_ended_runs(timestamptz, int, bigint, text) from public;
revoke execute on function grant_run_time_archive(name) from public;
