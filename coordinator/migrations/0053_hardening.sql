-- Makes the event partitions of `months` months from the month of `first` on. Runs as the owner, since the run-time
-- role may not create tables. Attached rather than created in place, so that nobody who reads events for long holds
-- up those who write them.
create or replace function ensure_event_partitions(first date, months int) returns void
language plpgsql security definer as $$
declare
    month date;
begin
    for month in select generate_series(date_trunc('month', first),
                 date_trunc('month', first) + make_interval(months => months - 1), interval '1 month') loop
        perform attach_partition('events', month);
    end loop;
end $$;

-- Makes one partition of `events` or of `events_archive`, if it is not there.
create function attach_partition(parent text, month date) returns void language plpgsql as $$
declare
    part text := parent || to_char(month, '_YYYY_MM');
begin
    if exists (select from pg_tables where schemaname = current_schema() and tablename = part) then
        return;
    end if;
    -- Two coordinators may ask at once. A query sees what the other has made meanwhile; `to_regclass` would
    -- remember that there was no such table.
    perform pg_advisory_xact_lock(hashtext('ensure_event_partitions'));
    if exists (select from pg_tables where schemaname = current_schema() and tablename = part) then
        return;
    end if;
    execute format('create table %I (like %I including all)', part, parent);
    execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                   parent, part, month, (month + interval '1 month')::date);
    perform refuse_truncate(part);
end $$;
revoke execute on function attach_partition(text, date) from public;

-- A partition does not inherit the triggers of statements.
create function refuse_truncate(part text) returns void language plpgsql as $$
begin
    execute format('create trigger no_truncate before truncate on %I
                    for each statement execute function refuse_archive_change()', part);
end $$;
revoke execute on function refuse_truncate(text) from public;
create or replace function refuse_archive_change() returns trigger language plpgsql as $$
begin
    raise exception 'events are append-only: % of % refused', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end $$;
select refuse_truncate(c.relname::text)
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
 where i.inhparent in ('events'::regclass, 'events_archive'::regclass);

-- Makes the partitions of the archive into which runs of those months may be moved. In a transaction of its own.
create or replace function ensure_archive_partitions(ended_before timestamptz, most_runs int) returns void
language plpgsql security definer as $$
declare
    month date;
begin
    -- Not from the runs alone: which of them a batch takes depends on what others are at.
    for month in select m.month
                   from (select to_date(right(c.relname, 7), 'YYYY_MM') as month
                           from pg_inherits i join pg_class c on c.oid = i.inhrelid
                          where i.inhparent = 'events'::regclass) m
                  where m.month <= (ended_before at time zone 'utc')::date
                  union
                 select r.started_month
                   from (select started_month from runs
                          where archived_at is null and completed_at < ended_before
                          order by archived_at, completed_at, workflow_id limit most_runs) r loop
        perform attach_partition('events_archive', month);
    end loop;
end $$;

-- As before, but for the order, which is now that of the index: `archived_at` is null in all of them.
create or replace function archive_ended_runs(ended_before timestamptz, most_runs int, most_events bigint, actor text)
returns table (moved_runs bigint, moved_events bigint)
language plpgsql security definer set enable_seqscan = off as $$
declare
    ids     text[];
    inserts bigint;
    deletes bigint;
    moment  timestamptz := clock_timestamp();
begin
    with candidates as (
        select r.workflow_id, r.completed_at, r.sequence from runs r
         where r.archived_at is null and r.completed_at < ended_before
         order by r.archived_at, r.completed_at, r.workflow_id limit most_runs
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

-- A function that runs as the owner, or that lets an event go, must find our tables and no temporary ones of the
-- same name: PostgreSQL looks for those first unless the path names them, and then in that place. Without this the
-- run-time role could have events deleted for good, and have its own code run as the owner.
do $$
declare
    guarded regprocedure;
begin
    foreach guarded in array array['ensure_event_partitions(date, int)', 'attach_partition(text, date)',
            'refuse_truncate(text)', 'ensure_archive_partitions(timestamptz, int)',
            'archive_ended_runs(timestamptz, int, bigint, text)', 'refuse_event_change()']::regprocedure[] loop
        execute format('alter function %s set search_path = %I, pg_temp', guarded, current_schema());
    end loop;
end $$;

-- Only our own views: one that somebody else has made is theirs to grant, and must keep no coordinator from
-- starting.
create or replace function grant_reading(reader name) returns void language plpgsql as $$
declare
    readable name;
begin
    execute format('grant usage on schema %I to %I', current_schema(), reader);
    for readable in select v.viewname from pg_views v
                     where v.schemaname = current_schema()
                       and v.viewowner = (select o.viewowner from pg_views o
                                           where o.schemaname = v.schemaname and o.viewname = 'workflow_state') loop
        execute format('grant select on %I to %I', readable, reader);
    end loop;
end $$;

-- A child whose parent is not in this database begins a chain, too.
create or replace view workflow_chains as
    with recursive chain as (
        select workflow_id, workflow_id as root_workflow_id, 1 as depth, array[workflow_id] as chain_path
          from runs r
         where parent_workflow_id is null
            or not exists (select from runs p where p.workflow_id = r.parent_workflow_id)
        union all
        select r.workflow_id, c.root_workflow_id, c.depth + 1, c.chain_path || r.workflow_id
          from chain c join runs r on r.parent_workflow_id = c.workflow_id
         where c.depth < 20 and r.workflow_id <> all (c.chain_path))
    select workflow_id, root_workflow_id, depth, chain_path,
           max(depth) over (partition by root_workflow_id) as chain_length
      from chain;
