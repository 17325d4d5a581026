//! A person decides what a paused run waits for.

use serde_json::{Map, Value, json};
use sluice_proto::event::{ApproveGate, EventBody, Next, Outcome, RejectGate};

use super::{Decision, Refused, Situation};
use crate::event::NewEvent;
use crate::plan::resume;
use crate::route;
use crate::scope::RunScope;
use crate::state::{Approval, Phase, State};
use crate::template::{StepKind, Template};
use crate::view::positions_in_file_order;

/// Recorded where nobody said who they are.
const UNKNOWN: &str = "unknown";

pub(super) fn decide(
    situation: &Situation<'_>,
    state: &State,
    decision: Decision,
) -> Result<Vec<NewEvent>, Refused> {
    let (step, approval) = waiting(situation.template, state, decision.approval_id.as_deref())?;
    let named = decision.approver.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let approver = named.unwrap_or(UNKNOWN).to_owned();
    // Spelt with other capitals it is the same person: two must be two.
    let same = |other: &String| other.to_lowercase() == approver.to_lowercase();
    if decision.approved && approval.approvers.iter().any(same) {
        return Err(Refused::SameApprover(approver));
    }
    let recorded = if decision.approved {
        EventBody::ApproveGate(ApproveGate {
            approver: approver.clone(),
            approver_role: role(&decision),
            comment: decision.comment.clone(),
            justification: decision.justification.clone(),
            unverified: true,
        })
    } else {
        EventBody::RejectGate(RejectGate {
            rejector: approver.clone(),
            rejector_role: role(&decision),
            approver: approver.clone(),
            approver_role: role(&decision),
            reason: decision.comment.clone().unwrap_or_default(),
            unverified: true,
        })
    };
    let mut events = vec![NewEvent::of(step, recorded)];
    let received = approval.approvers.len() + usize::from(decision.approved);
    let enough = u32::try_from(received).unwrap_or(u32::MAX) >= approval.request.required;
    if !decision.approved || enough {
        let word = if decision.approved { "approved" } else { "rejected" };
        let next = next(situation, state, step, approval, &decision);
        events.push(resume(step, word, next, output(approval, &decision, &approver, word)));
    }
    Ok(events)
}

/// The position that waits for this approval, the first in file order that waits for any when none is
/// named.
fn waiting<'a>(
    template: &Template,
    state: &'a State,
    meant: Option<&str>,
) -> Result<(&'a str, &'a Approval), Refused> {
    let positions = positions_in_file_order(template, state).into_iter();
    let mut waiting = positions.filter_map(|(step, position)| match &position.phase {
        Phase::Waiting { approval_id } => Some((step, state.approval(approval_id)?)),
        _ => None,
    });
    let Some(meant) = meant else {
        return waiting.next().ok_or_else(|| match &state.suspension {
            Some(suspension) => Refused::Suspended(suspension.by.clone()),
            None => Refused::NotPaused,
        });
    };
    let found = waiting.find(|(_, approval)| approval.request.approval_id == meant);
    found.ok_or_else(|| Refused::OtherApproval(meant.chars().take(80).collect()))
}

fn role(decision: &Decision) -> String {
    decision.approver_role.clone().unwrap_or_else(|| UNKNOWN.to_owned())
}

/// What the step leaves in `outputs`. A step that was only sent back keeps what it had.
fn output(
    approval: &Approval,
    decision: &Decision,
    approver: &str,
    word: &str,
) -> Map<String, Value> {
    if approval.request.reason == "changes_requested" {
        return Map::new();
    }
    let mut approvers = approval.approvers.clone();
    if decision.approved {
        approvers.push(approver.to_owned());
    }
    let mut output = approval.request.risk_assessment.clone();
    output.insert("decision".to_owned(), json!(word));
    output.insert("approver".to_owned(), json!(approver));
    output.insert("approver_role".to_owned(), json!(role(decision)));
    output.insert("approvers".to_owned(), json!(approvers));
    output.insert("comment".to_owned(), json!(decision.comment));
    output
}

fn next(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    approval: &Approval,
    decision: &Decision,
) -> Next {
    let template = situation.template;
    let scope = RunScope::at(template, state, step);
    if approval.request.reason == "changes_requested" {
        if !decision.approved {
            return Next {
                next_step: Some("workflow_failed".to_owned()),
                next_lock: None,
                outcome: Some(Outcome::Failed),
            };
        }
        // Sent back to the step whose gate asked for changes.
        return Next {
            next_step: Some(step.to_owned()),
            next_lock: route::lock_name(template, &scope, step),
            outcome: None,
        };
    }
    let Some(StepKind::Approval(declared)) = template.step(step).map(|step| &step.kind) else {
        return route::plain_failure(template, step);
    };
    match (decision.approved, &declared.on_rejected) {
        (true, _) => route::to(template, &scope, step, declared.on_approved.as_ref()),
        (false, Some(target)) => route::to(template, &scope, step, Some(target)),
        (false, None) => route::plain_failure(template, step),
    }
}
