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

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(serde_json::from_slice::<ApiError>(&body)
                .map_or_else(|_| self.strange(status, &body), CliError::Refused));
        }
        serde_json::from_slice(&body).map_err(|_| self.strange(status, &body))
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
