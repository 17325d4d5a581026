//! What a template gets as `/report.json`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_proto::api::VerifyResponse;
use sluice_proto::verify::{self, Damage, Finding, StoredEvent};

use crate::chart;
use crate::sections;
use crate::text::{self, LONG, fit, moment, shown};

/// Findings that are told one by one.
const MAX_FINDINGS: usize = 500;

/// The whole report as data. Texts are cut and made fit for a page here, so that a template need not.
pub(crate) fn report(events: &[Value], verification: &VerifyResponse) -> Value {
    let findings = findings(events, verification);
    let bad: BTreeSet<u64> = findings.iter().map(|finding| finding.sequence).collect();
    let bad_ids: BTreeSet<&str> = findings.iter().filter_map(|f| f.event_id.as_deref()).collect();
    let bad_numbers: BTreeSet<u64> =
        findings.iter().filter(|f| f.event_id.is_none()).map(|f| f.sequence).collect();
    let is_bad = |event: &Value, sequence: u64| {
        let id = event["event_id"].as_str();
        id.is_some_and(|id| bad_ids.contains(id)) || bad_numbers.contains(&sequence)
    };
    let verdict = match (
        findings.is_empty() && verification.valid,
        verification.verdict.signatures_checked,
    ) {
        (false, _) => "tampered",
        (true, false) => "unsigned",
        (true, true) => "intact",
    };
    json!({
        "workflow_id": verification.workflow_id,
        "verdict": verdict,
        "findings": findings.iter().take(MAX_FINDINGS).map(told).collect::<Vec<_>>(),
        "findings_total": findings.len(),
        "bad_events": bad.len(),
        "first_bad": findings.first().map(|finding| json!({"sequence": finding.sequence, "event_id": finding.event_id.as_deref().map(|id| fit(id, 60))})),
        "facts": facts(events),
        "summary": summary(events),
        "chart": chart::chart(events),
        "approvals": sections::approvals(events),
        "decisions": sections::decisions(events),
        "interventions": sections::interventions(events),
        "locks": sections::locks(events),
        "errors": sections::errors(events),
        "annotations": sections::annotations(events),
        "events": sections::lines(events, is_bad),
        "signatures": {
            "events": events.len(),
            "signed": events.iter().filter(|event| event["signature"].as_str().is_some_and(|text| text.len() == 64)).count(),
            "checked": verification.verdict.signatures_checked,
            "key_ids": verification.verdict.key_ids.iter().map(|id| fit(id, 64)).collect::<Vec<_>>(),
            "last_hash": verification.verdict.last_hash,
            "checkpointed": verification.checkpointed,
        },
    })
}

/// What was found, and whether it was found in the events that are shown.
fn findings(events: &[Value], verification: &VerifyResponse) -> Vec<Finding> {
    let stored: Vec<StoredEvent> = events
        .iter()
        .zip(1..)
        .map(|(event, place)| StoredEvent::from_export(event, place))
        .collect();
    let mut findings = verification.verdict.findings.clone();
    let own = verify::verify(&verification.workflow_id, &stored, None, &[]);
    // The chain only; with keys it was told better already.
    if findings.is_empty() {
        findings = own.findings;
    }
    if findings.is_empty()
        && (own.events != verification.verdict.events
            || own.last_hash != verification.verdict.last_hash)
    {
        findings.push(whole(format!(
            "{} events that end with hash {} were checked, and {} that end with {} are shown",
            verification.verdict.events, verification.verdict.last_hash, own.events, own.last_hash
        )));
    }
    if findings.is_empty() && !verification.valid {
        findings.push(whole("it was found not to be what was written".to_owned()));
    }
    findings
}

/// A finding about the record as a whole.
fn whole(detail: String) -> Finding {
    Finding {
        sequence: 1,
        event_id: None,
        damage: Damage::Changed,
        field: "body".to_owned(),
        detail,
    }
}

fn told(finding: &Finding) -> Value {
    let damage = serde_json::to_value(finding.damage).unwrap_or_default();
    json!({"sequence": finding.sequence, "event_id": finding.event_id.as_deref().map(|id| fit(id, 60)),
        "damage": damage.as_str().unwrap_or_default().replace('_', " "), "field": fit(&finding.field, 60),
        "detail": fit(&finding.detail, LONG)})
}

fn find<'a>(events: &'a [Value], action: &str) -> Option<&'a Value> {
    events.iter().find(|event| event["action"].as_str() == Some(action))
}

fn count(events: &[Value], action: &str) -> usize {
    events.iter().filter(|event| event["action"].as_str() == Some(action)).count()
}

fn facts(events: &[Value]) -> Value {
    let start = find(events, "start_workflow").map_or(&Value::Null, |event| &event["data"]);
    let ended = end_of(events);
    let last = events.iter().filter_map(|event| moment(&event["timestamp"])).max();
    let moment_of = |event: Option<&Value>| event.and_then(|event| moment(&event["timestamp"]));
    let (from, to) = (moment_of(events.first()), moment_of(ended).or(last));
    let day = last.map(text::time).unwrap_or_default();
    let part =
        |range: std::ops::Range<usize>| day.get(range).and_then(|text| text.parse::<i64>().ok());
    json!({
        "template": shown(&start["template_name"], 120),
        "template_version": shown(&start["template_version"], 40),
        "template_sha256": shown(&start["template_sha256"], 64),
        "parent": events.first().map(|event| shown(&event["parent_workflow_id"], 120)),
        "context": shown(&start["context"], LONG),
        "status": ended.map_or_else(|| open_status(events), |event| shown(&event["data"]["status"], 40)),
        "failure_reason": ended.map(|event| shown(&event["data"]["failure_reason"], 120)),
        "started": from.map(text::time),
        "ended": moment_of(ended).map(text::time),
        "as_of": day,
        "date": [part(0..4), part(5..7), part(8..10)],
        "duration": from.zip(to).map(|(from, to)| text::duration(to - from)),
    })
}

/// The end of the run, unless a person has had it go on since.
fn end_of(events: &[Value]) -> Option<&Value> {
    let is_retry =
        |event: &Value| event["action"] == "retry_step" && event["data"]["command"].is_object();
    let last = events
        .iter()
        .rev()
        .find(|event| event["action"] == "complete_workflow" || is_retry(event))?;
    (last["action"] == "complete_workflow").then_some(last)
}

/// Of a run that has not ended: what people have to decide, or that one holds it up.
fn open_status(events: &[Value]) -> String {
    let (mut asked, mut is_held_up) = (BTreeSet::new(), false);
    for event in events {
        let step = event["step_id"].as_str().unwrap_or_default();
        match event["action"].as_str().unwrap_or_default() {
            "pause_workflow" => {
                asked.insert(step);
            }
            "resume_workflow" => {
                asked.remove(step);
            }
            "complete_step" => asked.retain(|asking| !chart::is_within(asking, step)),
            "fail_step" if event["data"]["final"] == true => {
                asked.retain(|asking| *asking != step && !chart::is_within(asking, step));
            }
            "suspend_workflow" => is_held_up = true,
            "continue_workflow" => is_held_up = false,
            "cancel_workflow" | "expire_workflow" | "complete_workflow" => {
                asked.clear();
                is_held_up = false;
            }
            _ => {}
        }
    }
    match (is_held_up, asked.len()) {
        (true, _) => "held up by an operator".to_owned(),
        (false, 0) => "running".to_owned(),
        (false, 1) => "waiting for a decision".to_owned(),
        (false, many) => format!("waiting for {many} decisions"),
    }
}

/// What agents used. The event of a gate that was asked repeats what the agent's output said.
fn usages(events: &[Value]) -> Vec<&Value> {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let counted = |event| -> Option<&Value> {
        let event: &Value = event;
        let step = event["step_id"].as_str().unwrap_or_default();
        match event["action"].as_str()? {
            "record_output" => {
                told.insert(step);
                Some(&event["data"]["usage"])
            }
            "complete_step" => (!told.remove(step)).then_some(&event["data"]["usage"]),
            "fail_step" if event["data"]["final"] == true => {
                told.remove(step);
                None
            }
            _ => None,
        }
    };
    events.iter().filter_map(counted).filter(|usage| usage.is_object()).collect()
}

fn summary(events: &[Value]) -> Value {
    let failed_for_good = events
        .iter()
        .filter(|event| event["action"] == "fail_step" && event["data"]["final"] == true);
    let usages = usages(events);
    let used = |name: &str| -> f64 { usages.iter().filter_map(|usage| usage[name].as_f64()).sum() };
    let (tokens, cost) = if usages.is_empty() {
        ("not reported".to_owned(), "not reported".to_owned())
    } else {
        let tokens = format!("{:.0} / {:.0}", used("input_tokens"), used("output_tokens"));
        let has_cost = usages.iter().any(|usage| usage["cost_usd"].is_f64());
        let cost = if has_cost {
            format!("{:.4} USD", used("cost_usd"))
        } else {
            "not reported".to_owned()
        };
        (tokens, cost)
    };
    let automatic = events.iter().filter(|event| sections::is_automatic(event)).count();
    json!([
        ["Events", events.len().to_string()],
        ["Steps completed", count(events, "complete_step").to_string()],
        ["Steps failed for good", failed_for_good.count().to_string()],
        ["Failed attempts", count(events, "fail_step").to_string()],
        ["Retries", count(events, "retry_step").to_string()],
        ["Approvals asked for", count(events, "pause_workflow").to_string()],
        ["Approvals given", (count(events, "approve_gate") - automatic).to_string()],
        ["Passed without a person", automatic.to_string()],
        ["Rejections", count(events, "reject_gate").to_string()],
        ["Locks acquired", count(events, "acquire_lock").to_string()],
        ["Rollbacks", count(events, "rollback_step").to_string()],
        ["Annotations", count(events, "annotate").to_string()],
        ["Tokens of agents, read / written", tokens],
        ["Cost of agents", cost],
    ])
}
