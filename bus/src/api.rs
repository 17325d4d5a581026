//! Calling the API over NATS, as the gateway and the command line do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sluice_proto::error::{ApiError, ErrorCode};

use crate::connection::Bus;
use crate::error::BusError;

/// Header that says on whose behalf a request is made.
pub(crate) const ACTOR_HEADER: &str = "Sluice-Actor";

/// Header that says until when its sender waits for the answer: milliseconds since 1970.
pub(crate) const DEADLINE_HEADER: &str = "Sluice-Deadline";
/// By how much the clocks of two machines may differ.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);

/// On whose behalf a request is made, as the gateway established it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Who.
    pub id: String,
    /// How they proved it: `token`, `session`, `linear`, `none` …
    pub method: String,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What they may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// Why an API call brought no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiCallError {
    /// The coordinator said no, and why.
    #[error(transparent)]
    Refused(ApiError),
    /// No coordinator listens.
    #[error("no coordinator answers; is `sluice coordinator` running?")]
    NoCoordinator,
    /// The connection to NATS is down.
    #[error("not connected to NATS")]
    NotConnected,
    /// A coordinator listens, but did not answer in time: whether it did what was asked is unknown.
    #[error("the coordinator did not answer in time")]
    Timeout,
    /// The body is larger than the server takes.
    #[error("the request is larger than the NATS server takes")]
    TooLarge,
}

impl Bus {
    /// Calls `verb` (`workflow.execute`) and returns the body of the answer.
    ///
    /// # Errors
    /// The coordinator's refusal, or why there was no answer.
    pub async fn api<T: Serialize + ?Sized>(
        &self,
        verb: &str,
        body: &T,
        actor: Option<&Actor>,
        wait: Duration,
    ) -> Result<Bytes, ApiCallError> {
        let body = to_json(body)?;
        if body.len() > self.max_payload() {
            return Err(ApiCallError::TooLarge);
        }
        let mut headers = async_nats::HeaderMap::new();
        headers
            .insert(DEADLINE_HEADER, since_1970(SystemTime::now() + wait).as_millis().to_string());
        if let Some(actor) = actor {
            headers.insert(ACTOR_HEADER, header_value(actor)?);
        }
        let request = async_nats::Request::new().payload(body.into()).headers(headers);
        let reply = self.ask(self.subjects().api(verb), request, wait).await?;
        match refusal(&reply) {
            Some(error) => Err(ApiCallError::Refused(error)),
            None => Ok(reply.payload),
        }
    }
}

fn since_1970(moment: SystemTime) -> Duration {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whether nobody waits any more for the answer to a request with this deadline. One that cannot be read
/// is none.
pub(crate) fn is_past(deadline: &str, now: SystemTime) -> bool {
    let Ok(deadline_ms) = deadline.parse() else { return false };
    since_1970(now).saturating_sub(Duration::from_millis(deadline_ms)) > CLOCK_DIFFERENCE
}

fn to_json<T: Serialize + ?Sized>(body: &T) -> Result<Vec<u8>, ApiCallError> {
    serde_json::to_vec(body).map_err(|error| {
        ApiCallError::Refused(ApiError::new(ErrorCode::Internal, error.to_string()))
    })
}

/// JSON without characters outside ASCII: header values are no place for them.
fn header_value(actor: &Actor) -> Result<String, ApiCallError> {
    let text = String::from_utf8_lossy(&to_json(actor)?).into_owned();
    let mut value = String::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => value.push(char::from(byte)),
            _ => value.push_str(&format!("\\u{unit:04x}")),
        }
    }
    Ok(value)
}

fn refusal(reply: &async_nats::Message) -> Option<ApiError> {
    let headers = reply.headers.as_ref()?;
    headers.get(NATS_SERVICE_ERROR_CODE)?;
    let described = serde_json::from_slice(&reply.payload).unwrap_or_else(|_| {
        let text =
            headers.get(NATS_SERVICE_ERROR).map_or("the request failed", |value| value.as_str());
        ApiError::new(ErrorCode::Internal, text)
    });
    Some(described)
}

impl From<BusError> for ApiCallError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::NoResponders => Self::NoCoordinator,
            BusError::Timeout => Self::Timeout,
            BusError::TooLarge => Self::TooLarge,
            _ => Self::NotConnected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_past_when_no_clock_can_be_that_wrong() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        for (deadline, past) in
            [("1000000", false), ("970000", false), ("969999", true), ("0", true), ("soon", false)]
        {
            assert_eq!(is_past(deadline, now), past, "{deadline}");
        }
    }

    #[test]
    fn an_actor_survives_a_header() {
        let actor =
            Actor { id: "Zoë 😀\n".to_owned(), method: "token".to_owned(), ..Actor::default() };
        let value = header_value(&actor).unwrap();
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value}");
        assert_eq!(serde_json::from_str::<Actor>(&value).unwrap(), actor);
    }
}
