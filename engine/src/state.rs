//! What is known of a run: a fold of its events, and nothing else.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sluice_proto::event::{
    CaptureInsight, Next, Notify, Outcome, PauseWorkflow, Status, StepStatus,
};
use sluice_proto::ids::{AgentName, WorkflowId};
use sluice_proto::message::{Recovery, Usage};
use sluice_proto::timestamp::Timestamp;

use crate::path::{branch_of, fan_of, is_within};

/// The state of one run after `sequence` events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The run.
    pub workflow_id: WorkflowId,
    /// The run that started it.
    pub parent_workflow_id: Option<WorkflowId>,
    /// Events folded so far.
    pub sequence: u64,
    /// Where the run stands.
    pub status: Status,
    /// Template file name.
    pub template_name: String,
    /// The template's own version.
    pub template_version: String,
    /// Template text the run is pinned to.
    pub template_sha256: String,
    /// Agents the template names.
    pub participating_agents: Vec<AgentName>,
    /// The caller's context, an object.
    pub context: Value,
    /// By step.
    pub outputs: IndexMap<String, Value>,
    /// Whole gate answers by step.
    pub answers: IndexMap<String, Map<String, Value>>,
    /// Gate decisions by step.
    pub decisions: IndexMap<String, Value>,
    /// Where the run is: every position under way, by step path.
    pub active: BTreeMap<String, Position>,
    /// Every step reached so far.
    pub steps: IndexMap<String, StepRecord>,
    /// Steps entered outside of branches, revisits included.
    pub steps_entered: u32,
    /// Steps entered in branches, of all of them together.
    #[serde(default)]
    pub inner_steps_entered: u32,
    /// Branches of the last visit of each step that has some, by step path.
    #[serde(default)]
    pub fans: BTreeMap<String, FanRecord>,
    /// Branches that the run has had in all, those that did not begin included.
    #[serde(default)]
    pub branches_had: u32,
    /// Step executed last.
    pub last_step: Option<String>,
    /// Locks the run holds, by name.
    pub locks: BTreeMap<String, HeldLock>,
    /// Every approval so far, oldest first.
    pub approvals: Vec<Approval>,
    /// Deliveries asked for, by id.
    pub notifications: BTreeMap<String, Delivery>,
    /// Set once a virtual target was reached and until it took effect.
    pub ending: Option<Ending>,
    /// Steps whose changes were undone.
    pub rollbacks: Vec<String>,
    /// The step executed last was a rollback that worked.
    pub rolled_back_last: bool,
    /// Runs that it started, or that were started in its name, oldest first.
    #[serde(default)]
    pub children: Vec<Child>,
    /// Findings of agents.
    pub insights: Vec<CaptureInsight>,
    /// Step that failed or diverted the run first.
    pub failed_step: Option<String>,
    /// What went wrong, for people.
    pub error_message: Option<String>,
    /// Stable word for why it failed.
    pub failure_reason: Option<String>,
    /// What the person who rejected said.
    pub rejection_reason: Option<String>,
    /// The step that failed for good last.
    #[serde(default)]
    pub last_failure: Option<Failure>,
    /// Set once people were told of a failure: the delivery. Once a run.
    #[serde(default)]
    pub escalation: Option<String>,
    /// Set once somebody has cancelled the run.
    #[serde(default)]
    pub cancellation: Option<Cancellation>,
    /// Set while an operator holds the run up.
    #[serde(default)]
    pub suspension: Option<Suspension>,
    /// When the run is over, whatever it does.
    #[serde(default)]
    pub deadline_at: Option<Timestamp>,
    /// How often a person has had the run go on after it had failed.
    #[serde(default)]
    pub retried: u32,
    /// When the run was accepted.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// When its last event was written.
    pub updated_at: Timestamp,
}

impl State {
    /// A run of which nothing is known but its id.
    #[must_use]
    pub fn new(workflow_id: WorkflowId) -> Self {
        Self {
            workflow_id,
            parent_workflow_id: None,
            sequence: 0,
            status: Status::Pending,
            template_name: String::new(),
            template_version: String::new(),
            template_sha256: String::new(),
            participating_agents: Vec::new(),
            context: Value::Object(Map::new()),
            outputs: IndexMap::new(),
            answers: IndexMap::new(),
            decisions: IndexMap::new(),
            active: BTreeMap::new(),
            steps: IndexMap::new(),
            steps_entered: 0,
            inner_steps_entered: 0,
            fans: BTreeMap::new(),
            branches_had: 0,
            last_step: None,
            locks: BTreeMap::new(),
            approvals: Vec::new(),
            notifications: BTreeMap::new(),
            ending: None,
            rollbacks: Vec::new(),
            rolled_back_last: false,
            children: Vec::new(),
            insights: Vec::new(),
            failed_step: None,
            error_message: None,
            failure_reason: None,
            rejection_reason: None,
            last_failure: None,
            escalation: None,
            cancellation: None,
            suspension: None,
            deadline_at: None,
            retried: 0,
            started_at: Timestamp::default(),
            completed_at: None,
            updated_at: Timestamp::default(),
        }
    }

    /// The approval that a position waits for.
    #[must_use]
    pub fn approval(&self, id: &str) -> Option<&Approval> {
        self.approvals.iter().rev().find(|approval| approval.request.approval_id == id)
    }

    /// The steps that led to `step`, itself first, each once: the way back through the last visits.
    pub(crate) fn way_back<'a>(&'a self, step: &'a str) -> impl Iterator<Item = &'a str> {
        let mut seen = Vec::new();
        let came_from = |id: &&str| self.steps.get(*id)?.from.as_deref();
        std::iter::successors(Some(step), came_from).take_while(move |id| {
            let is_new = !seen.contains(id);
            seen.push(*id);
            is_new
        })
    }

    /// What becomes of the run at this ending.
    #[must_use]
    pub fn status_at(&self, ending: &Ending) -> Status {
        match ending.outcome {
            Outcome::Cancelled => Status::Cancelled,
            Outcome::Paused => Status::Paused,
            Outcome::Completed if self.rolled_back_last => Status::RolledBack,
            Outcome::Completed => Status::Completed,
            Outcome::RolledBack => Status::RolledBack,
            Outcome::Failed if self.rollbacks.is_empty() => Status::Failed,
            Outcome::Failed => Status::RolledBack,
        }
    }

    /// Whether the position at `path` may work: it needs no lock, or the one it needs is held where it
    /// is. Branches exclude each other; what the step around them holds is held for all of them.
    #[must_use]
    pub fn has_lock(&self, path: &str, position: &Position) -> bool {
        let holds = |name| self.locks.get(name).is_some_and(|held: &HeldLock| held.counts_at(path));
        position.lock.as_ref().is_none_or(holds)
    }

    /// The branch that a step is in.
    pub(crate) fn branch(&self, path: &str) -> Option<&Branch> {
        let (fan, name) = fan_of(branch_of(path)?)?;
        self.fans.get(fan)?.branches.get(name)
    }

    pub(crate) fn branch_mut(&mut self, path: &str) -> Option<&mut Branch> {
        let (fan, name) = fan_of(branch_of(path)?)?;
        self.fans.get_mut(fan)?.branches.get_mut(name)
    }
}

/// One place where a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// How often the run has entered the step, from 1.
    pub visit: u32,
    /// Execution of this visit, from 1.
    pub attempt: u32,
    /// Step it came from.
    pub from: Option<String>,
    /// When the step was entered.
    pub entered_at: Timestamp,
    /// Lock the step runs under, rendered when it was entered.
    pub lock: Option<String>,
    /// Not before this moment, after a retry.
    pub due_at: Option<Timestamp>,
    /// A person had the run go on from here.
    #[serde(default)]
    pub by_person: bool,
    /// What its agent is told about the failure before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// What the step waits for.
    pub phase: Phase,
}

/// A step that failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step.
    pub step: String,
    /// For people.
    pub error: String,
    /// Stable word.
    pub error_type: String,
}

/// What a position waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Its own work; first its lock, if it needs one.
    Ready,
    /// A lock that another run holds.
    Queued {
        /// Since when.
        since: Timestamp,
    },
    /// Its gate: the agent has answered.
    Gate {
        /// The agent's answer.
        result: Map<String, Value>,
        /// Execution the answer came from.
        agent_attempt: u32,
        /// From taking that attempt to its end.
        duration_ms: u64,
        /// What it cost.
        usage: Option<Usage>,
    },
    /// Its agent, which undoes what it did before it failed.
    Compensating {
        /// Where the run goes then.
        next: Next,
    },
    /// Another agent, which finds out why the step's own keeps failing.
    Diagnosing {
        /// Who.
        by: AgentName,
        /// The failure, for people.
        error: String,
        /// Its stable word.
        error_type: String,
    },
    /// A person.
    Waiting {
        /// Which approval.
        approval_id: String,
    },
    /// A moment.
    Timer {
        /// Which.
        until: Timestamp,
    },
    /// Its branches.
    Branches,
    /// The end of a run that it started.
    Child {
        /// Which.
        workflow_id: WorkflowId,
    },
}

/// What is known of a step that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// How it stands.
    pub status: StepStatus,
    /// How often it was entered.
    pub visits: u32,
    /// Retries in all.
    pub retries: u32,
    /// Step that the last visit came from.
    #[serde(default)]
    pub from: Option<String>,
    /// Event with which the step was entered last.
    #[serde(default)]
    pub entered: u64,
    /// Visits before a person had the run go on, or its branch began anew: they do not count for loops
    /// any more.
    #[serde(default)]
    pub visits_before: u32,
    /// How often a person had the run go on from here.
    #[serde(default)]
    pub commanded_retries: u32,
}

impl StepRecord {
    /// How often the step was entered since its run or branch started, or since a person had it go on.
    pub(crate) fn visits_now(&self) -> u32 {
        self.visits.saturating_sub(self.visits_before)
    }
}

/// A run that a run has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The child.
    pub workflow_id: WorkflowId,
    /// Step that started it; none for one that was started through the API.
    pub step: Option<String>,
    /// File name of its template.
    pub template_name: String,
    /// `running` until it has ended.
    pub status: Status,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// An operator holds the run up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// In their words.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// What was under way, and goes on.
    pub in_flight: Vec<String>,
}

/// The branches of one visit of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FanRecord {
    /// How many there are, those that have not begun included.
    pub total: u32,
    /// What a `for_each` goes through, by index; none once it is over.
    pub items: Option<Vec<Value>>,
    /// Those that have begun, in that order, by name or index.
    pub branches: IndexMap<String, Branch>,
}

/// One branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// How it stands.
    pub status: BranchStatus,
    /// Steps entered in it, revisits included; those in branches of its own are not counted.
    pub steps_entered: u32,
    /// Step it ended with.
    pub last_step: Option<String>,
    /// What went wrong first.
    pub failure: Option<BranchFailure>,
}

/// What went wrong in a branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchFailure {
    /// Where.
    pub step: String,
    /// For people.
    pub error: String,
    /// Stable word.
    pub error_type: String,
}

/// How a branch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchStatus {
    /// Under way.
    #[default]
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Stopped: the others had decided what becomes of the step.
    Stopped,
}

/// Somebody ended the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// In their words.
    pub reason: String,
    /// Who.
    pub cancelled_by: String,
    /// When.
    pub at: Timestamp,
    /// Whose messages are sent at the end.
    pub target: String,
}

/// A lock the run holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLock {
    /// Step that took it.
    pub step: String,
    /// Since when.
    pub since: Timestamp,
    /// Grows with every acquisition of this lock.
    pub fencing_number: u64,
}

impl HeldLock {
    /// Whether the lock is held for the step at `path`: the run holds it outside of branches, or in one
    /// that the step is in.
    pub(crate) fn counts_at(&self, path: &str) -> bool {
        branch_of(&self.step).is_none_or(|branch| is_within(path, branch))
    }
}

/// Something a person decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Step that waits for it.
    pub step: String,
    /// Visit of that step.
    pub visit: u32,
    /// What was asked.
    pub request: PauseWorkflow,
    /// Who approved so far, each once.
    pub approvers: Vec<String>,
    /// `pending`, `approved` or `rejected`.
    pub status: String,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Telling people: which try is outstanding; none once it is settled.
    pub announcement_attempt: Option<u32>,
    /// Not before this moment, after a retry.
    pub announcement_due_at: Option<Timestamp>,
}

/// A message that is to be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// As requested.
    pub request: Notify,
    /// Which try is outstanding; none once it is settled.
    pub attempt: Option<u32>,
    /// Not before this moment, after a retry.
    pub due_at: Option<Timestamp>,
}

/// A virtual target that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Its name.
    pub target: String,
    /// What it makes of the run.
    pub outcome: Outcome,
    /// Step that led there.
    pub from: String,
}
