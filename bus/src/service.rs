//! The API as a NATS micro service, which `nats micro ls`, `info` and `stats` show.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use async_nats::HeaderMap;
use async_nats::service::{self, NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Service, ServiceExt};
use bytes::Bytes;
use futures::stream::{BoxStream, SelectAll, select_all};
use futures::{Stream, StreamExt};
use sluice_proto::error::ApiError;

use crate::api::{ACTOR_HEADER, Actor, DEADLINE_HEADER, is_past};
use crate::connection::Bus;
use crate::error::BusError;

/// Name under which tools find it.
const NAME: &str = "sluice";
/// Coordinators share the requests of one queue group.
const QUEUE: &str = "sluice-api";

impl Bus {
    /// Serves `verbs` (`workflow.execute`), one endpoint each, together with every other coordinator. Whoever
    /// asks from now on finds it.
    ///
    /// # Errors
    /// A version that is not semantic, or a lost connection.
    pub async fn api_service(&self, version: &str, verbs: &[&str]) -> Result<ApiService, BusError> {
        let started = self
            .inner
            .client
            .service_builder()
            .description("Sluice workflow API")
            .queue_group(QUEUE);
        let service = started
            .start(NAME, version)
            .await
            .map_err(|e| BusError::jetstream("micro service", e))?;
        let mut endpoints = Vec::with_capacity(verbs.len());
        for verb in verbs {
            let endpoint = service
                .endpoint_builder()
                .name(verb.replace('.', "-"))
                .add(self.subjects().api(verb));
            let requests = endpoint.await.map_err(|e| BusError::jetstream("micro service", e))?;
            let (bus, verb) = (self.clone(), (*verb).to_owned());
            let named = requests.map(move |inner| ApiRequest::new(&bus, &verb, inner));
            endpoints.push(named.boxed());
        }
        self.flush().await?;
        Ok(ApiService { service: Some(service), requests: select_all(endpoints) })
    }
}

/// Requests of all endpoints, each endpoint getting its turn.
pub struct ApiService {
    service: Option<Service>,
    requests: SelectAll<BoxStream<'static, ApiRequest>>,
}

impl ApiService {
    /// Takes no further requests. Those that have arrived can still be read, then the stream ends.
    pub async fn stop(&mut self) {
        if let Some(service) = self.service.take()
            && let Err(error) = service.stop().await
        {
            tracing::debug!(%error, "stopping the micro service failed");
        }
    }
}

impl Stream for ApiService {
    type Item = ApiRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ApiRequest>> {
        self.requests.poll_next_unpin(cx)
    }
}

/// One call of the API; answer it exactly once.
pub struct ApiRequest {
    /// `workflow.execute`.
    pub verb: String,
    /// Its body.
    pub payload: Bytes,
    bus: Bus,
    inner: service::Request,
}

impl ApiRequest {
    fn new(bus: &Bus, verb: &str, inner: service::Request) -> Self {
        Self {
            verb: verb.to_owned(),
            payload: inner.message.payload.clone(),
            bus: bus.clone(),
            inner,
        }
    }

    /// Value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
    }

    /// On whose behalf it is made; none when nobody said so.
    ///
    /// # Errors
    /// A header that cannot be read: treat the request as nobody's, never as anybody's.
    pub fn actor(&self) -> Result<Option<Actor>, serde_json::Error> {
        self.header(ACTOR_HEADER).map(serde_json::from_str).transpose()
    }

    /// Whether its sender has said how long it waits, and that was long ago: it lay somewhere, and what it asks
    /// for may have been done or given up meanwhile.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.header(DEADLINE_HEADER).is_some_and(|deadline| is_past(deadline, SystemTime::now()))
    }

    /// Answers with a body.
    ///
    /// # Errors
    /// `TooLarge`: nothing was sent, answer again with an error. Otherwise as [`Bus::publish`].
    pub async fn respond_ok(&self, body: impl Into<Bytes>) -> Result<(), BusError> {
        if self.inner.message.reply.is_none() {
            return Ok(());
        }
        self.bus.bounded(self.inner.respond(Ok(body.into()))).await
    }

    /// Answers with a refusal: error headers for tools of the micro service protocol, JSON for everybody.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn respond_error(self, error: &ApiError) -> Result<(), BusError> {
        let Self { bus, mut inner, .. } = self;
        let Some(reply) = inner.message.reply.take() else { return Ok(()) };
        let status = error.code.http_status();
        // A header value ends at a line break.
        let text = error.detail.replace(['\r', '\n'], " ");
        let mut headers = HeaderMap::new();
        headers.insert(NATS_SERVICE_ERROR, text.as_str());
        headers.insert(NATS_SERVICE_ERROR_CODE, status.to_string());
        let body = serde_json::to_vec(error).map_err(BusError::client)?;
        bus.bounded(bus.inner.client.publish_with_headers(reply, headers, body.into())).await?;
        // The library answers errors without a body and counts only those it answered itself. So it
        // answers this one too, to where nobody listens, and the statistics stay right.
        inner.message.reply = Some(format!("{}.counted", bus.inner.inbox).into());
        let counted = service::error::Error { status: text, code: status.into() };
        bus.bounded(inner.respond(Err(counted))).await
    }
}
