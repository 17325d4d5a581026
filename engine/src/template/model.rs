//! What a checked template is. Every name in it has been resolved, every expression parsed: a value
//! of [`Template`] can be run without further checks.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;
pub use sluice_proto::event::Outcome;
use sluice_proto::ids::AgentName;

use crate::expr::{Condition, Payload, Text};

/// A place in a template file, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

/// A workflow template that passed every check.
#[derive(Clone, Debug)]
pub struct Template {
    /// File name with its suffix, `hotfix.workflow.yaml`.
    pub file: String,
    /// Lower hex SHA-256 of the text as it was loaded; runs pin it.
    pub sha256: String,
    /// Human name.
    pub name: String,
    /// Version, always text.
    pub version: String,
    /// One line for lists.
    pub description: String,
    /// `priority: urgent` at the top.
    pub urgent: bool,
    /// The word "production" occurs in the file.
    pub mentions_production: bool,
    /// The word "deploy" occurs in the file.
    pub mentions_deploy: bool,
    /// Context keys the author expects. Information only: a missing one renders as null.
    pub required_context: Vec<String>,
    /// Context keys the author can use. Information only.
    pub optional_context: Vec<String>,
    /// Steps in file order; the first is the entry.
    pub steps: IndexMap<String, Step>,
    /// The `error_handling` entries by step.
    pub error_handling: IndexMap<String, ErrorHandling>,
    /// The `error_recovery` block, defaults where absent.
    pub error_recovery: ErrorRecovery,
    /// Lifecycle notifications.
    pub notifications: Vec<Notification>,
    /// How long a run may take in all, milliseconds.
    pub deadline_ms: Option<u64>,
    /// Where a cancelled run goes before it ends.
    pub on_cancel: Option<Target>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Unique name among the steps around it, key in `outputs`.
    pub id: String,
    /// Where it is in the file: its id, before it the ids and branches it is in, joined by `.`; for
    /// the items of a `for_each` a `*` stands in place of the index.
    pub path: String,
    /// Where the step starts in the file.
    pub at: Position,
    /// What it does.
    pub kind: StepKind,
    /// Name of the exclusive lock it runs under; rendered when the step is entered.
    pub resource_lock: Option<Text>,
    /// Longest wait for that lock, milliseconds; none waits for ever.
    pub lock_wait_ms: Option<u64>,
    /// Longest execution of one attempt, milliseconds; none takes the agent's own limit.
    pub timeout_ms: Option<u64>,
    /// Longest stay in the queue before a worker takes it, milliseconds; none waits for ever.
    pub queue_timeout_ms: Option<u64>,
}

/// The closed set of step types.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// `agent_call`
    AgentCall(AgentCall),
    /// `hitl_approval`
    Approval(Box<Approval>),
    /// `conditional`
    Conditional(Conditional),
    /// `notification`
    Notification(NotificationStep),
    /// `terminal`: reaching it completes the run.
    Terminal,
    /// `wait`
    Wait(Wait),
    /// `parallel` and `for_each`: branches side by side.
    Fan(Box<Fan>),
    /// `workflow`: a run of its own.
    Workflow(ChildCall),
}

/// A call of an agent, and the gate that decides where its answer leads.
#[derive(Clone, Debug)]
pub struct AgentCall {
    /// Who does it.
    pub agent: AgentName,
    /// What is sent, still with its expressions.
    pub payload: Payload,
    /// The literal `action: rollback` in the payload makes this a rollback step.
    pub is_rollback: bool,
    /// Routing by the answer; without one `on_success` is taken.
    pub gate: Option<Gate>,
    /// Next after success when there is no gate; none ends the run as `workflow_complete` does.
    pub on_success: Option<Target>,
    /// Next after the last attempt failed.
    pub on_failure: Option<Target>,
}

/// `decision_gate`.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Asks a model, unless a rule already decides.
    Llm(LlmGate),
    /// Evaluates a condition.
    Deterministic(Conditional),
}

/// A gate that a model answers.
#[derive(Clone, Debug)]
pub struct LlmGate {
    /// Text sent to the model.
    pub prompt: Text,
    /// Evaluated first, in order; the first that holds answers in the model's place.
    pub rules: Vec<Rule>,
    /// Normalised answer value → target, from the `on_<value>` keys, in file order.
    pub routes: IndexMap<String, Target>,
}

/// One entry of `rules:`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// When it applies.
    pub when: Condition,
    /// The answer it gives: a JSON object, expressions in it are rendered.
    pub answer: Payload,
}

/// Two-way branch.
#[derive(Clone, Debug)]
pub struct Conditional {
    /// What is checked.
    pub condition: Condition,
    /// Taken when it holds.
    pub on_true: Target,
    /// Taken when it does not, or cannot be evaluated.
    pub on_false: Target,
}

/// A person decides.
#[derive(Clone, Debug)]
pub struct Approval {
    /// How risky it is, and so who may decide.
    pub risk: Option<Risk>,
    /// Shown to the approver.
    pub details: Option<Payload>,
    /// Pull request that the decision is commented on.
    pub pr_context: Option<Payload>,
    /// Next after enough approvals.
    pub on_approved: Option<Target>,
    /// Next after one rejection.
    pub on_rejected: Option<Target>,
    /// Permits approval without a person, and says where that leads.
    pub on_auto_approved: Option<Target>,
    /// Distinct approvers needed, at least 1.
    pub required_approvals: u32,
}

/// `risk_assessment`.
#[derive(Clone, Debug)]
pub enum Risk {
    /// Asks a model, unless a rule already decides.
    Llm {
        /// Text sent to the model.
        prompt: Text,
        /// Evaluated first, in order.
        rules: Vec<Rule>,
    },
    /// Fixed by the author.
    Override {
        /// `low`, `medium`, `high` or `critical`.
        risk_level: Option<String>,
        /// Who must decide.
        approver_role: Option<String>,
    },
    /// Takes over the gate answer of another step.
    UsePrevious {
        /// That step.
        step: String,
    },
}

/// A message on its way, as a step of its own.
#[derive(Clone, Debug)]
pub struct NotificationStep {
    /// What is sent and where.
    pub message: Message,
    /// Next after the delivery was attempted; none ends the run as `workflow_complete` does.
    pub on_complete: Option<Target>,
}

/// Most items of a `for_each`, and most branches of anything.
pub const MAX_BRANCHES: u32 = 1_000;

/// Steps in file order; the first is the entry.
pub type Block = IndexMap<String, Step>;

/// Branches that run side by side, and what becomes of them.
#[derive(Clone, Debug)]
pub struct Fan {
    /// Which branches there are.
    pub source: FanSource,
    /// How many of them must end well.
    pub join: Join,
    /// Whether the rest is stopped as soon as the join cannot be met any more.
    pub fail_fast: bool,
    /// Next once the join is met; none ends the run, or the branch around it, well.
    pub on_success: Option<Target>,
    /// Next once it cannot be met.
    pub on_failure: Option<Target>,
}

/// Where branches come from.
#[derive(Clone, Debug)]
pub enum FanSource {
    /// `branches:` by name.
    Branches(IndexMap<String, Block>),
    /// `items:`, one branch an item, by index.
    Items {
        /// Renders to the list.
        items: Payload,
        /// Items under way at a time.
        max_concurrent: Option<u32>,
        /// What is done for each.
        steps: Block,
    },
}

/// How many branches must end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Every one.
    All,
    /// So many; `any` is 1.
    Count(u32),
}

/// Starts a run and waits for its end.
#[derive(Clone, Debug)]
pub struct ChildCall {
    /// File name of its template.
    pub template: String,
    /// What the child reads as `context.*`; rendered when it starts.
    pub context: Payload,
    /// Next once it is `completed`; none ends the run, or the branch around it, well.
    pub on_success: Option<Target>,
    /// Next once it has ended otherwise, or could not be started.
    pub on_failure: Option<Target>,
}

/// Lets time pass. No agent and no message is involved.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Until when.
    pub end: WaitEnd,
    /// Next once the moment has come; none ends the run as `workflow_complete` does.
    pub on_success: Option<Target>,
    /// Next when the moment could not be read.
    pub on_failure: Option<Target>,
}

/// When a wait is over.
#[derive(Clone, Debug)]
pub enum WaitEnd {
    /// So many milliseconds after it began.
    After(u64),
    /// At the moment that this renders to, RFC 3339. One that has passed ends it at once.
    At(Text),
}

/// An entry of `notifications:`.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Virtual target or lifecycle event that fires it.
    pub trigger: String,
    /// What is sent and where.
    pub message: Message,
}

/// A notification's content.
#[derive(Clone, Debug)]
pub struct Message {
    /// `linear email slack github pagerduty log`.
    pub channels: Vec<String>,
    /// Name of the message file.
    pub template: Option<String>,
    /// `urgent`, `critical` or `normal`.
    pub priority: String,
    /// What the message file may use; none means the default facts about the run.
    pub payload: Option<Payload>,
}

impl Message {
    /// A priority that channels know.
    pub(crate) fn known_priority(word: &str) -> &str {
        match word.trim() {
            known @ ("urgent" | "critical" | "normal") => known,
            "high" => "urgent",
            _ => "normal",
        }
    }
}

/// Where an edge leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Another step of the same file.
    Step(String),
    /// A virtual target: the run ends (or, for one of them, pauses).
    End(End),
}

impl Target {
    /// The name as written in the template.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Step(name) => name,
            Self::End(end) => &end.name,
        }
    }
}

/// A virtual target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The name as written, also the trigger of the notifications it fires.
    pub name: String,
    /// What becomes of the run.
    pub outcome: Outcome,
}

/// An entry of `error_handling:`.
#[derive(Clone, Debug, Default)]
pub struct ErrorHandling {
    /// Next after an unrecovered failure, where the step has no `on_failure`.
    pub on_error: Option<Target>,
    /// Ceiling of automatic recovery, 0 to 4.
    pub recovery_tier: Option<u8>,
    /// Attempts after the first.
    pub max_retries: Option<u32>,
    /// No recovery above tier 0.
    pub fail_fast: Option<bool>,
    /// Compensate partial changes before `on_error`.
    pub rollback: bool,
    /// When to stop trying across runs.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Agents, or `hitl`, to tell after exhaustion.
    pub escalation_path: Vec<String>,
}

/// `circuit_breaker`.
#[derive(Clone, Copy, Debug)]
pub struct CircuitBreaker {
    /// Off means never opens.
    pub enabled: bool,
    /// Consecutive exhausted executions that open it.
    pub failure_threshold: u32,
}

/// `error_recovery`.
#[derive(Clone, Debug, Default)]
pub struct ErrorRecovery {
    /// Off: no automatic retry at all.
    pub enabled: Option<bool>,
    /// Ceiling for steps without their own.
    pub default_tier: Option<u8>,
    /// Revisits of one step by a back-edge; 0 or none takes the engine's cap.
    pub max_workflow_retries: Option<u32>,
    /// No recovery above tier 0 for the whole run.
    pub fail_fast: Option<bool>,
    /// Attempts after the first, for steps without their own.
    pub max_retries: Option<u32>,
    /// By step.
    pub step_overrides: IndexMap<String, StepOverride>,
    /// Models tried after the primary one, in order.
    pub llm_fallback_chain: Vec<LlmFallback>,
    /// On the first failure of a run.
    pub escalation: Option<Escalation>,
}

/// An entry of `step_overrides:`.
#[derive(Clone, Debug, Default)]
pub struct StepOverride {
    /// Ceiling of automatic recovery, 0 to 4.
    pub max_tier: Option<u8>,
    /// Attempts after the first.
    pub max_retries: Option<u32>,
    /// No recovery above tier 0.
    pub fail_fast: Option<bool>,
}

/// An entry of `llm_fallback_chain:`.
#[derive(Clone, Debug)]
pub struct LlmFallback {
    /// Model name as the provider spells it.
    pub model: String,
    /// Block under `providers:` in `agents.yaml`.
    pub provider: Option<String>,
}

/// `escalation`.
#[derive(Clone, Debug, Default)]
pub struct Escalation {
    /// Escalate on the first failure of any step.
    pub on_any_failure: bool,
    /// Create one issue a run.
    pub create_linear_issue: bool,
    /// Priority of that issue.
    pub priority: Option<String>,
    /// Channels told.
    pub notify_channels: Vec<String>,
}

/// Retry limits of one step after every precedence rule was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// Attempts after the first.
    pub max_retries: u32,
    /// Ceiling of automatic recovery, 0 to 4.
    pub tier: u8,
}

/// A JSON object with nothing in it, for payloads that the author left out.
#[must_use]
pub fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}
