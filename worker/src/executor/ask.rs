//! Questions to the coordinator that must be answered, however long it takes.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use sluice_bus::{Bus, BusError};

/// Longest wait for the first answer: a coordinator that was killed with the question is soon replaced.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the answer to a result; the coordinator answers after its database has committed.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Asks until there is an answer that can be read, waiting twice as long each time, up to
/// `answer_timeout`: coordinators that are behind get behind further with every question that is repeated.
/// `TooLarge` is the only failure that asking again does not heal.
pub(super) async fn until_answered<T: DeserializeOwned>(
    bus: &Bus,
    subject: &str,
    body: &Bytes,
    answer_timeout: Duration,
) -> Result<T, BusError> {
    let mut patience = FIRST_ANSWER_TIMEOUT.min(answer_timeout);
    let ask = || {
        let asked = bus.request(subject, body.clone(), patience);
        patience = (patience * 2).min(answer_timeout);
        async {
            let answer = asked.await?;
            serde_json::from_slice::<T>(&answer)
                .map_err(|error| BusError::Client(error.to_string()))
        }
    };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(MIN_PAUSE)
        .with_max_delay(MAX_PAUSE)
        .without_max_times()
        .with_jitter();
    let mut told = false;
    ask.retry(pauses)
        .sleep(tokio::time::sleep)
        .when(|error| *error != BusError::TooLarge)
        .notify(|error, _| {
            if !told {
                tracing::warn!(subject, %error, "the coordinator does not answer, asking again");
                told = true;
            }
        })
        .await
}
