//! `steps:`

use serde_json::Value;
use sluice_proto::ids::AgentName;

use super::{approval, child, fan, gate, message, wait};
use crate::expr::{Condition, Payload};
use crate::template::context::Context;
use crate::template::fields::Fields;
use crate::template::keys::{
    self, AGENT_CALL, APPROVAL, CONDITIONAL, FOR_EACH, NOTIFICATION_STEP, PARALLEL, TERMINAL, WAIT,
    WORKFLOW,
};
use crate::template::model::{
    AgentCall, Conditional, NotificationStep, Step, StepKind, Target, empty_object,
};
use crate::template::target::failed_end;
use crate::yaml::Node;

pub(super) fn step(cx: &mut Context<'_>, node: &Node) -> Option<Step> {
    let what = match super::key_text(node, "id") {
        Some((id, _)) => format!("step '{id}'"),
        None => "a step without an id".to_owned(),
    };
    let step = read(cx, node, what);
    cx.incomplete |= step.is_none();
    step
}

fn read(cx: &mut Context<'_>, node: &Node, what: String) -> Option<Step> {
    let fields = Fields::open(cx, node, &keys::STEP, what)?;
    let id = fields.text(cx, "id");
    let kind = fields.choice(cx, "type");
    fields.review(cx, kind);
    fields.boolean(cx, "deterministic");
    let resource_lock = fields.template(cx, "resource_lock");
    let lock_wait_ms = fields.duration_ms(cx, "lock_wait");
    let timeout_ms = fields.duration_ms(cx, "timeout");
    let queue_timeout_ms = fields.duration_ms(cx, "queue_timeout");
    for (name, duration) in [("timeout", timeout_ms), ("queue_timeout", queue_timeout_ms)] {
        if duration == Some(0) {
            cx.findings.error(fields.value_at(name), format!("'{name}' must be longer than 0"));
        }
    }
    let kind = step_kind(cx, &fields, id.unwrap_or_default(), kind?);
    Some(Step {
        id: id?.to_owned(),
        path: cx.targets.path_of(id?),
        at: node.at,
        kind,
        resource_lock,
        lock_wait_ms,
        timeout_ms,
        queue_timeout_ms,
    })
}

fn step_kind(cx: &mut Context<'_>, fields: &Fields<'_>, id: &str, kind: &str) -> StepKind {
    match kind {
        AGENT_CALL => StepKind::AgentCall(agent_call(cx, fields)),
        APPROVAL => StepKind::Approval(Box::new(approval::approval(cx, fields))),
        CONDITIONAL => {
            let on_true = fields.target(cx, "on_true");
            let on_false = fields.target(cx, "on_false");
            StepKind::Conditional(conditional(cx, fields, on_true, on_false))
        }
        NOTIFICATION_STEP => StepKind::Notification(NotificationStep {
            message: message::message(cx, fields),
            on_complete: fields.target(cx, "on_complete"),
        }),
        FOR_EACH => StepKind::Fan(Box::new(fan::for_each(cx, fields, id))),
        PARALLEL => StepKind::Fan(Box::new(fan::parallel(cx, fields, id))),
        WAIT => StepKind::Wait(wait::wait(cx, fields)),
        WORKFLOW => StepKind::Workflow(child::child(cx, fields)),
        other => {
            debug_assert_eq!(other, TERMINAL);
            StepKind::Terminal
        }
    }
}

fn agent_call(cx: &mut Context<'_>, fields: &Fields<'_>) -> AgentCall {
    let payload = match fields.payload(cx, "payload") {
        Some(payload) => payload,
        None => Payload::compile(empty_object()),
    };
    AgentCall {
        agent: fields.agent(cx, "agent").unwrap_or_else(AgentName::llm),
        is_rollback: payload.constant("action").and_then(Value::as_str) == Some("rollback"),
        payload,
        gate: gate::gate(cx, fields),
        on_success: fields.target(cx, "on_success"),
        on_failure: fields.target(cx, "on_failure"),
    }
}

/// A branch whose missing parts have been reported: what stands in for them never runs.
pub(super) fn conditional(
    cx: &mut Context<'_>,
    fields: &Fields<'_>,
    on_true: Option<Target>,
    on_false: Option<Target>,
) -> Conditional {
    let never = || Target::End(failed_end());
    Conditional {
        condition: fields.condition(cx, "condition").unwrap_or_else(Condition::never),
        on_true: on_true.unwrap_or_else(never),
        on_false: on_false.unwrap_or_else(never),
    }
}
