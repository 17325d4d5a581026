//! Taking messages from one or more lanes, the first lane first, and never more than there is room for.
//!
//! A pull request cannot be taken back without risking the message that is on its way. So each runs in a
//! task of its own that reads it to its end: a message that finds room is kept for the puller's user,
//! one that finds none is handed back at once. While all lanes are empty one request for one message
//! waits in each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::StreamExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::connection::Bus;
use crate::delivery::Delivery;
use crate::error::BusError;
use crate::topology::{StreamKind, micros};

/// How long the server keeps a request for a message that is still to come.
const WAIT_EXPIRES: Duration = Duration::from_secs(10);
/// Longest wait for the end of a request for what lies there already.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often one call repairs what it pulls from before it leaves the pause that then is due to its
/// caller.
const MAX_RENEWALS: u32 = 4;

/// One consumer to take from.
pub(crate) struct Lane {
    kind: StreamKind,
    config: pull::Config,
    consumer: Option<(PullConsumer, i64)>,
}

impl Lane {
    pub(crate) fn new(kind: StreamKind, config: pull::Config) -> Self {
        Self { kind, config, consumer: None }
    }
}

pub(crate) struct Puller {
    bus: Bus,
    lanes: Vec<Lane>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    /// Whether the puller is gone.
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// How many may be held in `arrived`.
    room: usize,
    arrived: VecDeque<Delivery>,
    /// Per lane: a request is under way.
    under_way: Vec<bool>,
    /// Per lane: why the last request failed.
    failed: Vec<Option<BusError>>,
}

impl Puller {
    pub(crate) fn new(bus: &Bus, lanes: Vec<Lane>) -> Self {
        let state = State {
            under_way: vec![false; lanes.len()],
            failed: vec![None; lanes.len()],
            ..State::default()
        };
        let state = Mutex::new(state);
        let shared =
            Arc::new(Shared { state, changed: Notify::new(), closed: watch::Sender::new(false) });
        Self { bus: bus.clone(), lanes, shared }
    }

    pub(crate) async fn next(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BusError> {
        let ready = self.fetch(max).await?;
        if ready.is_empty() { self.wait(max, wait).await } else { Ok(ready) }
    }

    pub(crate) async fn fetch(&mut self, max: usize) -> Result<Vec<Delivery>, BusError> {
        self.connected()?;
        self.make_room(max);
        for index in 0..self.lanes.len() {
            // Requests for one message still waiting elsewhere may bring one each; a lane in which one
            // waits is known to be empty.
            let (busy, taken) = {
                let state = self.shared.lock();
                (
                    state.under_way[index],
                    state.arrived.len() + state.under_way.iter().filter(|u| **u).count(),
                )
            };
            if busy || taken >= max {
                continue;
            }
            self.request(index, Want::Lying(max - taken)).await?;
            self.shared.ended(index, FETCH_TIMEOUT).await;
            if let Some(error) = self.failure(index) {
                self.renew(index, &error).await?;
                self.request(index, Want::Lying(max - taken)).await?;
                self.shared.ended(index, FETCH_TIMEOUT).await;
            }
        }
        Ok(self.take(max))
    }

    pub(crate) async fn wait(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BusError> {
        let until = Instant::now() + wait;
        self.connected()?;
        self.make_room(max);
        if max == 0 {
            return Ok(Vec::new());
        }
        let mut renewals = 0;
        loop {
            let shared = Arc::clone(&self.shared);
            let changed = shared.changed.notified();
            let ready = self.take(max);
            if !ready.is_empty() {
                return Ok(ready);
            }
            for index in 0..self.lanes.len() {
                if let Some(error) = self.failure(index) {
                    renewals += 1;
                    if renewals > MAX_RENEWALS {
                        return Err(error);
                    }
                    self.renew(index, &error).await?;
                }
                if !self.shared.lock().under_way[index] {
                    self.request(index, Want::OneToCome).await?;
                }
            }
            if timeout_at(until, changed).await.is_err() {
                return Ok(self.take(max));
            }
        }
    }

    pub(crate) fn pause(&mut self) {
        self.make_room(0);
    }

    /// A request that waits for the connection to come back would be answered after its reader has gone.
    fn connected(&self) -> Result<(), BusError> {
        if self.bus.is_connected() { Ok(()) } else { Err(BusError::NotConnected) }
    }

    fn make_room(&self, room: usize) {
        let surplus = {
            let mut state = self.shared.lock();
            state.room = room;
            let keep = room.min(state.arrived.len());
            state.arrived.split_off(keep)
        };
        if !surplus.is_empty() {
            tokio::spawn(async move {
                for delivery in surplus {
                    hand_back(delivery).await;
                }
            });
        }
    }

    fn take(&self, max: usize) -> Vec<Delivery> {
        let mut state = self.shared.lock();
        let count = max.min(state.arrived.len());
        state.room = state.room.saturating_sub(count);
        state.arrived.drain(..count).collect()
    }

    fn failure(&self, index: usize) -> Option<BusError> {
        self.shared.lock().failed[index].take()
    }

    /// Makes the consumer anew, and its stream if need be.
    async fn renew(&mut self, index: usize, why: &BusError) -> Result<(), BusError> {
        tracing::debug!(error = %why, "pulling failed, checking stream and consumer");
        self.lanes[index].consumer = None;
        self.consumer(index).await.map(drop)
    }

    async fn consumer(&mut self, index: usize) -> Result<(PullConsumer, i64), BusError> {
        if let Some(known) = &self.lanes[index].consumer {
            return Ok(known.clone());
        }
        let lane = &self.lanes[index];
        let consumer = self.bus.ensure_consumer(lane.kind, &lane.config).await?;
        let name = lane.kind.name(self.bus.subjects());
        let stream = self.bus.inner.jetstream.get_stream(&name).await;
        let created = micros(
            stream
                .map_err(|e| BusError::jetstream(format!("stream {name}"), e))?
                .cached_info()
                .created,
        );
        self.lanes[index].consumer = Some((consumer.clone(), created));
        Ok((consumer, created))
    }

    async fn request(&mut self, index: usize, want: Want) -> Result<(), BusError> {
        let (consumer, stream_created) = self.consumer(index).await?;
        self.shared.lock().under_way[index] = true;
        let pull = Pull {
            bus: self.bus.clone(),
            consumer,
            stream_created,
            shared: Arc::clone(&self.shared),
            index,
        };
        tokio::spawn(pull.run(want));
        Ok(())
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        // A request that waits for a message would otherwise get the next one, also one that this very
        // process hands back, and nobody would have it until the server is out of patience.
        self.shared.closed.send_replace(true);
        // Outside of a runtime there is nobody left to hand anything back to.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.make_room(0);
        }
    }
}

#[derive(Clone, Copy)]
enum Want {
    /// What lies there, up to this many.
    Lying(usize),
    /// The next message, whenever it comes.
    OneToCome,
}

struct Pull {
    bus: Bus,
    consumer: PullConsumer,
    stream_created: i64,
    shared: Arc<Shared>,
    index: usize,
}

impl Pull {
    async fn run(self, want: Want) {
        let mut connections: watch::Receiver<u64> = self.bus.connections();
        connections.mark_unchanged();
        let mut closed = self.shared.closed.subscribe();
        let result = tokio::select! {
            result = self.read(want) => result,
            // What lies there is on its way already, and is read and handed back.
            _ = closed.wait_for(|closed| *closed), if matches!(want, Want::OneToCome) => Ok(()),
            // The server forgot the request together with the old connection.
            _ = connections.changed() => Ok(()),
        };
        let mut state = self.shared.lock();
        state.under_way[self.index] = false;
        state.failed[self.index] = result.err();
        drop(state);
        self.shared.changed.notify_waiters();
    }

    async fn read(&self, want: Want) -> Result<(), BusError> {
        let failed = |error: &dyn std::fmt::Display| BusError::jetstream("pull", error);
        let mut messages = match want {
            Want::Lying(max) => self.consumer.fetch().max_messages(max).messages().await,
            Want::OneToCome => {
                self.consumer.batch().max_messages(1).expires(WAIT_EXPIRES).messages().await
            }
        }
        .map_err(|e| failed(&e))?;
        let limit = match want {
            Want::Lying(_) => FETCH_TIMEOUT,
            Want::OneToCome => WAIT_EXPIRES + FETCH_TIMEOUT,
        };
        while let Some(message) = timeout(limit, messages.next()).await.unwrap_or_default() {
            let delivery =
                Delivery::new(&self.bus, message.map_err(|e| failed(&e))?, self.stream_created)?;
            if let Some(delivery) = self.shared.offer(delivery) {
                hand_back(delivery).await;
            }
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it when there is room; gives it back otherwise.
    fn offer(&self, delivery: Delivery) -> Option<Delivery> {
        let mut state = self.lock();
        if state.arrived.len() >= state.room {
            return Some(delivery);
        }
        state.arrived.push_back(delivery);
        drop(state);
        self.changed.notify_waiters();
        None
    }

    /// Returns when the lane's request has ended.
    async fn ended(&self, index: usize, limit: Duration) {
        let until = Instant::now() + limit;
        loop {
            let changed = self.changed.notified();
            if !self.lock().under_way[index] || timeout_at(until, changed).await.is_err() {
                return;
            }
        }
    }
}

async fn hand_back(delivery: Delivery) {
    if let Err(error) = delivery.nak(None).await {
        tracing::debug!(%error, "a surplus message was not handed back; it comes again by itself");
    }
}
