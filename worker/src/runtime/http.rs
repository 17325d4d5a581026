//! Agents that are HTTP services.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use sluice_proto::message::AgentError;
use time::OffsetDateTime;

use super::{Job, Outcome, Runtime, answer, classify};

/// Longest wait for a connection; the agent's own time starts after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next call. Servers close what is idle, some after two seconds, and
/// a call that meets the closing fails although its agent is well: it may have been heard.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest message taken over from an agent's error.
const MAX_MESSAGE_CHARS: usize = 500;

/// A client for agents and models. It follows no redirect: an agent's address is a decision of the
/// operator, and another host would be given the step's data. It takes no proxy from the environment for
/// the same reason.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    // Another crate may have been first; any provider will do then.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
        .build()
}

pub(super) struct HttpRuntime {
    client: Client,
    url: Url,
}

impl HttpRuntime {
    pub(super) fn new(client: &Client, url: &Url) -> Self {
        Self { client: client.clone(), url: url.clone() }
    }

    async fn call(&self, job: Job) -> Result<Outcome, AgentError> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", &job.command.idempotency_key)
            .body(job.body);
        if let Some(traceparent) = job.traceparent {
            request = request.header("traceparent", traceparent);
        }
        let response = request.send().await.map_err(classify::transport)?;
        let status = response.status();
        if status.is_success() {
            return Ok(answer::read(&classify::body(response, job.max_output).await?));
        }
        let by_status = classify::status(status, response.headers(), OffsetDateTime::now_utc());
        // A broken or endless body must not hide the status.
        let body = classify::body(response, job.max_output).await.unwrap_or_default();
        Err(described(&body, by_status))
    }
}

impl Runtime for HttpRuntime {
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Outcome> {
        async move { self.call(job).await.unwrap_or_else(Outcome::from) }.boxed()
    }
}

/// `{"error": {"code", "message", "retryable"}}`, where an agent can say more than its status or exit code.
/// Where it says something else, that is told behind what they mean: `{"error": "…"}`, or plain text.
pub(super) fn described(body: &[u8], otherwise: AgentError) -> AgentError {
    #[derive(Deserialize)]
    struct Envelope {
        error: Described,
    }

    #[derive(Deserialize)]
    struct Described {
        code: Option<String>,
        message: Option<String>,
        #[serde(alias = "retriable")]
        retryable: Option<bool>,
        retry_after_ms: Option<u64>,
    }

    let Ok(Envelope { error }) = serde_json::from_slice(body) else {
        return match said(body) {
            Some(said) => {
                AgentError { message: format!("{}: {said}", otherwise.message), ..otherwise }
            }
            None => otherwise,
        };
    };
    AgentError {
        code: error.code.filter(|code| is_word(code)).unwrap_or(otherwise.code),
        message: error
            .message
            .map_or(otherwise.message, |text| text.chars().take(MAX_MESSAGE_CHARS).collect()),
        retryable: error.retryable.or(otherwise.retryable),
        retry_after_ms: error.retry_after_ms.or(otherwise.retry_after_ms),
    }
}

/// What a body without the envelope says to people, on one line; pages for browsers say nothing.
fn said(body: &[u8]) -> Option<String> {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(Value::String(text)) => text,
        Ok(Value::Object(object)) => ["error", "message", "detail"]
            .iter()
            .find_map(|key| object.get(*key)?.as_str())?
            .to_owned(),
        Ok(_) => return None,
        Err(_) => std::str::from_utf8(body)
            .ok()
            .filter(|text| !text.trim_start().starts_with('<'))?
            .to_owned(),
    };
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line: String = words.join(" ").trim().chars().take(MAX_MESSAGE_CHARS).collect();
    (!line.is_empty()).then_some(line)
}

fn is_word(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::failure;

    #[test]
    fn what_an_agent_says_about_its_failure_is_kept() {
        let cases: [(&[u8], &str); 7] = [
            (br#"{"error":{"message":"disk full","retryable":true}}"#, "disk full"),
            (br#"{"error":"disk full"}"#, "HTTP 500: disk full"),
            (br#"{"message":"disk\n full"}"#, "HTTP 500: disk  full"),
            (b"disk full\n", "HTTP 500: disk full"),
            (b"<html><body>disk full", "HTTP 500"),
            (b"[1]", "HTTP 500"),
            (b"", "HTTP 500"),
        ];
        for (body, expected) in cases {
            assert_eq!(described(body, failure("http_500", true, "HTTP 500")).message, expected);
        }
    }
}
