//! Step commands: published by the coordinator, pulled by workers, watched by the sweeper.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::ConsumerErrorKind;
use bytes::Bytes;
use sluice_proto::ids::AgentName;
use sluice_proto::subject::Subjects;
use tokio::time::{Instant, timeout_at};

use crate::connection::Bus;
use crate::delivery::Delivery;
use crate::error::BusError;
use crate::pull::{Lane, Puller};
use crate::topology::{StreamKind, micros};

/// Publishes sent before the first acknowledgement is awaited.
const IN_FLIGHT: usize = 1_000;
/// Longest wait for the acknowledgements of one such batch.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// A step command to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMessage {
    /// Whose queue.
    pub agent: AgentName,
    /// The urgent lane of it.
    pub urgent: bool,
    /// `<command_id>:<dispatch>`; repeated within two minutes it is stored once.
    pub message_id: String,
    /// Its header of that name: the W3C trace it belongs to.
    pub traceparent: Option<String>,
    /// The command.
    pub body: Bytes,
}

/// Where a published message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place in the stream.
    pub stream_sequence: u64,
    /// It had been stored before, at that place.
    pub duplicate: bool,
}

/// How far a lane has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneView {
    /// Whether both stream and consumer exist; everything else is 0 if not.
    pub exists: bool,
    /// When the stream was created, microseconds since 1970: another time means another stream.
    pub stream_created_micros: i64,
    /// Sequence of the newest message of the whole stream.
    pub last_sequence: u64,
    /// Stream sequence up to which this lane delivers nothing any more: settled, or given up after too
    /// many deliveries.
    pub ack_floor: u64,
    /// Every message of the lane up to this place in the stream was delivered at least once.
    pub delivered: u64,
    /// Messages never delivered.
    pub pending: u64,
    /// Messages delivered and not settled.
    pub ack_pending: u64,
}

/// A message that a stream stores once.
pub(crate) fn message(message_id: &str, body: Bytes) -> PublishMessage {
    PublishMessage::build().payload(body).message_id(message_id)
}

impl Bus {
    /// Publishes step commands, sending up to a thousand before it waits. The results are in the order
    /// of `steps`. A deleted stream is made anew and what it missed is published once more.
    pub async fn publish_steps(&self, steps: Vec<StepMessage>) -> Vec<Result<Published, BusError>> {
        let mut results = Vec::with_capacity(steps.len());
        for batch in steps.chunks(IN_FLIGHT) {
            results.extend(self.publish_batch(batch.iter()).await);
        }
        let missed: Vec<usize> = (0..steps.len())
            .filter(|index| results[*index] == Err(BusError::StreamMissing))
            .collect();
        if missed.is_empty() {
            return results;
        }
        if let Err(error) = self.ensure_stream(StreamKind::Steps).await {
            tracing::warn!(%error, "the stream of step commands is gone and could not be made anew");
            return results;
        }
        for batch in missed.chunks(IN_FLIGHT) {
            let again = self.publish_batch(batch.iter().map(|index| &steps[*index])).await;
            for (index, result) in batch.iter().zip(again) {
                results[*index] = result;
            }
        }
        results
    }

    async fn publish_batch(
        &self,
        steps: impl Iterator<Item = &StepMessage>,
    ) -> Vec<Result<Published, BusError>> {
        let mut acks = Vec::new();
        for step in steps {
            let subject = self.subjects().step(&step.agent, step.urgent);
            let mut message = message(&step.message_id, step.body.clone());
            if let Some(traceparent) = &step.traceparent {
                message = message.header("traceparent", traceparent.as_str());
            }
            acks.push(self.send(subject, message).await);
        }
        let until = Instant::now() + ACK_TIMEOUT;
        let mut results = Vec::with_capacity(acks.len());
        for ack in acks {
            results.push(match ack {
                Ok(ack) => stored(ack, until).await,
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Sends a publish to a stream; the acknowledgement is still to come.
    pub(crate) async fn send(
        &self,
        subject: String,
        message: PublishMessage,
    ) -> Result<async_nats::jetstream::context::PublishAckFuture, BusError> {
        if !self.is_connected() {
            return Err(BusError::NotConnected);
        }
        Ok(self.inner.jetstream.send_publish(subject, message).await?)
    }

    /// When the stream of step commands was created, microseconds since 1970; none while it is missing.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn steps_stream_created(&self) -> Result<Option<i64>, BusError> {
        let name = self.subjects().steps_stream();
        match self.inner.jetstream.get_stream(&name).await {
            Ok(stream) => Ok(Some(micros(stream.cached_info().created))),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(e)
                    if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(BusError::jetstream(format!("stream {name}"), error)),
            },
        }
    }

    /// How far a lane has come; a missing stream or consumer is no error.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn step_lane(&self, agent: &AgentName, urgent: bool) -> Result<LaneView, BusError> {
        let name = self.subjects().steps_stream();
        let stream = match self.inner.jetstream.get_stream(&name).await {
            Ok(stream) => stream.cached_info().clone(),
            Err(error) => {
                return match error.kind() {
                    GetStreamErrorKind::JetStream(e)
                        if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        Ok(LaneView::default())
                    }
                    _ => Err(BusError::jetstream(format!("stream {name}"), error)),
                };
            }
        };
        let consumer = Subjects::step_consumer(agent, urgent);
        let found: Result<PullConsumer, _> =
            self.inner.jetstream.get_consumer_from_stream(&consumer, &name).await;
        let info = match found {
            Ok(consumer) => consumer.cached_info().clone(),
            Err(error) => {
                return match error.kind() {
                    ConsumerErrorKind::JetStream(e)
                        if [ErrorCode::CONSUMER_NOT_FOUND, ErrorCode::STREAM_NOT_FOUND]
                            .contains(&e.error_code()) =>
                    {
                        Ok(LaneView::default())
                    }
                    _ => Err(BusError::jetstream(format!("consumer {consumer}"), error)),
                };
            }
        };
        Ok(LaneView {
            exists: true,
            stream_created_micros: micros(stream.created),
            last_sequence: stream.state.last_sequence,
            ack_floor: floor(&info),
            delivered: info.delivered.stream_sequence,
            pending: info.num_pending,
            ack_pending: info.num_ack_pending as u64,
        })
    }

    /// Takes step commands of `agent`, urgent ones first.
    #[must_use]
    pub fn step_puller(&self, agent: &AgentName) -> StepPuller {
        let lane = |urgent| Lane::new(StreamKind::Steps, self.step_consumer(agent, urgent));
        StepPuller(Puller::new(self, vec![lane(true), lane(false)]))
    }
}

/// A message that was delivered too often leaves the server's own floor where it is until some other one
/// is settled. With nothing outstanding, all that was ever delivered is behind us.
fn floor(info: &async_nats::jetstream::consumer::Info) -> u64 {
    if info.num_ack_pending == 0 {
        info.ack_floor.stream_sequence.max(info.delivered.stream_sequence)
    } else {
        info.ack_floor.stream_sequence
    }
}

pub(crate) async fn stored(
    ack: async_nats::jetstream::context::PublishAckFuture,
    until: Instant,
) -> Result<Published, BusError> {
    let ack = timeout_at(until, ack.into_future()).await.map_err(|_| BusError::Timeout)??;
    Ok(Published { stream_sequence: ack.sequence, duplicate: ack.duplicate })
}

/// Takes step commands of one agent. It never holds more than its user has room for: see
/// [`StepPuller::pause`]. Every wait may be dropped half-way; what arrives then is kept for the next
/// call or handed back.
pub struct StepPuller(Puller);

impl StepPuller {
    /// Up to `max` commands: what lies in the urgent lane, then what lies in the normal one; when both
    /// are empty, the first to come within `wait`, else none. Until the next call the puller may keep
    /// as many more as were asked for and not returned.
    ///
    /// # Errors
    /// A missing stream or consumer could not be made anew, or the server does not answer.
    pub async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        self.0.next(max, wait).await
    }

    /// The first half of [`StepPuller::next`]: what lies there now.
    ///
    /// # Errors
    /// As [`StepPuller::next`].
    pub async fn fetch(&mut self, max: usize) -> Result<Vec<Delivery>, BusError> {
        self.0.fetch(max).await
    }

    /// The second half of [`StepPuller::next`]: the first to come.
    ///
    /// # Errors
    /// As [`StepPuller::next`].
    pub async fn wait(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        self.0.wait(max, wait).await
    }

    /// There is no room any more: what arrives from now on, on a pull that is still under way, is handed
    /// back at once. The next call ends the pause.
    pub fn pause(&mut self) {
        self.0.pause();
    }
}
