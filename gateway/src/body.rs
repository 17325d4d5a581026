//! JSON bodies: their media type, their size and their fields.

use std::ops::Deref;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::failure::Failure;

/// A body that is too large is still read up to here, bytes: a client that is cut off while it writes
/// sees a broken connection and not the answer.
const MAX_DISCARDED: usize = 64 << 20;

/// A body that claims to be JSON, as it came.
#[derive(Debug)]
pub(crate) struct JsonBody(Bytes);

impl FromRequest<App> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        expect_json(request.headers())?;
        let limit = app.body_limit();
        let announced = announced_length(request.headers()).filter(|length| *length > limit);
        if announced.is_some_and(|length| length > MAX_DISCARDED) {
            return Err(too_large(limit));
        }
        let reading = read(request.into_body(), limit);
        let seconds = app.limits.body_timeout.as_secs();
        match tokio::time::timeout(app.limits.body_timeout, reading).await {
            Ok(body) => body.map(Self),
            Err(_) => Err(Failure::new(
                ErrorCode::BadRequest,
                format!("the body did not arrive within {seconds} s"),
            )),
        }
    }
}

impl JsonBody {
    /// The value, or which field cannot be read.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // A derived struct would also be read from an array, field by field.
        if self.first_byte().is_some_and(|byte| b"[\"-0123456789tfn".contains(&byte)) {
            return Err(Failure::field("body", "expected a JSON object"));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(self);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(explain)?;
        deserializer.end().map_err(|error| not_json(&error))?;
        Ok(value)
    }

    /// The bytes, which the coordinator gets unchanged.
    pub(crate) fn as_raw(&self) -> Result<&RawValue, Failure> {
        serde_json::from_slice(self).map_err(|error| not_json(&error))
    }

    fn first_byte(&self) -> Option<u8> {
        self.iter().copied().find(|byte| !byte.is_ascii_whitespace())
    }
}

impl Deref for JsonBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

fn expect_json(headers: &HeaderMap) -> Result<(), Failure> {
    let given =
        headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("unreadable"));
    let essence =
        given.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
    {
        return Ok(());
    }
    let shown: String = given.unwrap_or("missing").chars().take(100).collect();
    let detail = format!("Content-Type is {shown}; send the body as application/json");
    Err(Failure::new(ErrorCode::UnsupportedMediaType, detail))
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let mut gathered = Vec::new();
    let mut length = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            Failure::new(ErrorCode::BadRequest, format!("the body broke off: {error}"))
        })?;
        length += chunk.len();
        if length > MAX_DISCARDED.max(limit) {
            break;
        }
        if length <= limit {
            gathered.extend_from_slice(&chunk);
        }
    }
    if length > limit { Err(too_large(limit)) } else { Ok(gathered.into()) }
}

fn too_large(limit: usize) -> Failure {
    Failure::new(ErrorCode::BodyTooLarge, format!("the body is larger than {limit} bytes"))
}

/// Text that is no JSON has a place; a field of a wrong shape has a name.
fn explain(error: serde_path_to_error::Error<serde_json::Error>) -> Failure {
    if !error.inner().is_data() {
        return not_json(error.inner());
    }
    let path = error.path().to_string();
    let message = without_place(error.inner());
    let named = quoted(&message, "missing field")
        .map(|field| (field, "is missing".to_owned()))
        .or_else(|| {
            quoted(&message, "duplicate field")
                .map(|field| (field, "is given more than once".to_owned()))
        });
    match (named, path.as_str()) {
        (Some((field, problem)), ".") => Failure::field(field, problem),
        (Some((field, problem)), path) => Failure::field(format!("{path}.{field}"), problem),
        (None, ".") => Failure::field("body", message),
        (None, path) => Failure::field(path.chars().take(200).collect::<String>(), message),
    }
}

fn not_json(error: &serde_json::Error) -> Failure {
    let place = format!("line {} column {}", error.line(), error.column());
    Failure::field("body", format!("not valid JSON at {place}: {}", without_place(error)))
}

fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The field that serde names in a message of this kind, whose path is that of the object around it.
fn quoted<'a>(message: &'a str, kind: &str) -> Option<&'a str> {
    message.strip_prefix(kind)?.strip_prefix(" `")?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use sluice_proto::api::{ExecuteRequest, ResumeRequest};

    use super::*;

    fn detail<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
        let failure = JsonBody(Bytes::copy_from_slice(text.as_bytes())).read::<T>().unwrap_err();
        assert_eq!(failure.error().code, ErrorCode::InvalidBody);
        failure.error().detail.clone()
    }

    #[test]
    fn names_the_field() {
        let deep = format!(
            r#"{{"template_name":"t","context":{{"a":{}1{}}}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        let cases = [
            (r#"{"template_name":"t"}"#, "context: is missing"),
            (
                r#"{"template_name":"t","context":3}"#,
                "context: invalid type: integer `3`, expected a map",
            ),
            (r#"{"template_name":"t","context":null}"#, "context: invalid type: null"),
            (r#"{"template_name":["t"],"context":{}}"#, "template_name: invalid type"),
            (
                r#"{"template_name":"t","context":{},"context":{}}"#,
                "context: is given more than once",
            ),
            (r#"["t",{}]"#, "body: expected a JSON object"),
            ("", "body: not valid JSON at line 1 column 0: EOF"),
            (
                "{\n  \"template_name\": \"t\",\n  \"context\": {\"a\" 1}\n}",
                "body: not valid JSON at line 3 column 19",
            ),
            (
                r#"{"template_name":"t","context":{}} x"#,
                "body: not valid JSON at line 1 column 36: trailing",
            ),
            (&deep, "recursion limit exceeded"),
        ];
        for (text, expected) in cases {
            let detail = detail::<ExecuteRequest>(text);
            assert!(detail.contains(expected), "{text}: {detail}");
        }
        assert_eq!(detail::<ResumeRequest>("{}"), "approval_decision: is missing");
    }

    #[test]
    fn takes_what_is_right() {
        let body = JsonBody(Bytes::from_static(
            br#" {"template_name":"t","context":{"b":1,"a":2.50},"x":1}"#,
        ));
        body.read::<ExecuteRequest>().unwrap();
        assert!(body.as_raw().unwrap().get().contains(r#"{"b":1,"a":2.50}"#));
    }
}
