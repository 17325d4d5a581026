//! A run begins.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use sluice_proto::event::{EventBody, StartWorkflow};

use super::{Refused, Situation};
use crate::event::NewEvent;
use crate::expr::{Missing, Scope};
use crate::state::State;

pub(super) fn decide(
    situation: &Situation<'_>,
    state: &State,
    context: Map<String, Value>,
) -> Result<Vec<NewEvent>, Refused> {
    if state.sequence > 0 {
        return Err(Refused::AlreadyStarted);
    }
    let template = situation.template;
    let entry = template.entry();
    let next_lock = entry.resource_lock.as_ref().map(|lock| {
        let scope = Scope {
            context: &Value::Object(context.clone()),
            outputs: &IndexMap::new(),
            workflow: &json!({"id": state.workflow_id, "name": template.file}),
            within: Vec::new(),
            extra: Vec::new(),
        };
        lock.render(&scope, Missing::Empty)
    });
    let body = StartWorkflow {
        context,
        template_name: template.file.clone(),
        template_version: template.version.clone(),
        template_sha256: template.sha256.clone(),
        participating_agents: template.participating_agents(),
        next_lock,
        deadline_at: template.deadline_ms.map(|ms| situation.now.plus_ms(ms)),
    };
    Ok(vec![NewEvent::of(&entry.id, EventBody::StartWorkflow(body))])
}
