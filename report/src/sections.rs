//! The tables of a report, from what events say. An event that cannot be read leaves empty cells.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::text::{self, LINE, LONG, field, fit, moment, shown};

fn action(event: &Value) -> &str {
    event["action"].as_str().unwrap_or("?")
}

fn is(event: &Value, actions: &[&str]) -> bool {
    actions.contains(&action(event))
}

fn at(event: &Value) -> String {
    moment(&event["timestamp"]).map(text::time).unwrap_or_default()
}

fn number(event: &Value) -> u64 {
    event["sequence"].as_u64().unwrap_or(0)
}

fn step(event: &Value) -> String {
    shown(&event["step_id"], 80)
}

/// Who was asked, how risky it was, who answered what and why.
pub(crate) fn approvals(events: &[Value]) -> Vec<Value> {
    let mut risks: BTreeMap<&str, String> = BTreeMap::new();
    let mut rows = Vec::new();
    let wanted = ["pause_workflow", "approve_gate", "reject_gate", "resume_workflow"];
    for (n, event) in events.iter().enumerate().filter(|(_, event)| is(event, &wanted)) {
        let data = &event["data"];
        let name = event["step_id"].as_str().unwrap_or_default();
        let row = match action(event) {
            "pause_workflow" => {
                risks.insert(name, field(data, "risk_level", 20));
                let asked = data["required"].as_u64().unwrap_or(1);
                Answer {
                    what: format!("{asked} {} asked for", plural(asked, "approval")),
                    who: String::new(),
                    role: field(data, "approver_role", 80),
                    why: asked_why(data),
                }
            }
            "approve_gate" if is_automatic(event) => {
                let passed = events[n..].iter().find(|after| {
                    is(after, &["complete_step"]) && after["step_id"] == event["step_id"]
                });
                let result = passed.map_or(&Value::Null, |passed| &passed["data"]["result"]);
                risks.insert(name, field(result, "risk_level", 20));
                Answer {
                    what: "passed without a person".to_owned(),
                    who: String::new(),
                    role: String::new(),
                    why: joined(&[
                        assessed_by(&result["decided_by"]).to_owned(),
                        field(result, "reasoning", LONG),
                    ]),
                }
            }
            "approve_gate" => Answer {
                what: "approved".to_owned(),
                who: field(data, "approver", 120),
                role: field(data, "approver_role", 80),
                why: joined(&[field(data, "comment", LONG), field(data, "justification", LONG)]),
            },
            "reject_gate" => Answer {
                what: "rejected".to_owned(),
                who: field(data, "rejector", 120),
                role: field(data, "rejector_role", 80),
                why: field(data, "reason", LONG),
            },
            _ => Answer {
                what: format!("took effect: {}", field(data, "decision", 40)),
                who: String::new(),
                role: String::new(),
                why: String::new(),
            },
        };
        let who = match data["unverified"].as_bool() {
            Some(true) => format!("{} (unverified)", row.who),
            _ => row.who,
        };
        rows.push(json!({"sequence": number(event), "time": at(event), "step": step(event), "what": row.what, "who": who,
            "role": row.role, "risk": risks.get(name), "why": row.why}));
        if is(event, &["resume_workflow"]) || is_automatic(event) {
            risks.remove(name);
        }
    }
    rows
}

/// A line about an approval.
struct Answer {
    what: String,
    who: String,
    role: String,
    why: String,
}

/// The rules let it pass, and no person was asked.
pub(crate) fn is_automatic(event: &Value) -> bool {
    let data = &event["data"];
    action(event) == "approve_gate"
        && data["approver"] == "system"
        && data["approver_role"] == "auto"
}

/// Why a person was asked, who said how risky it is, and what they were shown.
fn asked_why(data: &Value) -> String {
    let details = match &data["details"] {
        Value::Object(details) if details.is_empty() => String::new(),
        details => shown(details, LONG),
    };
    let assessed = match &data["risk_assessment"]["decided_by"] {
        Value::Null if data["reason"] == "changes_requested" => "",
        by => assessed_by(by),
    };
    joined(&[
        field(data, "reason", LONG),
        assessed.to_owned(),
        shown(&data["risk_assessment"]["reasoning"], LONG),
        details,
    ])
}

fn assessed_by(by: &Value) -> &'static str {
    match by.as_str() {
        Some("model") => "risk said by a model",
        Some("rules") => "risk by rules",
        Some("system") => "risk unknown, so high",
        Some(_) => "risk of an earlier decision",
        None => "risk set by the template",
    }
}

/// What gates decided, who or what decided it, and the whole answer.
pub(crate) fn decisions(events: &[Value]) -> Vec<Value> {
    let row = |event: &Value| {
        let data = &event["data"];
        let by_person = action(event) == "resume_workflow";
        let decided = action(event) == "complete_step"
            && !(data["decision"].is_null() && data["decided_by"].is_null());
        if !by_person && !decided {
            return None;
        }
        let result = match &data["result"] {
            Value::Object(result) if result.is_empty() => &Value::Null,
            result if by_person || data["decided_by"] == "system" => result,
            _ => &Value::Null,
        };
        let problems = match data["problems"].as_array() {
            Some(problems) if !problems.is_empty() => {
                problems.iter().map(|problem| shown(problem, LONG)).collect::<Vec<_>>().join("; ")
            }
            _ => String::new(),
        };
        let parts = [
            shown(&data["answer"], LONG),
            field(data, "failure_reason", LONG),
            shown(result, LONG),
            problems,
        ];
        Some(json!({"sequence": number(event), "time": at(event), "step": step(event),
            "decision": field(data, "decision", 120), "by": if by_person { "human".to_owned() } else { field(data, "decided_by", 40) },
            "next": field(data, "next_step", 80), "answer": joined(&parts)}))
    };
    events.iter().filter_map(row).collect()
}

/// What people did to the run besides approvals: ended it, held it up, had it go on, forced a lock open.
pub(crate) fn interventions(events: &[Value]) -> Vec<Value> {
    let row = |event: &Value| {
        let data = &event["data"];
        let (what, who, why) = match action(event) {
            "cancel_workflow" => ("cancelled", &data["cancelled_by"], &data["reason"]),
            "suspend_workflow" => ("held up", &data["suspended_by"], &data["reason"]),
            "continue_workflow" => ("let go on", &data["continued_by"], &Value::Null),
            "retry_step" if data["command"].is_object() => {
                ("retried from here", &data["command"]["requested_by"], &Value::Null)
            }
            "release_lock" if data["forced"].is_object() => {
                ("lock forced open", &data["forced"]["released_by"], &data["forced"]["reason"])
            }
            _ => return None,
        };
        Some(
            json!({"sequence": number(event), "time": at(event), "step": step(event), "what": what,
            "who": shown(who, 120), "why": shown(why, LONG)}),
        )
    };
    events.iter().filter_map(row).collect()
}

/// Locks as they were waited for, taken and given up.
pub(crate) fn locks(events: &[Value]) -> Vec<Value> {
    let wanted = ["wait_lock", "acquire_lock", "release_lock"];
    let row = |event: &Value| {
        let data = &event["data"];
        let span =
            |name: &str| text::duration(data[name].as_i64().unwrap_or(0).clamp(0, 1 << 40) * 1_000);
        let (what, detail) = match action(event) {
            "wait_lock" if data["holder"].is_null() => ("waits", String::new()),
            "wait_lock" => ("waits", format!("held by {}", field(data, "holder", 120))),
            "acquire_lock" => (
                "acquired",
                format!(
                    "after {}; fencing number {}",
                    span("wait_ms"),
                    field(data, "fencing_number", 20)
                ),
            ),
            _ if data["forced"].is_object() => {
                let forced = &data["forced"];
                (
                    "forced open",
                    format!(
                        "by {}: {}",
                        field(forced, "released_by", 120),
                        field(forced, "reason", LONG)
                    ),
                )
            }
            _ => ("released", format!("held for {}", span("held_ms"))),
        };
        json!({"sequence": number(event), "time": at(event), "step": step(event), "lock": field(data, "resource_lock", 120),
            "what": what, "detail": detail})
    };
    events.iter().filter(|event| is(event, &wanted)).map(row).collect()
}

/// What failed, what was tried again, and what was undone.
pub(crate) fn errors(events: &[Value]) -> Vec<Value> {
    let wanted =
        ["fail_step", "retry_step", "rollback_step", "escalate", "expire_workflow", "notify"];
    let told = |event: &&Value| {
        is(event, &wanted) && (!is(event, &["notify"]) || event["data"]["status"] == "failed")
    };
    let row = |event: &Value| {
        let data = &event["data"];
        let (what, detail) = match action(event) {
            "fail_step" => {
                let last = if data["final"].as_bool() == Some(true) { ", for good" } else { "" };
                (
                    format!("attempt {} failed{last}", field(data, "attempt", 10)),
                    joined(&[field(data, "error_type", 60), field(data, "error", LONG)]),
                )
            }
            "retry_step" => {
                let by = shown(&data["command"]["requested_by"], 120);
                let by = if by.is_empty() { by } else { format!("; asked for by {by}") };
                (
                    format!(
                        "retry {} of {}",
                        field(data, "retry_attempt", 10),
                        field(data, "max_retries", 10)
                    ),
                    format!("after {} s{by}", field(data, "backoff_delay", 20)),
                )
            }
            "rollback_step" => (
                format!("rolled back by {}", field(data, "by_step", 80)),
                field(data, "reason", LONG),
            ),
            "escalate" => (
                format!("escalated, {}", field(data, "priority", 20)),
                joined(&[field(data, "reason", LONG), field(data, "error", LONG)]),
            ),
            "notify" => (
                "message not delivered".to_owned(),
                joined(&[field(data, "trigger", 60), field(data, "error", LONG)]),
            ),
            _ => (
                "run expired".to_owned(),
                joined(&[field(data, "reason", LONG), field(data, "error", LONG)]),
            ),
        };
        json!({"sequence": number(event), "time": at(event), "step": step(event), "what": what, "detail": detail})
    };
    events.iter().filter(told).map(row).collect()
}

/// What people wrote about the run.
pub(crate) fn annotations(events: &[Value]) -> Vec<Value> {
    let row = |event: &Value| {
        let data = &event["data"];
        json!({"sequence": number(event), "time": at(event), "who": field(data, "operator", 120),
            "about": field(data, "event_id", 60), "text": field(data, "comment", 4_000)})
    };
    events.iter().filter(|event| is(event, &["annotate"])).map(row).collect()
}

/// A line for every event.
pub(crate) fn lines(events: &[Value], is_bad: impl Fn(&Value, u64) -> bool) -> Vec<Value> {
    let row = |(event, place): (&Value, u64)| {
        let sequence = event["sequence"].as_u64().unwrap_or(place);
        json!({"sequence": sequence, "time": at(event), "action": fit(action(event), 40), "step": step(event),
            "text": line(event), "bad": is_bad(event, sequence)})
    };
    events.iter().zip(1..).map(row).collect()
}

/// What an event says, in the order of importance, until the line is full.
fn line(event: &Value) -> String {
    const FIRST: [&str; 18] = [
        "template_name",
        "decision",
        "decided_by",
        "next_step",
        "status",
        "approver",
        "approver_role",
        "rejector",
        "cancelled_by",
        "suspended_by",
        "continued_by",
        "requested_by",
        "resource_lock",
        "error",
        "reason",
        "comment",
        "operator",
        "attempt",
    ];
    let Some(data) = event["data"].as_object() else {
        return shown(&event["unreadable"], LINE);
    };
    let first = FIRST.iter().filter_map(|name| data.get_key_value(*name));
    let rest = data.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    let parts = first.chain(rest).filter(|(_, value)| !value.is_null());
    let mut text = String::new();
    for (name, value) in parts {
        if text.len() > 4 * LINE {
            break;
        }
        let separator = if text.is_empty() { "" } else { "; " };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("{separator}{name}: {value}"));
    }
    fit(&text, LINE)
}

fn joined(parts: &[String]) -> String {
    let parts: Vec<&str> =
        parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

fn plural(n: u64, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}
