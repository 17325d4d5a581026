//! `hitl_approval` steps.

use super::gate;
use crate::expr::Text;
use crate::template::context::Context;
use crate::template::fields::Fields;
use crate::template::keys::{LLM, OVERRIDE, USE_PREVIOUS};
use crate::template::model::{Approval, Risk};

/// Approvers needed when several are, and the template does not say how many.
const SEVERAL: u32 = 2;

pub(super) fn approval(cx: &mut Context<'_>, fields: &Fields<'_>) -> Approval {
    let assessment = fields.fields(cx, "risk_assessment");
    let nested = assessment.as_ref().and_then(|assessment| approvers(cx, assessment));
    let own = approvers(cx, fields);
    for name in ["on_approved", "on_rejected"] {
        if !fields.has(name) {
            cx.findings.warning(fields.at, format!("the approval has no '{name}'"));
        }
    }
    Approval {
        risk: assessment.and_then(|assessment| risk(cx, &assessment)),
        details: fields.payload(cx, "approval_payload"),
        pr_context: fields.payload(cx, "pr_context"),
        on_approved: fields.target(cx, "on_approved"),
        on_rejected: fields.target(cx, "on_rejected"),
        on_auto_approved: fields.target(cx, "on_auto_approved"),
        required_approvals: own.max(nested).unwrap_or(1),
    }
}

/// How many people must approve, if these fields say anything about it.
fn approvers(cx: &mut Context<'_>, fields: &Fields<'_>) -> Option<u32> {
    let several = fields.boolean(cx, "requires_multiple_approvals");
    let count = fields.integer(cx, "approval_count");
    match (several, count) {
        (Some(true), count) => Some(count.unwrap_or(SEVERAL)),
        (Some(false), _) => Some(1),
        (None, count) => count,
    }
}

fn risk(cx: &mut Context<'_>, fields: &Fields<'_>) -> Option<Risk> {
    let kind = kind(cx, fields)?;
    fields.review(cx, Some(kind));
    Some(match kind {
        LLM => Risk::Llm {
            prompt: fields.template(cx, "prompt").unwrap_or_else(|| Text::literal("")),
            rules: gate::rules(cx, fields).into_iter().map(|(rule, _)| rule).collect(),
        },
        USE_PREVIOUS => Risk::UsePrevious {
            step: fields.step(cx, "use_previous").unwrap_or_default().to_owned(),
        },
        _ => Risk::Override {
            risk_level: fields.choice(cx, "risk_level").map(str::to_owned),
            approver_role: fields.text(cx, "approver_role").map(str::to_owned),
        },
    })
}

/// The type decides; without one, the keys do. `use_previous` needs no type.
fn kind(cx: &mut Context<'_>, fields: &Fields<'_>) -> Option<&'static str> {
    if fields.has("use_previous") {
        return Some(USE_PREVIOUS);
    }
    if fields.has("type") {
        return fields.choice(cx, "type");
    }
    if fields.has("prompt") || fields.has("rules") {
        return Some(LLM);
    }
    if fields.has("risk_level") || fields.has("approver_role") {
        return Some(OVERRIDE);
    }
    if !fields.has("requires_multiple_approvals") && !fields.has("approval_count") {
        let message = "'risk_assessment' needs one of 'prompt', 'risk_level' and 'use_previous'";
        cx.findings.error(fields.at, message);
    }
    None
}
