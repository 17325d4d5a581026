//! The result of an attempt on its way into the record.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use sluice_proto::json::normalise;
use sluice_proto::message::{AgentError, MESSAGE_VERSION, ResultReply, ResultStatus, StepResult};
use sluice_proto::timestamp::Timestamp;

use super::ask;
use super::attempt::{Attempt, Ending, now};
use crate::runtime::{Outcome, classify, failure};

/// Longest error message that is recorded.
const MAX_MESSAGE_CHARS: usize = 4_000;

impl Attempt {
    /// Reports until somebody answers.
    pub(super) async fn report(&self, outcome: Outcome, started_at: Timestamp) -> Ending {
        let bus = &self.context.bus;
        let body = self.fitting(recordable(outcome), started_at);
        let subject = bus.subjects().result(&self.command.agent, &self.command.workflow_id);
        let reply = tokio::select! {
            reply = ask::until_answered::<ResultReply>(bus, &subject, &body, ask::ANSWER_TIMEOUT) => reply,
            () = self.context.ended.cancelled() => return self.unfinished(),
        };
        match reply {
            Ok(ResultReply::Recorded) => Ending::Settled,
            Ok(ResultReply::Refused { reason }) => {
                self.refused("result", reason);
                Ending::Settled
            }
            Err(error) => {
                tracing::error!(workflow.id = %self.command.workflow_id, %error, "a result cannot be reported");
                self.unfinished()
            }
        }
    }

    /// The result as a message, or the error that it does not fit into one.
    fn fitting(&self, outcome: Outcome, started_at: Timestamp) -> Bytes {
        let limit = self.context.bus.max_payload();
        let usage = outcome.usage.clone();
        let body = to_bytes(&self.result(outcome, started_at));
        if body.len() <= limit {
            return body;
        }
        let outcome = Outcome { usage, ..classify::too_large(limit).into() };
        to_bytes(&self.result(outcome, started_at))
    }

    fn result(&self, outcome: Outcome, started_at: Timestamp) -> StepResult {
        let (status, output, error) = match outcome.result {
            Ok(output) => (ResultStatus::Ok, Some(Value::Object(output)), None),
            Err(error) => {
                tracing::info!(
                    workflow.id = %self.command.workflow_id, step.id = %self.command.step_id,
                    attempt = self.command.attempt, error.code = error.code, retryable = error.retryable,
                    "attempt failed"
                );
                (ResultStatus::Error, None, Some(error))
            }
        };
        StepResult {
            v: MESSAGE_VERSION,
            command_id: self.command.command_id.clone(),
            workflow_id: self.command.workflow_id.clone(),
            fence: self.held.fence(),
            status,
            output,
            error,
            usage: outcome.usage,
            insights: outcome.insights,
            worker_id: self.context.worker_id.to_string(),
            started_at,
            finished_at: now(),
        }
    }
}

/// What the record takes. An output it would not give back unchanged is a bad output; an insight is
/// only left out.
fn recordable(outcome: Outcome) -> Outcome {
    let Outcome { result, mut insights, usage } = outcome;
    insights.retain_mut(|insight| normalise(insight).is_ok());
    let result = result.map(Value::Object).and_then(|mut output| match normalise(&mut output) {
        Ok(()) => Ok(output),
        Err(error) => Err(failure("bad_output", false, error.to_string())),
    });
    let result = match result {
        Ok(Value::Object(output)) => Ok(output),
        Ok(_) => Err(failure("bad_output", false, "the output is no object")),
        Err(error) => Err(plain(error)),
    };
    Outcome { result, insights, usage }
}

fn plain(mut error: AgentError) -> AgentError {
    error.message = error.message.chars().filter(|c| *c != '\0').take(MAX_MESSAGE_CHARS).collect();
    error
}

/// Our own messages and JSON values always have a JSON form.
pub(super) fn to_bytes<T: Serialize>(message: &T) -> Bytes {
    serde_json::to_vec(message).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn output(value: Value) -> Outcome {
        let Value::Object(output) = value else { panic!() };
        recordable(Outcome {
            insights: vec![json!("a\0"), json!({"n": 1.0})],
            ..Outcome::output(output)
        })
    }

    #[test]
    fn only_what_can_be_recorded_is_reported() {
        let good = output(json!({"score": 1.0}));
        assert_eq!(Value::Object(good.result.unwrap()), json!({"score": 1}));
        assert_eq!(good.insights, [json!({"n": 1})]);
        for bad in [json!({"a": "x\0"}), json!({"n": u64::MAX})] {
            let error = output(bad).result.unwrap_err();
            assert_eq!((error.code.as_str(), error.retryable), ("bad_output", Some(false)));
        }
        let error = recordable(failure("x", true, "a\0b").into()).result.unwrap_err();
        assert_eq!(error.message, "ab");
    }
}
