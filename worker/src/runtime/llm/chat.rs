//! One exchange with an OpenAI-compatible `POST /chat/completions`.

use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sluice_proto::message::{AgentError, Usage};
use time::OffsetDateTime;

use super::models::{Endpoint, Models};
use crate::runtime::answer::bad_output;
use crate::runtime::classify;

/// Low, because answers are read by a program, and not 0, because some models then loop.
const TEMPERATURE: f64 = 0.3;
/// Longest explanation taken over from a provider.
const MAX_REASON_CHARS: usize = 300;

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) system: &'a str,
    pub(super) user: &'a str,
    /// Name and JSON Schema of the answer.
    pub(super) schema: Option<(&'a str, &'a Value)>,
}

/// What the model said.
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) usage: Usage,
}

impl Models {
    /// Asks with the schema where the server takes one, else without.
    pub(super) async fn ask(
        &self,
        endpoint: &Endpoint,
        question: &Question<'_>,
        limit: usize,
    ) -> Result<Reply, AgentError> {
        if let Some((name, schema)) = question.schema
            && self.takes_schema(endpoint)
        {
            let format =
                json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema}});
            let response = self.send(endpoint, question, Some(format)).await?;
            if response.status() != StatusCode::BAD_REQUEST {
                return read(response, endpoint, limit).await;
            }
            let reply = self.ask_plainly(endpoint, question, limit).await?;
            // It refused the schema, not the question.
            self.remember_plain(endpoint);
            return Ok(reply);
        }
        self.ask_plainly(endpoint, question, limit).await
    }

    async fn ask_plainly(
        &self,
        endpoint: &Endpoint,
        question: &Question<'_>,
        limit: usize,
    ) -> Result<Reply, AgentError> {
        read(self.send(endpoint, question, None).await?, endpoint, limit).await
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        question: &Question<'_>,
        format: Option<Value>,
    ) -> Result<Response, AgentError> {
        let mut body = json!({
            "model": endpoint.model,
            "temperature": TEMPERATURE,
            "messages": [
                {"role": "system", "content": question.system},
                {"role": "user", "content": question.user},
            ],
        });
        if let Some(format) = format {
            body["response_format"] = format;
        }
        let mut request = self.http.post(&endpoint.url).json(&body);
        if let Some(key) =
            endpoint.api_key.as_ref().map(ExposeSecret::expose_secret).filter(|key| !key.is_empty())
        {
            request = request.bearer_auth(key);
        }
        request.send().await.map_err(classify::transport)
    }
}

async fn read(response: Response, endpoint: &Endpoint, limit: usize) -> Result<Reply, AgentError> {
    let status = response.status();
    if !status.is_success() {
        let error = classify::status(status, response.headers(), OffsetDateTime::now_utc());
        let body = classify::body(response, limit).await.unwrap_or_default();
        let reason = serde_json::from_slice(&body)
            .ok()
            .and_then(|body| reason(&body, endpoint.api_key.as_ref()));
        return Err(explained(error, reason));
    }
    let body = classify::body(response, limit).await?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|_| bad_output("the provider's answer is no JSON"))?;
    // Some providers report their own provider's failure under status 200.
    if body.get("choices").is_none() && body.get("error").is_some() {
        let status = body
            .pointer("/error/code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok());
        let status = status
            .and_then(|code| StatusCode::from_u16(code).ok())
            .unwrap_or(StatusCode::BAD_GATEWAY);
        let error =
            classify::status(status, &reqwest::header::HeaderMap::new(), OffsetDateTime::now_utc());
        return Err(explained(error, reason(&body, endpoint.api_key.as_ref())));
    }
    let usage = usage(&body, &endpoint.model);
    let text = text(&body).ok_or_else(|| bad_output("the provider's answer holds no text"))?;
    Ok(Reply { text, usage })
}

fn explained(mut error: AgentError, reason: Option<String>) -> AgentError {
    if let Some(reason) = reason {
        error.message = format!("{}: {reason}", error.message);
    }
    error
}

/// What the provider says went wrong. It may quote what it was sent, but never the key.
fn reason(body: &Value, key: Option<&SecretString>) -> Option<String> {
    let error = body.get("error")?;
    let text = error.get("message").unwrap_or(error).as_str()?;
    let text = match key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()) {
        Some(key) => text.replace(key, "[key]"),
        None => text.to_owned(),
    };
    Some(
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS).collect(),
    )
}

/// The content of the first choice: a text, or a list of parts with texts.
fn text(body: &Value) -> Option<String> {
    match body.pointer("/choices/0/message/content")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part.get("text")?.as_str()).collect())
        }
        _ => None,
    }
}

fn usage(body: &Value, asked: &str) -> Usage {
    let number = |name: &str| body.pointer(&format!("/usage/{name}")).and_then(Value::as_u64);
    let model = body.get("model").and_then(Value::as_str).filter(|model| !model.is_empty());
    Usage {
        model: Some(model.unwrap_or(asked).chars().take(200).collect()),
        input_tokens: number("prompt_tokens"),
        output_tokens: number("completion_tokens"),
        cost_usd: body.pointer("/usage/cost").and_then(Value::as_f64),
    }
}
