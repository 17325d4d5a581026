//! What a failed HTTP exchange means: whether trying again can help, and when.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use sluice_proto::message::AgentError;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::failure;

/// Longest pause that somebody else may impose.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
const HTTP_DATE: &[BorrowedFormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// The error of a status that is no success.
pub(super) fn status(status: StatusCode, headers: &HeaderMap, now: OffsetDateTime) -> AgentError {
    let reason = status.canonical_reason().unwrap_or("unknown status");
    let mut error = if status.is_redirection() {
        failure(
            "redirect",
            false,
            format!("HTTP {status}: redirects are not followed", status = status.as_u16()),
        )
    } else {
        failure(
            &format!("http_{}", status.as_u16()),
            is_retryable(status),
            format!("HTTP {} {reason}", status.as_u16()),
        )
    };
    if error.retryable == Some(true) {
        let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let pause = header.and_then(|text| retry_after(text, now));
        error.retry_after_ms = pause.and_then(|pause| u64::try_from(pause.as_millis()).ok());
    }
    error
}

/// 401 and 403 need a person, every other 4xx another request.
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error()
}

/// Seconds, or a date.
fn retry_after(text: &str, now: OffsetDateTime) -> Option<Duration> {
    let text = text.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = PrimitiveDateTime::parse(text, HTTP_DATE).ok()?.assume_utc();
            (date - now).try_into().unwrap_or(Duration::ZERO)
        }
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

/// The error of an exchange that brought no status, or broke off after it. Never holds the address,
/// which may hold a password.
pub(super) fn transport(error: reqwest::Error) -> AgentError {
    let error = error.without_url();
    if error.is_connect() {
        return failure("unreachable", true, format!("no connection: {}", root(&error)));
    }
    if error.is_timeout() {
        return failure("timeout", true, "no answer in time");
    }
    if error.is_builder() {
        return failure(
            "bad_request",
            false,
            format!("the request cannot be made: {}", root(&error)),
        );
    }
    failure("connection_lost", true, format!("the connection broke off: {}", root(&error)))
}

/// The innermost cause; those around it say little.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The body, as far as it is not too large.
pub(super) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, AgentError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(crate) fn too_large(limit: usize) -> AgentError {
    failure(
        "output_too_large",
        false,
        format!("the answer is larger than the {limit} bytes that can be recorded"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides() {
        let cases = [
            (301, "redirect", false),
            (400, "http_400", false),
            (401, "http_401", false),
            (403, "http_403", false),
            (404, "http_404", false),
            (408, "http_408", true),
            (409, "http_409", false),
            (413, "http_413", false),
            (422, "http_422", false),
            (425, "http_425", true),
            (429, "http_429", true),
            (500, "http_500", true),
            (503, "http_503", true),
            (599, "http_599", true),
        ];
        for (code, expected, retryable) in cases {
            let error = status(
                StatusCode::from_u16(code).unwrap(),
                &HeaderMap::new(),
                OffsetDateTime::UNIX_EPOCH,
            );
            assert_eq!((error.code.as_str(), error.retryable), (expected, Some(retryable)));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = time::macros::datetime!(2031-03-04 05:06:07 UTC);
        let cases = [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("999999", Some(3_600)),
            ("Tue, 04 Mar 2031 05:06:37 GMT", Some(30)),
            ("Tue, 04 Mar 2031 05:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn only_what_is_retried_has_a_pause() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "2".parse().unwrap());
        let pause = |code| {
            status(StatusCode::from_u16(code).unwrap(), &headers, OffsetDateTime::UNIX_EPOCH)
                .retry_after_ms
        };
        assert_eq!((pause(429), pause(503), pause(400)), (Some(2_000), Some(2_000), None));
    }
}
