-- Every column says what it holds, to whoever asks the database: `\d+ runs` in psql.

comment on column runs.workflow_id is 'Name of the run.';
comment on column runs.template_name is 'File name of the template.';
comment on column runs.template_sha256 is 'SHA-256 of the text the run started with; templates has it.';
comment on column runs.status is 'pending, running, paused, completed, failed, rolled_back or cancelled.';
comment on column runs.current_step is 'Where the run is; where it was last when it has ended.';
comment on column runs.parent_workflow_id is 'The run that started it, if one did.';
comment on column runs.started_at is 'When it was accepted.';
comment on column runs.updated_at is 'When its last event happened.';
comment on column runs.completed_at is 'When it ended, however; null while it is open.';
comment on column runs.failed_step is 'The step that failed for good.';
comment on column runs.error_message is 'What that step said.';
comment on column runs.hidden_at is 'When it was deleted from workflow_state; null: it is shown.';
comment on column runs.hidden_by is 'The database role that did.';
comment on column runs.outcome is 'The status of a run that has ended; null while it is open.';

comment on column events.started_month is 'First day of the UTC month the run started in.';
comment on column events.workflow_id is 'The run.';
comment on column events.sequence is 'Place in the history of the run, from 1 without gaps.';

comment on column templates.sha256 is 'SHA-256 of the text, in hex.';
comment on column templates.file_name is 'The first file it stood in.';
comment on column templates.body is 'The text.';
comment on column templates.created_at is 'When a run was first started with it.';

comment on column attempts.workflow_id is 'The run.';
comment on column attempts.step_path is 'The step, or work around it such as review.gate.';
comment on column attempts.visit is 'How often the run has entered the step.';
comment on column attempts.attempt is 'Which execution of that visit.';
comment on column attempts.agent is 'Who is to do it.';
comment on column attempts.urgent is 'Whether it goes before others.';
comment on column attempts.claim is 'Whether the agent has effects and is called under a claim only.';
comment on column attempts.idempotent is 'Whether repeating it does no harm.';
comment on column attempts.timeout_ms is 'Longest execution.';
comment on column attempts.queue_timeout_ms is 'Longest wait for a worker; null: any.';
comment on column attempts.lease_ms is 'How long its worker may be silent.';
comment on column attempts.due_at is 'When it is to be published.';
comment on column attempts.stream_sequence is 'Place of the message in that stream.';
comment on column attempts.published_at is 'When that was noted.';
comment on column attempts.worker_id is 'The process that has it.';
comment on column attempts.claimed is 'Whether that process may have touched the world.';
comment on column attempts.leased_at is 'When that process took it.';
comment on column attempts.lease_until is 'Until when that process may be silent; null: nobody has it.';

comment on column locks.name is 'What it is a lock on.';
comment on column locks.workflow_id is 'The run that holds it; null: it is free.';
comment on column locks.step is 'The step of that run it is held for.';
comment on column locks.fencing_number is 'Raised with every holder; tells what a former holder still does from what the present one does.';
comment on column locks.acquired_at is 'Since when it is held.';

comment on column lock_waiters.waiter_id is 'Order of asking.';
comment on column lock_waiters.name is 'The lock.';
comment on column lock_waiters.workflow_id is 'The run that waits.';
comment on column lock_waiters.step is 'Its step that waits.';
comment on column lock_waiters.requested_at is 'Since when.';
comment on column lock_waiters.wait_until is 'Until when it waits; null: as long as it takes.';
comment on column lock_waiters.urgent is 'Whether it goes before those that are not.';

comment on column approvals.approval_id is 'Name of the question.';
comment on column approvals.workflow_id is 'The run that waits for the answer.';
comment on column approvals.step_id is 'Its step.';
comment on column approvals.status is 'pending, approved, rejected, expired or cancelled.';
comment on column approvals.reason is 'Why somebody is asked.';
comment on column approvals.risk_level is 'low, medium, high or critical.';
comment on column approvals.approver_role is 'The role that decides; null: any.';
comment on column approvals.required is 'How many have to approve.';
comment on column approvals.created_at is 'When it was asked.';
comment on column approvals.decided_at is 'When it was settled; null: it is pending.';

comment on column requests.request_id is 'What the request called itself.';
comment on column requests.verb is 'What was asked for.';
comment on column requests.response is 'The answer, which a repetition gets again.';
comment on column requests.created_at is 'When it was answered.';

comment on column dead_letters.dead_letter_id is 'Number of the letter.';
comment on column dead_letters.source is 'What it was: command, step, attempt.';
comment on column dead_letters.subject is 'Where it came from on NATS, and goes when it is redriven.';
comment on column dead_letters.reason is 'Why it could not be processed.';
comment on column dead_letters.payload is 'The message.';
comment on column dead_letters.created_at is 'When it was kept.';
comment on column dead_letters.status is 'waiting, redriven or dropped.';
comment on column dead_letters.workflow_id is 'The run it is about, if that is known.';
comment on column dead_letters.delivered_count is 'How often it was delivered, if that is known.';

comment on column dead_letter_acts.act_id is 'Order of the acts.';
comment on column dead_letter_acts.dead_letter_id is 'The letter.';
comment on column dead_letter_acts.act is 'redrive or drop.';
comment on column dead_letter_acts.actor is 'Who did it.';
comment on column dead_letter_acts.comment is 'Why, in their words.';
comment on column dead_letter_acts.acted_at is 'When.';

comment on column timers.workflow_id is 'The run.';
comment on column timers.step_path is 'Its step that waits; workflow.deadline is the deadline of the whole run.';
comment on column timers.visit is 'How often the run has entered the step.';
comment on column timers.due_at is 'The moment.';

comment on column workers.name is 'Name that survives restarts.';
comment on column workers.agents is 'Agents it serves.';
comment on column workers.concurrency is 'Executions it takes at once.';
comment on column workers.held is 'Executions it had when it was last heard of.';
comment on column workers.version is 'Release it runs.';
comment on column workers.started_at is 'Since when this process runs.';
comment on column workers.heard_at is 'When it was last heard of.';

comment on column breakers.template_name is 'File name of the template.';
comment on column breakers.step is 'The step.';
comment on column breakers.trial_workflow_id is 'The run that tries it out; null: none does.';
comment on column breakers.trial_until is 'How long that trial counts as under way.';
comment on column breakers.updated_at is 'When it last changed.';

comment on column snapshots.workflow_id is 'The run.';
comment on column snapshots.event_count is 'Events that are folded into it.';
comment on column snapshots.snapshot_id is 'Its name in the event that tells of it.';
comment on column snapshots.key_id is 'The secret that signed it.';
comment on column snapshots.signature is 'HMAC-SHA256 over everything that a reader relies on.';
comment on column snapshots.created_at is 'When it was kept.';

comment on column lessons.agent is 'The agent whose executions failed.';
comment on column lessons.failures is 'How often it failed like this.';
comment on column lessons.recovered is 'How often trying again worked.';
comment on column lessons.updated_at is 'When it last happened.';

comment on column checkpoints_due.workflow_id is 'The run.';
comment on column checkpoints_due.sequence is 'Number of its events.';
comment on column checkpoints_due.last_hash is 'SHA-256 of the last one.';
comment on column checkpoints_due.ended is 'Whether the run has ended.';
comment on column checkpoints_due.due_at is 'When the checkpoint is made at the latest.';

comment on column child_waits.workflow_id is 'The run that waits.';
comment on column child_waits.step_path is 'Its step that waits.';
comment on column child_waits.visit is 'How often the run has entered the step.';
comment on column child_waits.child_workflow_id is 'The run whose end is waited for.';

comment on column workflow_events.event_id is 'UUID.';
comment on column workflow_events.workflow_id is 'The run.';
comment on column workflow_events.sequence is 'Place in the history of the run, from 1 without gaps.';
comment on column workflow_events.action is 'What happened, such as complete_step.';
comment on column workflow_events.step_id is 'The step it is about, if it is about one.';
comment on column workflow_events.data is 'What there is to say of it; its fields depend on the action.';
comment on column workflow_events.timestamp is 'When it happened.';
comment on column workflow_events.event_version is 'Form of the event as it is stored.';
comment on column workflow_events.prev_hash is 'SHA-256 of the preceding event, in hex; zeros in the first one.';
comment on column workflow_events.key_id is 'The secret that signed it.';
comment on column workflow_events.signature is 'HMAC-SHA256 in hex.';
comment on column workflow_events.parent_workflow_id is 'The run that started this one, if one did.';

comment on column workflow_snapshots.snapshot_id is 'Its name in the event that tells of it.';
comment on column workflow_snapshots.workflow_id is 'The run.';
comment on column workflow_snapshots.state is 'The whole state.';
comment on column workflow_snapshots.event_count is 'Events that are folded into it.';
comment on column workflow_snapshots.created_at is 'When it was kept.';
comment on column workflow_snapshots.compressed is 'Always false: the database compresses by itself.';

comment on column workflow_state.workflow_id is 'Name of the run.';
comment on column workflow_state.template_name is 'File name of the template.';
comment on column workflow_state.status is 'pending, running, paused, completed, failed, rolled_back or cancelled.';
comment on column workflow_state.current_step is 'Where the run is; where it was last when it has ended.';
comment on column workflow_state.started_at is 'When it was accepted.';
comment on column workflow_state.updated_at is 'When its last event happened.';
comment on column workflow_state.completed_at is 'When it ended, however; null while it is open.';
comment on column workflow_state.failed_step is 'The step that failed for good.';
comment on column workflow_state.error_message is 'What that step said.';
comment on column workflow_state.parent_workflow_id is 'The run that started it, if one did.';
comment on column workflow_state.version is 'Number of its events.';
