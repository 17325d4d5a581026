-- What becomes of dead letters.
alter table dead_letters
    add column status          text not null default 'waiting'
               check (status in ('waiting', 'redriven', 'dropped')),
    add column message_key     text,
    add column workflow_id     text,
    add column delivered_count bigint;
comment on column dead_letters.message_key is 'Names the message, so that what is told twice is kept once.';
create unique index dead_letters_once on dead_letters (message_key);
create index dead_letters_waiting on dead_letters (dead_letter_id) where status = 'waiting';

create table dead_letter_acts (
    act_id         bigint generated always as identity primary key,
    dead_letter_id bigint not null references dead_letters on delete cascade,
    act            text not null check (act in ('redrive', 'drop')),
    actor          text not null,
    comment        text,
    acted_at       timestamptz not null
);
comment on table dead_letter_acts is 'What people did about dead letters.';
create index dead_letter_acts_of on dead_letter_acts (dead_letter_id);

create or replace function grant_operations(run_time_role name) returns void
language plpgsql as $$
begin
    if run_time_role = current_user then
        return;
    end if;
    execute format('grant select, insert, update, delete on workers to %I', run_time_role);
    execute format('grant select, insert on dead_letter_acts to %I', run_time_role);
end $$;
