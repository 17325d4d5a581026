-- The two roles of Sluice in the database `workflow_state`: the owner makes and changes the schema, the run-time role can insert and
-- read events but not change them. Their passwords come as settings of this session, so that they are in no file.
do $$
declare
    owner_password text := current_setting('sluice.owner_password');
    runtime_password text := current_setting('sluice.runtime_password');
begin
    if owner_password = '' or runtime_password = '' then
        raise exception 'the passwords of the roles workflow_owner and workflow_runtime are empty';
    end if;
    execute format('create role workflow_owner login password %L', owner_password);
    execute format('create role workflow_runtime login password %L', runtime_password);
end $$;
-- Whoever cannot make temporary tables cannot have one taken for another.
revoke connect, temporary on database workflow_state from public;
grant connect on database workflow_state to workflow_runtime;
alter database workflow_state owner to workflow_owner;
