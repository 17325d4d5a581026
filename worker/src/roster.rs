//! A worker among the others: it has a name, says that it is there, and says what it holds when asked.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use sluice_bus::{BusError, Requests, Subscription};
use sluice_proto::ids::{AgentName, WorkerName};
use sluice_proto::message::MESSAGE_VERSION;
use sluice_proto::roster::{Announcement, AnnouncementReply, NameRefusal, Presence, RollCall};
use sluice_proto::timestamp::Timestamp;
use tokio::time::{Instant, sleep};

use crate::executor::{Context, now};
use crate::worker::WorkerError;

/// Longest wait for the answer to an announcement; the coordinator may ask another worker first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a start waits for a coordinator before the worker goes to work without one.
const JOIN_PATIENCE: Duration = Duration::from_secs(3);
/// Pause after an announcement that nobody answered.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest wait between two announcements.
const MAX_INTERVAL: Duration = Duration::from_secs(10);
/// A numbered name is looked for up to this number.
const MAX_NUMBER: u32 = 1_000;

/// How a worker gets its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Somebody chose it: no other will do.
    Chosen(WorkerName),
    /// The first free one of `x`, `x-2`, `x-3` …: several workers of one machine find each their own, and
    /// after a restart one whose holder is gone.
    Numbered(WorkerName),
}

impl Naming {
    fn base(&self) -> &WorkerName {
        match self {
            Self::Chosen(name) | Self::Numbered(name) => name,
        }
    }

    /// The `number`th name to try, from 1.
    fn nth(&self, number: u32) -> Option<WorkerName> {
        match (self, number) {
            (_, 1) => Some(self.base().clone()),
            (Self::Chosen(_), _) => None,
            (Self::Numbered(base), 2..=MAX_NUMBER) => {
                WorkerName::parse(&format!("{base}-{number}")).ok()
            }
            _ => None,
        }
    }
}

/// Who this process is.
pub(crate) struct Roster {
    context: Arc<Context>,
    naming: Naming,
    agents: Vec<AgentName>,
    concurrency: u32,
    started_at: Timestamp,
    /// Which name is tried or had, from 1.
    number: u32,
    joined: bool,
}

/// What became of an announcement.
enum Standing {
    Welcome {
        again_in: Duration,
    },
    /// A silent holder keeps the name for that long.
    Wait {
        holder: String,
        time: Duration,
    },
    Unanswered(BusError),
}

impl Roster {
    pub(crate) fn new(
        context: Arc<Context>,
        naming: Naming,
        agents: Vec<AgentName>,
        concurrency: usize,
    ) -> Self {
        let concurrency = u32::try_from(concurrency).unwrap_or(u32::MAX);
        Self { context, naming, agents, concurrency, started_at: now(), number: 1, joined: false }
    }

    /// Takes a name, and starts to answer for this process. Without a coordinator the worker goes to work
    /// namelessly, and takes a name once there is one.
    pub(crate) async fn join(mut self) -> Result<WorkerName, WorkerError> {
        self.listen().await?;
        let since = Instant::now();
        let mut told = false;
        let wait = loop {
            match self.announce().await? {
                Standing::Welcome { again_in } => break again_in,
                Standing::Wait { holder, time } => {
                    if !told {
                        tracing::warn!(
                            worker.name = %self.name(), worker.holder = holder, wait_ms = time.as_millis(),
                            "another worker of this name is connected and does not answer; waiting until its lease is over"
                        );
                        told = true;
                    }
                    sleep(time.max(PAUSE)).await;
                }
                Standing::Unanswered(error) if since.elapsed() >= JOIN_PATIENCE => {
                    tracing::warn!(%error, "no coordinator knows this worker yet; it works, and goes on asking");
                    break PAUSE;
                }
                Standing::Unanswered(_) => sleep(PAUSE).await,
            }
        };
        let name = self.name();
        tokio::spawn(self.stay(wait));
        Ok(name)
    }

    /// Says that it is there until it ends, or until another one has its name.
    async fn stay(mut self, mut wait: Duration) {
        let context = Arc::clone(&self.context);
        loop {
            tokio::select! {
                () = sleep(wait) => {}
                () = context.ended.cancelled() => break,
            }
            wait = match self.announce().await {
                Ok(Standing::Welcome { again_in }) => again_in,
                Ok(Standing::Wait { time, .. }) => time,
                Ok(Standing::Unanswered(error)) => {
                    tracing::debug!(%error, "an announcement was not answered");
                    PAUSE
                }
                Err(error) => {
                    tracing::error!(worker.id = %context.worker_id, %error, "this worker has lost its name and ends");
                    context.expelled.send_replace(Some(error.to_string()));
                    context.closing.cancel();
                    context.held.revoke_all();
                    context.gone.cancel();
                    return;
                }
            };
        }
        context.left.cancelled().await;
        self.leave().await;
    }

    async fn leave(&self) {
        let announcement = Announcement { leaving: true, ..self.announcement() };
        if self.joined
            && let Err(error) = self.ask(&announcement).await
        {
            tracing::debug!(%error, "nobody was told that this worker leaves; its lease will tell");
        }
        self.context.gone.cancel();
    }

    fn name(&self) -> WorkerName {
        self.naming.nth(self.number).unwrap_or_else(|| self.naming.base().clone())
    }

    /// Tries the next names where any will do.
    async fn announce(&mut self) -> Result<Standing, WorkerError> {
        loop {
            let reply = match self.ask(&self.announcement()).await {
                Ok(reply) => reply,
                Err(error) => return Ok(Standing::Unanswered(error)),
            };
            let (reason, holder, retry_after_ms) = match reply {
                AnnouncementReply::Welcome { lease_ms } => {
                    self.joined = true;
                    let again_in = Duration::from_millis(lease_ms / 3).clamp(PAUSE, MAX_INTERVAL);
                    return Ok(Standing::Welcome { again_in });
                }
                AnnouncementReply::Refused { reason, holder, retry_after_ms } => {
                    (reason, holder, retry_after_ms)
                }
            };
            let next = self.naming.nth(self.number + 1);
            match reason {
                NameRefusal::Taken | NameRefusal::Silent if !self.joined && next.is_some() => {
                    self.number += 1;
                }
                NameRefusal::Silent => {
                    let time = Duration::from_millis(retry_after_ms.unwrap_or_default());
                    return Ok(Standing::Wait { holder, time });
                }
                NameRefusal::Taken => {
                    return Err(WorkerError::NameTaken { name: self.name(), holder });
                }
                NameRefusal::Superseded => {
                    return Err(WorkerError::Superseded { name: self.name(), holder });
                }
                NameRefusal::Malformed => return Err(WorkerError::NotUnderstood),
            }
        }
    }

    fn announcement(&self) -> Announcement {
        Announcement {
            v: MESSAGE_VERSION,
            name: self.name(),
            worker_id: self.context.worker_id.clone(),
            agents: self.agents.clone(),
            concurrency: self.concurrency,
            held: held(&self.context),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            joined: self.joined,
            leaving: false,
        }
    }

    async fn ask(&self, announcement: &Announcement) -> Result<AnnouncementReply, BusError> {
        let bus = &self.context.bus;
        let body = serde_json::to_vec(announcement).unwrap_or_default();
        let reply = bus.request(bus.subjects().announcements(), body, ANSWER_TIMEOUT).await?;
        serde_json::from_slice(&reply).map_err(|error| BusError::Client(error.to_string()))
    }

    /// From here on this process can be asked: before it has a name, because who has one must answer.
    async fn listen(&self) -> Result<(), BusError> {
        let (bus, context) = (&self.context.bus, &self.context);
        let questions = bus.serve(bus.subjects().presence_of(&context.worker_id), "worker").await?;
        tokio::spawn(answer_questions(Arc::clone(context), questions));
        let calls = bus.subscribe(bus.subjects().roll_call()).await?;
        tokio::spawn(answer_calls(Arc::clone(context), calls, self.agents.clone()));
        Ok(())
    }
}

fn held(context: &Context) -> u32 {
    u32::try_from(context.held.count()).unwrap_or(u32::MAX)
}

async fn answer_questions(context: Arc<Context>, mut questions: Requests) {
    loop {
        let question = tokio::select! {
            question = questions.next() => question,
            () = context.gone.cancelled() => return,
        };
        let Some(question) = question else { return };
        let presence = Presence {
            v: MESSAGE_VERSION,
            worker_id: context.worker_id.clone(),
            held: held(&context),
        };
        let body = serde_json::to_vec(&presence).unwrap_or_default();
        if let Err(error) = question.respond(body).await {
            tracing::debug!(%error, "a question could not be answered");
        }
    }
}

async fn answer_calls(context: Arc<Context>, mut calls: Subscription, agents: Vec<AgentName>) {
    loop {
        let call = tokio::select! {
            call = calls.next() => call,
            () = context.ended.cancelled() => return,
        };
        let Some(call) = call else { return };
        match serde_json::from_slice::<RollCall>(&call.payload) {
            Ok(call) if call.agents.iter().any(|agent| agents.contains(agent)) => {
                context.roll_calls.send_replace(Some(Instant::now()));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a roll call could not be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_nobody_chose_is_numbered() {
        let host = WorkerName::parse("host").unwrap();
        let numbered = Naming::Numbered(host.clone());
        assert_eq!(numbered.nth(1).unwrap().as_str(), "host");
        assert_eq!(numbered.nth(3).unwrap().as_str(), "host-3");
        assert_eq!(numbered.nth(MAX_NUMBER + 1), None);
        assert_eq!(Naming::Chosen(host).nth(2), None);
    }
}
