//! NATS subjects, streams and consumers, spelled in one place.

use crate::ids::{AgentName, WorkerName, WorkflowId};

/// First token of every subject unless configured otherwise.
pub const DEFAULT_PREFIX: &str = "sluice";

/// Spells subjects, stream and consumer names under one prefix, so that several installations can
/// share a NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

impl Default for Subjects {
    fn default() -> Self {
        Self { prefix: DEFAULT_PREFIX.to_owned() }
    }
}

impl Subjects {
    /// Subjects under `prefix`: 1 to 32 lower-case letters, digits or `-`; none otherwise.
    #[must_use]
    pub fn new(prefix: &str) -> Option<Self> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        ((1..=32).contains(&prefix.len()) && prefix.bytes().all(valid))
            .then(|| Self { prefix: prefix.to_owned() })
    }

    /// The first token.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.to_ascii_uppercase())
    }

    /// Work queue of step commands.
    #[must_use]
    pub fn steps_stream(&self) -> String {
        self.stream("STEPS")
    }

    /// Work queue of fire-and-forget API commands.
    #[must_use]
    pub fn commands_stream(&self) -> String {
        self.stream("COMMANDS")
    }

    /// Feed of committed events.
    #[must_use]
    pub fn events_stream(&self) -> String {
        self.stream("EVENTS")
    }

    /// Every step command.
    #[must_use]
    pub fn all_steps(&self) -> String {
        format!("{}.step.>", self.prefix)
    }

    /// Step commands for one agent.
    #[must_use]
    pub fn step(&self, agent: &AgentName, urgent: bool) -> String {
        let lane = if urgent { ".urgent" } else { "" };
        format!("{}.step.{agent}{lane}", self.prefix)
    }

    /// Durable consumer of one agent's lane.
    #[must_use]
    pub fn step_consumer(agent: &AgentName, urgent: bool) -> String {
        if urgent { format!("{agent}-urgent") } else { agent.to_string() }
    }

    /// A verb of the API, `workflow.execute`.
    #[must_use]
    pub fn api(&self, verb: &str) -> String {
        format!("{}.api.v1.{verb}", self.prefix)
    }

    /// Every fire-and-forget command.
    #[must_use]
    pub fn all_commands(&self) -> String {
        format!("{}.command.v1.>", self.prefix)
    }

    /// Fire-and-forget form of a mutating API verb.
    #[must_use]
    pub fn command(&self, verb: &str) -> String {
        format!("{}.command.v1.{verb}", self.prefix)
    }

    /// The verb in a fire-and-forget subject: `sluice.command.v1.workflow.execute` → `workflow.execute`.
    #[must_use]
    pub fn command_verb<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(self.prefix.as_str())?.strip_prefix(".command.v1.")
    }

    /// Claims for one run.
    #[must_use]
    pub fn claim(&self, agent: &AgentName, workflow_id: &WorkflowId) -> String {
        self.worker("claim", agent, workflow_id)
    }

    /// Heartbeats for one run.
    #[must_use]
    pub fn heartbeat(&self, agent: &AgentName, workflow_id: &WorkflowId) -> String {
        self.worker("heartbeat", agent, workflow_id)
    }

    /// Results for one run.
    #[must_use]
    pub fn result(&self, agent: &AgentName, workflow_id: &WorkflowId) -> String {
        self.worker("result", agent, workflow_id)
    }

    /// Cancel notices for one run.
    #[must_use]
    pub fn cancel(&self, agent: &AgentName, workflow_id: &WorkflowId) -> String {
        self.worker("cancel", agent, workflow_id)
    }

    /// Every cancel notice for one agent.
    #[must_use]
    pub fn cancels_of(&self, agent: &AgentName) -> String {
        format!("{}.cancel.{agent}.*", self.prefix)
    }

    /// Every message of one of the kinds `claim`, `heartbeat`, `result`, `cancel`.
    #[must_use]
    pub fn all_of(&self, kind: &str) -> String {
        format!("{}.{kind}.*.*", self.prefix)
    }

    /// Workers say here that they are there.
    #[must_use]
    pub fn announcements(&self) -> String {
        format!("{}.worker.announce", self.prefix)
    }

    /// Asks every worker what it holds.
    #[must_use]
    pub fn roll_call(&self) -> String {
        format!("{}.worker.call", self.prefix)
    }

    /// Workers hand over here what nobody can process.
    #[must_use]
    pub fn burials(&self) -> String {
        format!("{}.worker.bury", self.prefix)
    }

    /// Asks one worker whether it is alive.
    #[must_use]
    pub fn presence_of(&self, worker_id: &WorkerName) -> String {
        format!("{}.worker.ask.{worker_id}", self.prefix)
    }

    fn worker(&self, kind: &str, agent: &AgentName, workflow_id: &WorkflowId) -> String {
        format!("{}.{kind}.{agent}.{workflow_id}", self.prefix)
    }

    /// The agent token of a claim, heartbeat, result or cancel subject.
    #[must_use]
    pub fn agent_token<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')?.split('.').nth(1)
    }

    /// Every committed event.
    #[must_use]
    pub fn all_events(&self) -> String {
        format!("{}.event.>", self.prefix)
    }

    /// Every committed event of one run.
    #[must_use]
    pub fn events_of(&self, workflow_id: &str) -> String {
        format!("{}.event.*.{workflow_id}.*", self.prefix)
    }

    /// One committed event.
    #[must_use]
    pub fn event(&self, slug: &str, workflow_id: &WorkflowId, action: &str) -> String {
        format!("{}.event.{slug}.{workflow_id}.{action}", self.prefix)
    }

    /// Inbox prefix of a role, so that permissions can be written per role.
    #[must_use]
    pub fn inbox(role: &str) -> String {
        format!("_INBOX_{role}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_spelled_as_promised() {
        let subjects = Subjects::default();
        let agent = AgentName::parse("code_review").unwrap();
        let run = WorkflowId::parse("hotfix-1").unwrap();
        assert_eq!(subjects.step(&agent, false), "sluice.step.code-review");
        assert_eq!(subjects.step(&agent, true), "sluice.step.code-review.urgent");
        assert_eq!(Subjects::step_consumer(&agent, true), "code-review-urgent");
        assert_eq!(subjects.claim(&agent, &run), "sluice.claim.code-review.hotfix-1");
        assert_eq!(subjects.agent_token("sluice.result.code-review.hotfix-1"), Some("code-review"));
        assert_eq!(subjects.api("workflow.execute"), "sluice.api.v1.workflow.execute");
        assert_eq!(
            subjects.command_verb("sluice.command.v1.workflow.execute"),
            Some("workflow.execute")
        );
        assert_eq!(subjects.steps_stream(), "SLUICE_STEPS");
        assert_eq!(
            subjects.event("hotfix", &run, "fail_step"),
            "sluice.event.hotfix.hotfix-1.fail_step"
        );
    }

    #[test]
    fn a_prefix_is_one_token() {
        assert!(Subjects::new("a.b").is_none());
        assert!(Subjects::new("").is_none());
        assert!(Subjects::new("t-4f2").is_some());
    }
}
