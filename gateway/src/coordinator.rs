//! How the coordinator is asked, and what its silence means.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use sluice_bus::{ApiCallError, Bus, Subscription};
use sluice_proto::api::verb;
use sluice_proto::error::ErrorCode;

use crate::caller::Caller;
use crate::failure::Failure;

pub(crate) struct Coordinator {
    bus: Bus,
    timeout: Duration,
}

impl Coordinator {
    pub(crate) fn new(bus: Bus, timeout: Duration) -> Self {
        Self { bus, timeout }
    }

    pub(crate) fn is_bus_connected(&self) -> bool {
        self.bus.is_connected()
    }

    pub(crate) fn max_payload(&self) -> usize {
        self.bus.max_payload()
    }

    /// What is written about a run, as it is committed; none while NATS is away. It may lose messages.
    pub(crate) async fn feed(&self, workflow_id: &str) -> Option<Subscription> {
        self.bus.subscribe(self.bus.subjects().events_of(workflow_id)).await.ok()
    }

    /// The bytes of the answer to `verb`. Ends within the timeout, whatever is away.
    pub(crate) async fn ask(
        &self,
        verb: &str,
        body: &(impl Serialize + ?Sized),
        caller: &Caller,
    ) -> Result<Bytes, Failure> {
        let answer = self.bus.api(verb, body, Some(&caller.actor()), self.timeout).await;
        answer.map_err(|error| self.explain(error, verb))
    }

    fn explain(&self, error: ApiCallError, verb: &str) -> Failure {
        match error {
            ApiCallError::Refused(error) => error.into(),
            ApiCallError::TooLarge => self.too_large(),
            ApiCallError::NotConnected => Failure::away(
                ErrorCode::NatsUnavailable,
                "nats",
                "NATS does not answer; the gateway keeps reconnecting, try again soon",
            ),
            ApiCallError::NoCoordinator => Failure::away(
                ErrorCode::CoordinatorUnavailable,
                "coordinator",
                "no coordinator is running; start one with `sluice coordinator`",
            ),
            ApiCallError::Timeout => self.silence(verb),
        }
    }

    /// After a silence nobody knows whether something was changed, and the caller must be told so.
    fn silence(&self, verb: &str) -> Failure {
        let seconds = self.timeout.as_secs_f64();
        let outcome = if verb::MUTATING.contains(&verb) {
            "; it may have been carried out: look before you repeat it"
        } else {
            ", try again soon"
        };
        let detail = format!("the coordinator did not answer within {seconds} s{outcome}");
        Failure::away(ErrorCode::CoordinatorUnavailable, "coordinator", detail)
    }

    fn too_large(&self) -> Failure {
        let limit = self.max_payload();
        Failure::new(
            ErrorCode::BodyTooLarge,
            format!("the request is larger than {limit} bytes, which is what NATS carries"),
        )
    }
}
