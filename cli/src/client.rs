//! The HTTP client of the client commands.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_proto::error::ApiError;

use crate::error::CliError;

/// The gateway bounds its own waits below this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole record may be long.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Whoever follows a run begins anew once a day.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(86_400);
/// Longest event that is followed, bytes.
const MAX_EVENT_BYTES: usize = 64 << 20;
const MAX_SHOWN_CHARS: usize = 300;

/// Talks to one gateway.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    pub(crate) fn new(url: &str) -> Result<Self, CliError> {
        let wrong = |reason: String| CliError::Usage(format!("--url '{url}': {reason}"));
        let base = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if base.cannot_be_a_base() {
            return Err(wrong("expected something like http://localhost:8001".to_owned()));
        }
        let mut builder =
            reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT);
        if is_loopback(&base) {
            // A proxy of the environment cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { http, base })
    }

    /// The address of a route, for people.
    pub(crate) fn address(&self, path: &[&str]) -> String {
        let mut url = self.base.clone();
        // The password of a URL is for the request, not for the screen.
        let _ = url.set_password(None);
        extend(&mut url, path);
        url.to_string()
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        self.send(self.http.request(Method::GET, self.with_query(path, query))).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<T, CliError> {
        let mut url = self.base.clone();
        extend(&mut url, path);
        self.send(self.http.request(Method::POST, url).json(body)).await
    }

    pub(crate) async fn post_query<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<T, CliError> {
        self.send(self.http.request(Method::POST, self.with_query(path, query)).json(body)).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        self.send(self.http.request(Method::DELETE, self.with_query(path, query))).await
    }

    fn with_query(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        extend(&mut url, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// The bytes of an answer.
    pub(crate) async fn download(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Bytes, CliError> {
        let request = self.http.request(Method::GET, self.with_query(path, query));
        Ok(self.answer(request.timeout(DOWNLOAD_TIMEOUT)).await?.1)
    }

    /// An answer that goes on for as long as it likes, behind the event of this number.
    pub(crate) async fn follow(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        after: Option<u64>,
    ) -> Result<EventStream, CliError> {
        let mut request = self.http.request(Method::GET, self.with_query(path, query));
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let response = request.timeout(FOLLOW_TIMEOUT).send().await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(EventStream { response, read: Vec::new() });
        }
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Err(self.refused(status, &body))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, CliError> {
        let (status, body) = self.answer(request).await?;
        serde_json::from_slice(&body).map_err(|_| self.strange(status, &body))
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Bytes), CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        Ok((status, body))
    }

    fn refused(&self, status: StatusCode, body: &Bytes) -> CliError {
        serde_json::from_slice::<ApiError>(body)
            .map_or_else(|_| self.strange(status, body), CliError::Refused)
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        // The innermost cause is the one that helps: "connection refused", "timed out".
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let reason =
            if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() };
        CliError::Unreachable { url: self.address(&[]), reason }
    }

    fn strange(&self, status: StatusCode, body: &Bytes) -> CliError {
        let body = String::from_utf8_lossy(body).chars().take(MAX_SHOWN_CHARS).collect();
        CliError::Strange { url: self.address(&[]), status: status.as_u16(), body }
    }
}

/// Server-sent events.
pub(crate) struct EventStream {
    response: reqwest::Response,
    read: Vec<u8>,
}

/// One of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: Option<u64>,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl EventStream {
    /// The next event; none when the stream has ended or was cut.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.read.drain(..end + 2).collect();
                if let Some(told) = told(&String::from_utf8_lossy(&block)) {
                    return Some(told);
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            if self.read.len() + chunk.len() > MAX_EVENT_BYTES {
                return None;
            }
            self.read.extend_from_slice(&chunk);
        }
    }
}

/// None for comments.
fn told(block: &str) -> Option<Told> {
    let mut told = Told::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => told.id = id.parse().ok(),
            Some(("event", event)) => event.clone_into(&mut told.event),
            Some(("data", data)) => told.data.push_str(data),
            _ => {}
        }
    }
    (!told.data.is_empty()).then_some(told)
}

/// Appends segments, each encoded, whatever is in it.
fn extend(url: &mut Url, path: &[&str]) {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
