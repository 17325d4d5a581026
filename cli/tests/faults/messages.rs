//! Messages that are lost, or come twice.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use sluice_bus::StepMessage;
use sluice_proto::ids::AgentName;
use tokio_util::task::AbortOnDropHandle;

use super::scene::Scene;

const PATIENCE: Duration = Duration::from_secs(10);
/// Less than one command.
const FULL: i64 = 64;

impl Scene<'_> {
    pub(crate) async fn delete_streams(&mut self) {
        for stream in self.streams() {
            self.jetstream(&format!("STREAM.DELETE.{stream}"), &json!({})).await;
        }
    }

    pub(crate) async fn delete_consumers(&mut self) {
        for stream in self.streams() {
            let names = self.jetstream(&format!("CONSUMER.NAMES.{stream}"), &json!({})).await;
            for consumer in names["consumers"].as_array().into_iter().flatten() {
                let consumer = consumer.as_str().unwrap();
                self.jetstream(&format!("CONSUMER.DELETE.{stream}.{consumer}"), &json!({})).await;
            }
        }
    }

    /// The queue of step commands takes none, as on a full disk.
    pub(crate) async fn fill_nats(&mut self, lasting: Duration) {
        self.limit_steps(FULL).await;
        tokio::time::sleep(lasting).await;
        self.limit_steps(-1).await;
        let refused = self
            .coordinators
            .iter()
            .any(|member| member.output().contains("a command could not be published"));
        assert!(refused, "no coordinator met the limit");
    }

    async fn limit_steps(&self, bytes: i64) {
        let stream = self.bus.subjects().steps_stream();
        let mut config =
            self.jetstream(&format!("STREAM.INFO.{stream}"), &json!({})).await["config"].take();
        config["max_bytes"] = json!(bytes);
        self.jetstream(&format!("STREAM.UPDATE.{stream}"), &config).await;
    }

    fn streams(&self) -> [String; 3] {
        let subjects = self.bus.subjects();
        [subjects.steps_stream(), subjects.events_stream(), subjects.commands_stream()]
    }

    /// What an operator's tool asks of JetStream.
    async fn jetstream(&self, verb: &str, body: &Value) -> Value {
        let subject = format!("$JS.API.{verb}");
        let answer = self.bus.request(subject, body.to_string(), PATIENCE).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["error"].is_null(), "{verb}: {answer}");
        answer
    }

    /// From now on every step command, claim, heartbeat and result comes a second time, the commands
    /// under another id.
    pub(crate) async fn copy_everything(&self) -> AbortOnDropHandle<()> {
        let bus = self.bus.clone();
        let subjects = bus.subjects().clone();
        let kinds = ["claim", "heartbeat", "result"].map(|kind| subjects.all_of(kind));
        let mut heard = futures::stream::SelectAll::new();
        for pattern in kinds.into_iter().chain([subjects.all_steps()]) {
            heard.push(bus.subscribe(pattern).await.unwrap());
        }
        let steps = subjects.all_steps().trim_end_matches('>').to_owned();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut known = HashSet::new();
            while let Some(message) = heard.next().await {
                if !known.insert((message.subject.clone(), message.payload.clone())) {
                    continue;
                }
                let Some(agent) = message.subject.strip_prefix(&steps) else {
                    bus.publish(message.subject, message.payload).await.unwrap();
                    continue;
                };
                let copy = StepMessage {
                    agent: AgentName::parse(agent).unwrap(),
                    urgent: false,
                    message_id: format!("copy-{}", known.len()),
                    traceparent: None,
                    body: message.payload,
                };
                let published = bus.publish_steps(vec![copy]).await;
                assert!(published[0].is_ok(), "{published:?}");
            }
        }))
    }
}
