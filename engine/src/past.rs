//! A run at any moment of its past, as people and programs are shown it: the state, which is the same fold
//! as live, and what the events said on the way there, which the state itself has no need to keep.

use serde_json::{Map, Value, json};
use sluice_proto::api::Change;
use sluice_proto::event::{Event, EventBody};
use sluice_proto::ids::WorkflowId;

use crate::advance::replay;
use crate::state::State;

/// A run after some of its events.
#[derive(Clone, Debug)]
pub struct Past {
    state: State,
    said: Map<String, Value>,
}

/// Collections that are there before anything happened.
const LISTS: [&str; 7] = [
    "steps_completed",
    "steps_failed",
    "rollbacks",
    "child_workflows",
    "snapshots",
    "annotations",
    "captured_insights",
];
const MAPS: [&str; 3] = ["approvals", "rejections", "retries"];

impl Past {
    /// Before the first event.
    #[must_use]
    pub fn new(workflow_id: WorkflowId) -> Self {
        let lists = LISTS.into_iter().map(|name| (name.to_owned(), json!([])));
        let maps = MAPS.into_iter().map(|name| (name.to_owned(), json!({})));
        Self { state: State::new(workflow_id), said: lists.chain(maps).collect() }
    }

    /// After these events.
    #[must_use]
    pub fn after<'e>(workflow_id: WorkflowId, events: impl IntoIterator<Item = &'e Event>) -> Self {
        let mut past = Self::new(workflow_id);
        events.into_iter().for_each(|event| past.apply(event));
        past
    }

    /// Takes the next event.
    pub fn apply(&mut self, event: &Event) {
        let blank = State::new(self.state.workflow_id.clone());
        let before = std::mem::replace(&mut self.state, blank);
        self.state = replay(before, std::iter::once(event));
        self.hear(event);
    }

    /// The state, as it was live.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Everything that is known of the run at this moment.
    #[must_use]
    pub fn view(&self, current_step: Option<&str>) -> Map<String, Value> {
        let mut view = match serde_json::to_value(&self.state) {
            Ok(Value::Object(fields)) => fields,
            // A state is an object whose keys are texts.
            _ => Map::new(),
        };
        for (field, name) in
            [("approvals", "approval_requests"), ("rollbacks", "rolled_back_steps")]
        {
            if let Some(value) = view.remove(field) {
                view.insert(name.to_owned(), value);
            }
        }
        for field in ["children", "insights", "sequence"] {
            view.remove(field);
        }
        view.insert("event_count".to_owned(), self.state.sequence.into());
        let current = current_step.or(self.state.active.keys().next().map(String::as_str));
        let current = current.or(self.state.last_step.as_deref());
        view.insert("current_step".to_owned(), current.into());
        if self.state.sequence == 0 {
            view.insert("started_at".to_owned(), Value::Null);
            view.insert("updated_at".to_owned(), Value::Null);
        }
        view.extend(self.said.clone());
        view
    }

    fn hear(&mut self, event: &Event) {
        let step = event.step_id.as_deref().unwrap_or_default();
        let at = json!(event.timestamp);
        match &event.body {
            EventBody::CompleteStep(_) => self.add("steps_completed", json!(step)),
            EventBody::FailStep(fail) if fail.is_final => {
                self.add("steps_failed", json!(step));
                let error = json!({
                    "step_id": step, "error_type": fail.error_type, "message": fail.error,
                    "timestamp": at, "retriable": fail.retriable,
                });
                self.said.insert("error".to_owned(), error);
            }
            EventBody::ApproveGate(approve) => {
                let approval = json!({
                    "approved": true, "approver": approve.approver,
                    "approver_role": approve.approver_role, "comment": approve.comment,
                    "timestamp": at,
                });
                if let Some(Value::Array(of_step)) = self.entry("approvals", step, || json!([])) {
                    of_step.push(approval);
                }
            }
            EventBody::RejectGate(reject) => {
                let rejection = json!({
                    "rejected": true, "rejector": reject.rejector,
                    "rejector_role": reject.rejector_role, "reason": reject.reason,
                    "timestamp": at,
                });
                self.entry("rejections", step, || rejection);
                self.said.insert("rejected_at".to_owned(), at);
            }
            EventBody::PauseWorkflow(pause) => {
                self.said.insert("paused_at".to_owned(), at);
                self.said.insert("paused_step".to_owned(), json!(step));
                self.said.insert("pause_reason".to_owned(), json!(pause.reason));
            }
            EventBody::ResumeWorkflow(resume) => {
                self.said.insert("resumed_at".to_owned(), at);
                self.said.insert("resume_decision".to_owned(), json!(resume.decision));
            }
            EventBody::RollbackStep(rollback) => {
                let entry = json!({"step": step, "reason": rollback.reason, "timestamp": at});
                self.add("rollbacks", entry);
            }
            EventBody::RetryStep(_) => {
                if let Some(count) = self.entry("retries", step, || json!(0)) {
                    *count = json!(count.as_u64().unwrap_or(0) + 1);
                }
            }
            EventBody::CancelWorkflow(cancel) => {
                self.said.insert("cancelled_at".to_owned(), at);
                self.said.insert("cancelled_by".to_owned(), json!(cancel.cancelled_by));
                self.said.insert("cancellation_reason".to_owned(), json!(cancel.reason));
            }
            EventBody::Annotate(note) => {
                let entry = json!({
                    "operator": note.operator, "comment": note.comment,
                    "event_id": note.event_id, "timestamp": at,
                });
                self.add("annotations", entry);
            }
            EventBody::CreateSnapshot(snapshot) => {
                let entry = json!({
                    "snapshot_id": snapshot.snapshot_id, "event_count": snapshot.event_count,
                    "created_at": at,
                });
                self.add("snapshots", entry);
            }
            EventBody::StartChildWorkflow(start) => {
                let entry = json!({
                    "child_workflow_id": start.child_workflow_id, "parent_step_id": event.step_id,
                    "template_name": start.template_name, "status": "running", "started_at": at,
                });
                self.add("child_workflows", entry);
            }
            EventBody::ChildWorkflowComplete(end) => {
                let Some(Value::Array(children)) = self.said.get_mut("child_workflows") else {
                    return;
                };
                let is_it =
                    |child: &&mut Value| child["child_workflow_id"] == json!(end.child_workflow_id);
                if let Some(child) = children.iter_mut().rev().find(is_it) {
                    child["status"] = json!(end.status);
                    child["completed_at"] = at;
                }
            }
            EventBody::CaptureInsight(insight) => self.add("captured_insights", json!(insight)),
            _ => {}
        }
    }

    fn add(&mut self, list: &str, entry: Value) {
        if let Some(Value::Array(entries)) = self.said.get_mut(list) {
            entries.push(entry);
        }
    }

    /// The entry of a step in a map, made if it is not there; the last word of a rejection counts.
    fn entry(&mut self, map: &str, step: &str, new: impl FnOnce() -> Value) -> Option<&mut Value> {
        let Some(Value::Object(entries)) = self.said.get_mut(map) else { return None };
        if map == "rejections" {
            entries.remove(step);
        }
        Some(entries.entry(step).or_insert_with(new))
    }
}

/// What differs between two JSON values, by place. Lists are compared entry by entry.
#[must_use]
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<Change>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let place = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare_entry(&place, old.get(key), new.get(key), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for index in 0..old.len().max(new.len()) {
                let place = format!("{path}/{index}");
                compare_entry(&place, old.get(index), new.get(index), found);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            let (before, after) = (Some(before.clone()), Some(after.clone()));
            found.push(Change { path: path.to_owned(), before, after });
        }
    }
}

fn compare_entry(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<Change>,
) {
    match (before, after) {
        (Some(before), Some(after)) => compare(path, before, after, found),
        (before, after) => found.push(Change {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_name_their_places() {
        let before = json!({"a": 1, "b": {"x/y": [1, 2]}, "gone": true});
        let after = json!({"a": 2, "b": {"x/y": [1, 3, 4]}, "new": null});
        let found = changes(&before, &after);
        let paths: Vec<&str> = found.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/b/x~1y/1", "/b/x~1y/2", "/gone", "/new"]);
        assert_eq!(found[2].before, None);
        assert_eq!(found[3].after, None);
        assert_eq!(changes(&before, &before), []);
    }

    #[test]
    fn before_the_first_event_a_run_is_pending_and_empty() {
        let view = Past::new(WorkflowId::parse("a-1").unwrap()).view(None);
        assert_eq!(view["status"], "pending");
        for list in LISTS {
            assert_eq!(view[list], json!([]), "{list}");
        }
        assert_eq!((&view["outputs"], &view["started_at"]), (&json!({}), &Value::Null));
    }
}
