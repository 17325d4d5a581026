//! What runs learn from each other's failures: which failures an agent has had before, how often trying again
//! worked, and what the agent said had helped.
//!
//! Failures are alike when they have one signature: their stable word and their message without whatever differs
//! from one occurrence to the next. The functions are pure: what is remembered comes in with the situation, what
//! is learned goes out as an effect. What an agent was told stands in the event, so that no replay asks anybody.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sluice_proto::event::{EventBody, FailStep};
use sluice_proto::message::{AgentError, Recovery};

use crate::attempt::Loss;
use crate::decide::{NOT_EXECUTED, Situation, clip};
use crate::effect::Effect;
use crate::event::NewEvent;
use crate::state::{Phase, State};
use crate::template::StepKind;

/// From this tier on a step learns from earlier failures.
pub(crate) const LEARNING_TIER: u8 = 2;
/// Characters of a signature.
const MAX_SIGNATURE_CHARS: usize = 200;
/// Characters that are kept of what an agent says, and of an error.
const MAX_KEPT_CHARS: usize = 500;
/// Where an agent says what helped.
const FIX: &str = "fix";

/// What is remembered, by agent and signature.
pub type Lessons = BTreeMap<(String, String), Lesson>;

/// What is remembered of failures of one signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lesson {
    /// Attempts that failed so.
    pub failures: u32,
    /// Attempts after such a failure that worked.
    pub recovered: u32,
    /// What the agent said had helped, the last time it said so.
    pub fix: Option<String>,
}

/// What a run has learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LessonChange {
    /// An attempt failed so.
    Failed,
    /// The attempt after it worked.
    Recovered {
        /// What the agent said had helped.
        fix: Option<String>,
    },
}

impl Lesson {
    /// The lesson after `change`.
    #[must_use]
    pub fn after(&self, change: &LessonChange) -> Self {
        match change {
            LessonChange::Failed => {
                Self { failures: self.failures.saturating_add(1), ..self.clone() }
            }
            LessonChange::Recovered { fix } => Self {
                recovered: self.recovered.saturating_add(1),
                fix: fix.clone().or_else(|| self.fix.clone()),
                ..self.clone()
            },
        }
    }
}

/// Names failures that are alike: numbers, hashes and ids in the message are left out.
#[must_use]
pub fn signature(error_type: &str, message: &str) -> String {
    let words = message.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words = words.map(|word| match word.chars().any(|c| c.is_ascii_digit()) {
        true => "#".to_owned(),
        false => word.to_lowercase(),
    });
    let mut kept: Vec<String> = words.collect();
    // However many numbers follow each other.
    kept.dedup_by(|a, b| a == "#" && b == "#");
    clip(&format!("{error_type}: {}", kept.join(" ")), MAX_SIGNATURE_CHARS)
}

/// The signature of what an agent reports.
#[must_use]
pub fn signature_of(error: &AgentError) -> String {
    signature(crate::decide::agent_error_type(error), &crate::decide::clip_error(&error.message))
}

/// The signature of an attempt that was given up.
#[must_use]
pub fn signature_of_loss(loss: Loss) -> Option<String> {
    loss.report().outcome.err().map(|error| signature_of(&error))
}

/// What the agent is told when it is asked again after this failure. Without anything remembered that is the
/// failure alone, and no more than a retry.
pub(crate) fn recovery(situation: &Situation<'_>, agent: &str, fail: &FailStep) -> Recovery {
    let signature = signature(&fail.error_type, &fail.error);
    let lesson = situation.lessons.get(&(agent.to_owned(), signature.clone()));
    let lesson = lesson.cloned().unwrap_or_default();
    Recovery {
        tier: if lesson == Lesson::default() { 1 } else { LEARNING_TIER },
        signature,
        error: clip(&fail.error, MAX_KEPT_CHARS),
        error_type: fail.error_type.clone(),
        failures: lesson.failures,
        recovered: lesson.recovered,
        fix: lesson.fix,
        diagnosis: None,
    }
}

/// What an event, about to be applied, teaches.
pub(crate) fn learned(
    situation: &Situation<'_>,
    state: &State,
    event: &NewEvent,
) -> Option<Effect> {
    let path = event.step.as_deref()?;
    let StepKind::AgentCall(call) = &situation.template.step(path)?.kind else { return None };
    let position = state.active.get(path)?;
    // What comes while a gate is asked is the gate's doing.
    if !matches!(position.phase, Phase::Ready | Phase::Queued { .. }) {
        return None;
    }
    let (signature, change) = match &event.body {
        EventBody::FailStep(fail) if counts(situation, path, fail) => {
            (signature(&fail.error_type, &fail.error), LessonChange::Failed)
        }
        EventBody::RecordOutput(output) => {
            (position.recovery.as_ref()?.signature.clone(), recovered(&output.result))
        }
        EventBody::CompleteStep(complete) => {
            (position.recovery.as_ref()?.signature.clone(), recovered(&complete.result))
        }
        _ => return None,
    };
    Some(Effect::Learn { agent: call.agent.clone(), signature, change })
}

fn counts(situation: &Situation<'_>, path: &str, fail: &FailStep) -> bool {
    // Nobody was called for what is final and not exhausted.
    situation.template.retry_limits(path, false).tier >= LEARNING_TIER
        && (!fail.is_final || fail.exhausted)
        && !NOT_EXECUTED.contains(&fail.error_type.as_str())
}

fn recovered(result: &Map<String, Value>) -> LessonChange {
    let fix = result.get(FIX).and_then(Value::as_str).map(|fix| clip(fix, MAX_KEPT_CHARS));
    LessonChange::Recovered { fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_alike_whatever_their_numbers() {
        let one = signature("http_503", "Pod web-7f9c4: no capacity in eu-1 (try 3)");
        let other = signature("http_503", "pod web-88ab1: no capacity in eu-2 (try 12)");
        assert_eq!(one, "http_503: pod web # no capacity in eu # try #");
        assert_eq!(one, other);
        assert_ne!(one, signature("http_500", "Pod web-7f9c4: no capacity in eu-1 (try 3)"));
        assert_ne!(one, signature("http_503", "Pod web-7f9c4: no memory in eu-1 (try 3)"));
        assert_eq!(signature("x", &"long ".repeat(1_000)).chars().count(), MAX_SIGNATURE_CHARS);
        assert_eq!(signature("x", ""), "x: ");
    }

    #[test]
    fn the_last_fix_stays_until_another_is_named() {
        let fixed = |fix: Option<&str>| LessonChange::Recovered { fix: fix.map(str::to_owned) };
        let lesson = Lesson::default().after(&LessonChange::Failed).after(&fixed(Some("waited")));
        let lesson = lesson.after(&LessonChange::Failed).after(&fixed(None));
        let expected = Lesson { failures: 2, recovered: 2, fix: Some("waited".to_owned()) };
        assert_eq!(lesson, expected);
        assert_eq!(lesson.after(&fixed(Some("slept"))).fix.as_deref(), Some("slept"));
    }
}
