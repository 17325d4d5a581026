-- Views for people, by the names that they know. Each is made of what is there: none is written to, and none has
-- to be kept up to date. Views over events read bodies; asked for one run, they read the events of that run.

create view active_workflows as
    select workflow_id, template_name, status, current_step, started_at, updated_at, parent_workflow_id,
           now() - started_at as running_for, now() - updated_at as silent_for
      from runs
     where completed_at is null;
comment on view active_workflows is 'Runs that have not ended.';
comment on column active_workflows.workflow_id is 'Name of the run.';
comment on column active_workflows.template_name is 'File name of the template.';
comment on column active_workflows.status is 'pending, running or paused.';
comment on column active_workflows.current_step is 'Where the run is.';
comment on column active_workflows.started_at is 'When it was accepted.';
comment on column active_workflows.updated_at is 'When its last event happened.';
comment on column active_workflows.parent_workflow_id is 'The run that started it, if one did.';
comment on column active_workflows.running_for is 'Time since it was accepted.';
comment on column active_workflows.silent_for is 'Time since its last event.';

create view workflow_statistics as
    select template_name, count(*) as total,
           count(*) filter (where completed_at is null) as open,
           count(*) filter (where outcome = 'completed') as completed,
           count(*) filter (where outcome = 'failed') as failed,
           count(*) filter (where outcome = 'rolled_back') as rolled_back,
           count(*) filter (where outcome = 'cancelled') as cancelled,
           avg(completed_at - started_at) as average_duration,
           max(started_at) as last_started_at
      from runs
     group by template_name;
comment on view workflow_statistics is 'How runs of each template went, hidden ones too. Reads every run.';
comment on column workflow_statistics.template_name is 'File name of the template.';
comment on column workflow_statistics.total is 'Runs there ever were.';
comment on column workflow_statistics.open is 'Of these, those that have not ended.';
comment on column workflow_statistics.completed is 'Those that ended well.';
comment on column workflow_statistics.failed is 'Those that failed.';
comment on column workflow_statistics.rolled_back is 'Those that undid what they had done.';
comment on column workflow_statistics.cancelled is 'Those that somebody ended.';
comment on column workflow_statistics.average_duration is 'From acceptance to end, waits for people included.';
comment on column workflow_statistics.last_started_at is 'When the newest was accepted.';

-- A chain has at most twenty links.
create view workflow_chains as
    with recursive chain as (
        select workflow_id, workflow_id as root_workflow_id, 1 as depth, array[workflow_id] as chain_path
          from runs where parent_workflow_id is null
        union all
        select r.workflow_id, c.root_workflow_id, c.depth + 1, c.chain_path || r.workflow_id
          from chain c join runs r on r.parent_workflow_id = c.workflow_id
         where c.depth < 20 and r.workflow_id <> all (c.chain_path))
    select workflow_id, root_workflow_id, depth, chain_path,
           max(depth) over (partition by root_workflow_id) as chain_length
      from chain;
comment on view workflow_chains is 'Runs that started runs, from the first of each chain on. Reads every run.';
comment on column workflow_chains.workflow_id is 'The run.';
comment on column workflow_chains.root_workflow_id is 'The run that nobody started but a caller.';
comment on column workflow_chains.depth is 'Its place in the chain, from 1.';
comment on column workflow_chains.chain_path is 'The runs from the first to this one.';
comment on column workflow_chains.chain_length is 'The depth of the deepest run of the chain.';

create view workflow_event_timeline as
    select workflow_id, sequence as event_number, action, step_id, timestamp,
           lag(timestamp) over run as previous_event_timestamp,
           timestamp - lag(timestamp) over run as time_since_previous
      from workflow_events
    window run as (partition by workflow_id order by sequence);
comment on view workflow_event_timeline is 'Events with the time between them. Ask for one run.';
comment on column workflow_event_timeline.workflow_id is 'The run.';
comment on column workflow_event_timeline.event_number is 'Place in the history of the run, from 1.';
comment on column workflow_event_timeline.action is 'What happened, such as complete_step.';
comment on column workflow_event_timeline.step_id is 'The step it is about, if it is about one.';
comment on column workflow_event_timeline.timestamp is 'When it happened.';
comment on column workflow_event_timeline.previous_event_timestamp is 'When the event before it happened; null for the first.';
comment on column workflow_event_timeline.time_since_previous is 'The time between the two.';

create view workflow_approvals as
    select workflow_id, step_id, action, coalesce(data ->> 'approver', data ->> 'rejector') as approver,
           coalesce(data ->> 'approver_role', data ->> 'rejector_role') as approver_role,
           coalesce(data ->> 'comment', data ->> 'reason') as comment, timestamp as approval_timestamp
      from workflow_events
     where action in ('approve_gate', 'reject_gate');
comment on view workflow_approvals is 'Who decided what; system where the rules needed no person. Ask for one run.';
comment on column workflow_approvals.workflow_id is 'The run.';
comment on column workflow_approvals.step_id is 'The step that asked.';
comment on column workflow_approvals.action is 'approve_gate or reject_gate.';
comment on column workflow_approvals.approver is 'Who decided, however they did.';
comment on column workflow_approvals.approver_role is 'In which role.';
comment on column workflow_approvals.comment is 'In their words.';
comment on column workflow_approvals.approval_timestamp is 'When.';

create view approval_requests as
    select approval_id as id, workflow_id, step_id, reason as task_description, risk_level, approver_role,
           required as required_count, status, created_at,
           case when status = 'approved' then decided_at end as approved_at,
           case when status = 'rejected' then decided_at end as rejected_at, decided_at as updated_at
      from approvals;
comment on view approval_requests is 'What people were asked to decide, and what came of it.';
comment on column approval_requests.id is 'Name of the question.';
comment on column approval_requests.workflow_id is 'The run.';
comment on column approval_requests.step_id is 'The step that asks.';
comment on column approval_requests.task_description is 'Why somebody is asked.';
comment on column approval_requests.risk_level is 'low, medium, high or critical.';
comment on column approval_requests.approver_role is 'The role that decides; null: any.';
comment on column approval_requests.required_count is 'How many have to approve.';
comment on column approval_requests.status is 'pending, approved, rejected, expired or cancelled.';
comment on column approval_requests.created_at is 'When it was asked.';
comment on column approval_requests.approved_at is 'When it was approved.';
comment on column approval_requests.rejected_at is 'When it was rejected.';
comment on column approval_requests.updated_at is 'When it was settled, however; null: it is pending.';

create view pending_approvals as
    select a.approval_id as id, a.workflow_id, r.template_name, a.step_id, a.reason as task_description, a.risk_level,
           a.approver_role, a.required as required_count, a.created_at, now() - a.created_at as waiting_for
      from approvals a join runs r on r.workflow_id = a.workflow_id
     where a.status = 'pending'
     order by array_position(array['critical', 'high', 'medium', 'low'], a.risk_level), a.created_at;
comment on view pending_approvals is 'What waits for a person: the riskiest first, then the oldest.';
comment on column pending_approvals.id is 'Name of the question.';
comment on column pending_approvals.workflow_id is 'The run that waits.';
comment on column pending_approvals.template_name is 'File name of its template.';
comment on column pending_approvals.step_id is 'The step that asks.';
comment on column pending_approvals.task_description is 'Why somebody is asked.';
comment on column pending_approvals.risk_level is 'low, medium, high or critical.';
comment on column pending_approvals.approver_role is 'The role that decides; null: any.';
comment on column pending_approvals.required_count is 'How many have to approve.';
comment on column pending_approvals.created_at is 'When it was asked.';
comment on column pending_approvals.waiting_for is 'Time since then.';

create view approval_statistics as
    select risk_level, approver_role, count(*) as total,
           count(*) filter (where status = 'approved') as approved,
           count(*) filter (where status = 'rejected') as rejected,
           count(*) filter (where status = 'pending') as pending,
           avg(decided_at - created_at) filter (where status in ('approved', 'rejected')) as average_wait
      from approvals
     where created_at > now() - interval '30 days'
     group by risk_level, approver_role;
comment on view approval_statistics is 'What was asked in the last 30 days, and how long it took. Reads every approval.';
comment on column approval_statistics.risk_level is 'low, medium, high or critical.';
comment on column approval_statistics.approver_role is 'The role that decides; null: any.';
comment on column approval_statistics.total is 'Questions.';
comment on column approval_statistics.approved is 'Those that were approved.';
comment on column approval_statistics.rejected is 'Those that were rejected.';
comment on column approval_statistics.pending is 'Those that still wait.';
comment on column approval_statistics.average_wait is 'From the question to the answer of a person.';

create view resource_locks as
    select name as resource_id, workflow_id, step as step_id, acquired_at, now() - acquired_at as held_for,
           fencing_number
      from locks
     where workflow_id is not null;
comment on view resource_locks is 'Locks that a run holds.';
comment on column resource_locks.resource_id is 'What it is a lock on.';
comment on column resource_locks.workflow_id is 'The run that holds it.';
comment on column resource_locks.step_id is 'The step it is held for.';
comment on column resource_locks.acquired_at is 'Since when.';
comment on column resource_locks.held_for is 'Time since then.';
comment on column resource_locks.fencing_number is 'Raised with every holder.';

create view lock_wait_queue as
    select waiter_id as queue_id, name as resource_id, workflow_id, step as step_id, urgent, requested_at,
           wait_until as timeout_at, row_number() over (partition by name order by urgent desc, waiter_id) as place
      from lock_waiters;
comment on view lock_wait_queue is 'Who waits for which lock, and in which place.';
comment on column lock_wait_queue.queue_id is 'Order of asking.';
comment on column lock_wait_queue.resource_id is 'The lock.';
comment on column lock_wait_queue.workflow_id is 'The run that waits.';
comment on column lock_wait_queue.step_id is 'Its step that waits.';
comment on column lock_wait_queue.urgent is 'Whether it goes before those that are not.';
comment on column lock_wait_queue.requested_at is 'Since when it waits.';
comment on column lock_wait_queue.timeout_at is 'Until when; null: as long as it takes.';
comment on column lock_wait_queue.place is 'Place in the queue, from 1.';

create view lock_history as
    select workflow_id, step_id, action as operation, data ->> 'resource_lock' as resource_id,
           (data ->> 'wait_ms')::bigint as wait_time_ms, timestamp as created_at
      from workflow_events
     where action in ('wait_lock', 'acquire_lock', 'release_lock');
comment on view lock_history is 'What happened to locks. Ask for one run.';
comment on column lock_history.workflow_id is 'The run.';
comment on column lock_history.step_id is 'Its step.';
comment on column lock_history.operation is 'wait_lock, acquire_lock or release_lock.';
comment on column lock_history.resource_id is 'The lock.';
comment on column lock_history.wait_time_ms is 'How long it was waited for, milliseconds; of an acquisition.';
comment on column lock_history.created_at is 'When.';
