-- What people query: runs as the relation `workflow_state`, whose deletion hides runs that have ended and
-- takes nothing from the record.

-- Hidden runs leave lists; their events, their state by id and their exports stay. Only rows of runs that have
-- ended are ever written for it, and a run that somebody takes up again is shown again.
--
-- The outcome is the status of a run that has ended. Lists by status look for it: an index over the status
-- itself would have every change from running to paused and back write to all indexes of the table, which are
-- left alone as long as no indexed column changes.
alter table runs
    add column hidden_at timestamptz,
    add column hidden_by text,
    add column outcome   text generated always as (case when completed_at is not null then status end) stored,
    add constraint runs_hidden_after_end check (hidden_at is null or completed_at is not null);

create index runs_listed on runs (started_at desc, workflow_id desc) where hidden_at is null;
create index runs_listed_by_outcome on runs (outcome, started_at desc, workflow_id desc)
    where hidden_at is null and outcome is not null;
create index runs_listed_by_template on runs (template_name, started_at desc, workflow_id desc)
    where hidden_at is null;
-- Hidden runs would lie in the way of every list.
drop index runs_newest;

-- A run that ends leaves its entry in `runs_open` behind until the next vacuum. The default waits for a fifth
-- of the table, and lists and the watchdog would walk over the remains of all those runs.
alter table runs set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);

-- Replays and people ask for all approvals of a run, however old.
create index approvals_of_run on approvals (workflow_id);
-- Free locks keep their rows, one for every name there ever was.
create index locks_held on locks (workflow_id) where workflow_id is not null;

create view workflow_state as
    select workflow_id, template_name, status, current_step, started_at, updated_at, completed_at, failed_step,
           error_message, parent_workflow_id, sequence as version
      from runs
     where hidden_at is null;
comment on view workflow_state is 'Runs and where they stand. Deleting one that has ended hides it and keeps its record.';

-- Runs as the owner of the tables, whose schema is that of the view: no search path can slip in another one.
create function hide_run() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    changed int;
    ended   boolean;
begin
    execute format('update %I.runs set hidden_at = now(), hidden_by = session_user
                     where workflow_id = $1 and completed_at is not null and hidden_at is null', tg_table_schema)
        using old.workflow_id;
    get diagnostics changed = row_count;
    if changed = 1 then
        return old;
    end if;
    execute format('select completed_at is not null from %I.runs where workflow_id = $1', tg_table_schema)
        into ended using old.workflow_id;
    if ended then
        return null; -- Somebody else was first.
    end if;
    raise exception 'run % is %: only runs that have ended can be deleted', old.workflow_id, old.status
        using errcode = 'object_not_in_prerequisite_state',
              hint = format('End it first: sluice cancel %s. Nothing was deleted.', old.workflow_id);
end $$;
create trigger workflow_state_delete instead of delete on workflow_state
    for each row execute function hide_run();

create function refuse_run_change() returns trigger language plpgsql as $$
begin
    raise exception 'workflow_state shows what the record says: % refused', tg_op
        using errcode = 'insufficient_privilege', hint = 'Runs are started and moved through the API.';
end $$;
create trigger workflow_state_refuse instead of insert or update on workflow_state
    for each row execute function refuse_run_change();

-- Shows a hidden run again; false if it was not hidden.
create function unhide_run(id text) returns boolean language sql security definer
begin atomic
    with shown as (update runs set hidden_at = null, hidden_by = null
                    where workflow_id = id and hidden_at is not null returning workflow_id)
    select exists (select from shown);
end;

-- Lets a role read every view, also those that a later version brings: see `renew_reading`.
create function grant_reading(reader name) returns void language plpgsql as $$
declare
    readable name;
begin
    execute format('grant usage on schema %I to %I', current_schema(), reader);
    for readable in select viewname from pg_views where schemaname = current_schema() loop
        execute format('grant select on %I to %I', readable, reader);
    end loop;
end $$;

-- Whoever was given `workflow_state` to read is given what is new. Every coordinator does this when it starts.
create function renew_reading() returns void language plpgsql as $$
declare
    reader name;
begin
    for reader in select distinct r.rolname
                    from pg_class c, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
                   where c.oid = 'workflow_state'::regclass and a.privilege_type = 'SELECT'
                     and a.grantee <> c.relowner loop
        perform grant_reading(reader);
    end loop;
end $$;

-- Lets a role read, hide runs that have ended, and show them again.
create function grant_hiding(keeper name) returns void language plpgsql as $$
begin
    perform grant_reading(keeper);
    execute format('grant delete on workflow_state to %I', keeper);
    execute format('grant execute on function unhide_run(text) to %I', keeper);
end $$;

revoke execute on function hide_run() from public;
revoke execute on function refuse_run_change() from public;
revoke execute on function unhide_run(text) from public;
revoke execute on function grant_reading(name) from public;
revoke execute on function renew_reading() from public;
revoke execute on function grant_hiding(name) from public;
