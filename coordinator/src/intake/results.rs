//! Results as they arrive: checked one by one at the door, so that one bad message spoils no batch.

use std::sync::Arc;

use futures::StreamExt;
use serde_json::Value;
use sluice_engine::Report;
use sluice_proto::json;
use sluice_proto::message::{AgentError, Refusal, ResultReply, ResultStatus, StepResult};
use tokio_util::sync::CancellationToken;

use super::item::{Item, ReplyTo, Work};
use crate::coordinator::{QUEUE_GROUP, Shared};

/// Serves results until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut requests =
        shared.bus.serve(shared.bus.subjects().all_of("result"), QUEUE_GROUP).await?;
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = stop.cancelled() => break,
        };
        let Some(request) = request else { break };
        let agent = shared.bus.subjects().agent_token(&request.subject).map(str::to_owned);
        match (serde_json::from_slice::<StepResult>(&request.payload), agent) {
            (Ok(result), Some(agent)) if result.command_id.workflow_id == result.workflow_id => {
                shared.intake.submit(item(result, agent, request)).await;
            }
            (decoded, _) => {
                let cause = decoded.err().map(|error| error.to_string()).unwrap_or_default();
                tracing::warn!(subject = request.subject, %cause, "a result cannot be read");
                shared.metrics.results_refused.add(1);
                let reply = ResultReply::Refused { reason: Refusal::Malformed };
                let body = serde_json::to_vec(&reply).unwrap_or_default();
                if let Err(error) = request.respond(body).await {
                    tracing::debug!(%error, "a worker could not be answered; it will ask again");
                }
            }
        }
    }
    requests.stop().await;
    Ok(())
}

fn item(result: StepResult, agent: String, request: sluice_bus::Request) -> Item {
    let duration_ms = result.finished_at.ms_since(result.started_at);
    let usage = result.usage.clone();
    let report = Report {
        insights: result.insights.iter().filter_map(recordable).collect(),
        duration_ms,
        usage: usage.filter(|usage| usage.cost_usd.is_none_or(f64::is_finite)),
        outcome: outcome(result.status, result.output, result.error),
    };
    Item {
        workflow_id: result.workflow_id,
        work: Work::Result { id: result.command_id, agent, fence: result.fence, report },
        reply_to: ReplyTo::Worker(request),
    }
}

/// A result that contradicts itself or cannot be recorded is a failure of the attempt, never success.
fn outcome(
    status: ResultStatus,
    output: Option<Value>,
    error: Option<AgentError>,
) -> Result<serde_json::Map<String, Value>, AgentError> {
    match (status, output, error) {
        (ResultStatus::Error, _, Some(error)) => Err(error),
        (ResultStatus::Error, _, None) => {
            Err(bad_output("the worker reported an error without saying which"))
        }
        (ResultStatus::Ok, Some(mut output @ Value::Object(_)), _) => {
            match json::normalise(&mut output) {
                Ok(()) => match output {
                    Value::Object(fields) => Ok(fields),
                    _ => Err(bad_output("the output is no JSON object")),
                },
                Err(unrecordable) => Err(bad_output(&unrecordable.to_string())),
            }
        }
        (ResultStatus::Ok, ..) => Err(bad_output("the output is no JSON object")),
    }
}

fn bad_output(message: &str) -> AgentError {
    AgentError {
        code: "bad_output".to_owned(),
        message: message.to_owned(),
        retryable: Some(false),
        retry_after_ms: None,
    }
}

/// A finding that cannot be recorded is left out: it is a courtesy, not the result.
fn recordable(insight: &Value) -> Option<Value> {
    let mut insight = insight.clone();
    json::normalise(&mut insight).ok().map(|()| insight)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_recordable_object_is_success() {
        let ok = |output| outcome(ResultStatus::Ok, output, None);
        assert_eq!(ok(Some(json!({"a": 1.0}))).unwrap()["a"], json!(1));
        for output in [
            None,
            Some(json!("text")),
            Some(json!([1])),
            Some(json!({"a": "\u{0}"})),
            Some(json!({"n": u64::MAX})),
        ] {
            assert_eq!(ok(output).unwrap_err().code, "bad_output");
        }
        assert_eq!(
            outcome(ResultStatus::Error, Some(json!({})), None).unwrap_err().code,
            "bad_output"
        );
    }
}
