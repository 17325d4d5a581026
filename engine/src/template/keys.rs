//! Every key of the language, once. Reading, the warnings about unknown keys and the schema for
//! editors all follow these tables.

/// The keys of one kind of mapping.
pub(super) struct Table {
    /// Name of the definition in the schema.
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
    /// Also takes `on_<answer>` keys.
    pub(super) answers: bool,
}

/// One key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) about: &'static str,
    /// Without it the mapping is refused, if its type is one of `only`.
    pub(super) required: bool,
    /// The values of `type` for which the key means something; empty: all.
    pub(super) only: &'static [&'static str],
}

/// What a key's value looks like.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Plain text.
    Text,
    /// Text, or anything that YAML takes for a number: it is read as it is written.
    Verbatim,
    /// Text with `{{ }}`.
    Template,
    /// An expression without braces.
    Condition,
    /// A step id or the name of a virtual target.
    Target,
    /// The id of a step.
    StepId,
    /// The name of an agent.
    Agent,
    /// True or false.
    Boolean,
    /// A whole number in a range.
    Integer(u32, u32),
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// `TIER_0` to `TIER_4`.
    Tier,
    /// Seconds, or a number with a unit.
    Duration,
    /// A list of texts.
    Texts,
    /// A list of notification channels.
    Channels,
    /// A mapping that is rendered and sent.
    Payload,
    /// A mapping with keys of its own.
    Map(&'static Table),
    /// A list of such mappings.
    List(&'static Table),
    /// Such mappings by step id.
    ByStep(&'static Table),
    /// Lists of such mappings by name of a branch.
    Branches(&'static Table),
    /// A list, or text that is one expression.
    Items,
    /// `all`, `any` or a number.
    Join,
}

impl Shape {
    /// Completes "'x' must be …".
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::Verbatim | Self::Template => "text",
            Self::Condition => "an expression",
            Self::Target => "the name of a step or a virtual target",
            Self::StepId => "the id of a step",
            Self::Agent => "the name of an agent",
            Self::Boolean => "true or false",
            Self::Integer(..) => "a whole number",
            Self::Choice(_) => "one of a few words",
            Self::Tier => "one of TIER_0 to TIER_4",
            Self::Duration => "seconds, or text such as '90s', '5m', '1h', '2d' or '250ms'",
            Self::Texts | Self::Channels => "a list of texts",
            Self::Payload | Self::Map(_) | Self::ByStep(_) => "a mapping",
            Self::Branches(_) => "a mapping of lists of steps",
            Self::Items => "a list, or one {{ }} that gives one",
            Self::Join => "all, any or a number from 1 on",
            Self::List(_) => "a list",
        }
    }
}

impl Table {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

pub(super) const AGENT_CALL: &str = "agent_call";
pub(super) const APPROVAL: &str = "hitl_approval";
pub(super) const CONDITIONAL: &str = "conditional";
pub(super) const NOTIFICATION_STEP: &str = "notification";
pub(super) const FOR_EACH: &str = "for_each";
pub(super) const PARALLEL: &str = "parallel";
pub(super) const TERMINAL: &str = "terminal";
pub(super) const WAIT: &str = "wait";
pub(super) const WORKFLOW: &str = "workflow";
pub(super) const STEP_TYPES: &[&str] = &[
    AGENT_CALL,
    APPROVAL,
    CONDITIONAL,
    FOR_EACH,
    NOTIFICATION_STEP,
    PARALLEL,
    TERMINAL,
    WAIT,
    WORKFLOW,
];

pub(super) const LLM: &str = "llm_assessment";
pub(super) const DETERMINISTIC: &str = "deterministic_check";
pub(super) const OVERRIDE: &str = "override";
pub(super) const USE_PREVIOUS: &str = "use_previous";

pub(super) const CHANNELS: &[&str] = &["linear", "email", "slack", "github", "pagerduty", "log"];
pub(super) const RISK_LEVELS: &[&str] = &["low", "medium", "high", "critical"];
pub(super) const MESSAGE_PRIORITIES: &[&str] = &["urgent", "critical", "normal"];
pub(super) const TIERS: &[&str] = &["TIER_0", "TIER_1", "TIER_2", "TIER_3", "TIER_4"];

const MAX_RETRIES: Shape = Shape::Integer(0, 100);

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, about, required: false, only: &[] }
}

impl Key {
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn only(mut self, types: &'static [&'static str]) -> Self {
        self.only = types;
        self
    }
}

pub(super) static TEMPLATE: Table = Table {
    name: "template",
    about: "A workflow template.",
    answers: false,
    keys: &[
        key("name", Shape::Text, "Human name of the workflow.").required(),
        key("version", Shape::Verbatim, "Version of the template."),
        key("description", Shape::Text, "One line for lists."),
        key(
            "priority",
            Shape::Choice(&["urgent", "normal"]),
            "Urgent runs go before others at every agent.",
        ),
        key(
            "required_context",
            Shape::Texts,
            "Context keys a run should be started with. Information only.",
        ),
        key(
            "optional_context",
            Shape::Texts,
            "Context keys a run can make use of. Information only.",
        ),
        key("steps", Shape::List(&STEP), "The steps; the first one is the entry.").required(),
        key(
            "error_handling",
            Shape::List(&ERROR_HANDLING),
            "What to do when a step fails, by step.",
        ),
        key("error_recovery", Shape::Map(&ERROR_RECOVERY), "Recovery defaults for the workflow."),
        key(
            "notifications",
            Shape::List(&NOTIFICATION),
            "Messages sent when the run reaches a virtual target.",
        ),
        key(
            "deadline",
            Shape::Duration,
            "Longest time that a run may take in all, people and locks included.",
        ),
        key(
            "on_cancel",
            Shape::Target,
            "Step that undoes what a cancelled run did, before the run ends as cancelled.",
        ),
    ],
};

pub(super) static STEP: Table = Table {
    name: "step",
    about: "One step.",
    answers: false,
    keys: &[
        key("id", Shape::StepId, "Unique name, key of the step in 'outputs'.").required(),
        key("type", Shape::Choice(STEP_TYPES), "What the step does.").required(),
        key("agent", Shape::Agent, "The agent that is called.").only(&[AGENT_CALL]).required(),
        key(
            "deterministic",
            Shape::Boolean,
            "Says that no model chooses the way through the step. Information only.",
        ),
        key("payload", Shape::Payload, "What is sent; texts may hold {{ }}.")
            .only(&[AGENT_CALL, NOTIFICATION_STEP]),
        key(
            "resource_lock",
            Shape::Template,
            "Name of the exclusive lock the step runs under, may hold {{ }}.",
        ),
        key(
            "lock_wait",
            Shape::Duration,
            "Longest wait for the lock; without it the step waits its turn, however long.",
        ),
        key("timeout", Shape::Duration, "Longest execution of one attempt."),
        key("queue_timeout", Shape::Duration, "Longest wait for a worker."),
        key("decision_gate", Shape::Map(&GATE), "Chooses the next step from the agent's answer.")
            .only(&[AGENT_CALL]),
        key("on_success", Shape::Target, "Next after success, where there is no gate.")
            .only(&[AGENT_CALL, FOR_EACH, PARALLEL, WAIT, WORKFLOW]),
        key("on_failure", Shape::Target, "Next after the last attempt failed.")
            .only(&[AGENT_CALL, FOR_EACH, PARALLEL, WAIT, WORKFLOW]),
        key("condition", Shape::Condition, "What is checked, without braces.")
            .only(&[CONDITIONAL])
            .required(),
        key("on_true", Shape::Target, "Next when the condition holds.")
            .only(&[CONDITIONAL])
            .required(),
        key("on_false", Shape::Target, "Next when it does not hold, or cannot be evaluated.")
            .only(&[CONDITIONAL])
            .required(),
        key(
            "risk_assessment",
            Shape::Map(&RISK),
            "How risky the decision is, and so who may take it.",
        )
        .only(&[APPROVAL]),
        key("approval_payload", Shape::Payload, "Shown to the approver; texts may hold {{ }}.")
            .only(&[APPROVAL]),
        key(
            "pr_context",
            Shape::Payload,
            "Pull request that the decision is commented on: pr_number, pr_url, github_repo.",
        )
        .only(&[APPROVAL]),
        key("on_approved", Shape::Target, "Next after approval.").only(&[APPROVAL]),
        key("on_rejected", Shape::Target, "Next after rejection.").only(&[APPROVAL]),
        key(
            "on_auto_approved",
            Shape::Target,
            "Permits approval without a person at low risk, and says where that leads.",
        )
        .only(&[APPROVAL]),
        key("requires_multiple_approvals", Shape::Boolean, "More than one person must approve.")
            .only(&[APPROVAL]),
        key("approval_count", Shape::Integer(1, 20), "How many, 2 unless said otherwise.")
            .only(&[APPROVAL]),
        key("channels", Shape::Channels, "Where the message goes.").only(&[NOTIFICATION_STEP]),
        key(
            "template",
            Shape::Text,
            "Name of the message file; of a 'workflow', of the template that is started.",
        )
        .only(&[NOTIFICATION_STEP, WORKFLOW]),
        key("context", Shape::Payload, "What the started run reads as 'context'; may hold {{ }}.")
            .only(&[WORKFLOW]),
        key("priority", Shape::Text, "urgent, critical or normal.").only(&[NOTIFICATION_STEP]),
        key("on_complete", Shape::Target, "Next after the delivery was attempted.")
            .only(&[NOTIFICATION_STEP]),
        key("branches", Shape::Branches(&STEP), "Steps by branch; the branches run side by side.")
            .only(&[PARALLEL])
            .required(),
        key("items", Shape::Items, "List, or one {{ }} that gives one; the steps run once an item.")
            .only(&[FOR_EACH])
            .required(),
        key("max_concurrent", Shape::Integer(1, 1_000), "Items under way at a time; all, if absent.")
            .only(&[FOR_EACH]),
        key("steps", Shape::List(&STEP), "What is done for each item; the first step is the entry.")
            .only(&[FOR_EACH])
            .required(),
        key(
            "join",
            Shape::Join,
            "Branches that must end well: all, any or a number. The others are stopped then.",
        )
        .only(&[FOR_EACH, PARALLEL]),
        key(
            "on_branch_failure",
            Shape::Choice(&["fail_fast", "collect"]),
            "Whether the rest is stopped as soon as too many branches have failed, or runs to its end.",
        )
        .only(&[FOR_EACH, PARALLEL]),
        key("for", Shape::Duration, "How long to wait.").only(&[WAIT]),
        key("until", Shape::Template, "Moment to wait for, RFC 3339; usually one {{ }}.")
            .only(&[WAIT]),
    ],
};

pub(super) static GATE: Table = Table {
    name: "decision_gate",
    about: "Chooses the next step. A model's answer {\"decision\": \"proceed\"} follows 'on_proceed'.",
    answers: true,
    keys: &[
        key(
            "type",
            Shape::Choice(&[LLM, DETERMINISTIC]),
            "Whether a model or a condition decides.",
        ),
        key("prompt", Shape::Template, "Sent to the model, which answers with a JSON object.")
            .only(&[LLM])
            .required(),
        key(
            "rules",
            Shape::List(&RULE),
            "Tried in order before the model is asked; the first that holds answers.",
        )
        .only(&[LLM]),
        key("condition", Shape::Condition, "What is checked, without braces.")
            .only(&[DETERMINISTIC])
            .required(),
    ],
};

pub(super) static RISK: Table = Table {
    name: "risk_assessment",
    about: "How risky a decision is: asked of a model, fixed, or taken over from an earlier gate.",
    answers: false,
    keys: &[
        key("type", Shape::Choice(&[LLM, OVERRIDE, USE_PREVIOUS]), "Who assesses the risk."),
        key("prompt", Shape::Template, "Sent to the model, which answers with a JSON object.")
            .only(&[LLM])
            .required(),
        key(
            "rules",
            Shape::List(&RULE),
            "Tried in order before the model is asked; the first that holds answers.",
        )
        .only(&[LLM]),
        key("use_previous", Shape::StepId, "Takes over the gate answer of that step.")
            .only(&[USE_PREVIOUS])
            .required(),
        key("risk_level", Shape::Choice(RISK_LEVELS), "Fixed risk.").only(&[OVERRIDE]),
        key("approver_role", Shape::Text, "Role that must decide.").only(&[OVERRIDE]),
        key("requires_multiple_approvals", Shape::Boolean, "More than one person must approve."),
        key("approval_count", Shape::Integer(1, 20), "How many, 2 unless said otherwise."),
    ],
};

pub(super) static RULE: Table = Table {
    name: "rule",
    about: "An answer for cases that need no model.",
    answers: false,
    keys: &[
        key("when", Shape::Condition, "When the rule applies, without braces.").required(),
        key("answer", Shape::Payload, "The answer it gives; texts may hold {{ }}.").required(),
    ],
};

pub(super) static ERROR_HANDLING: Table = Table {
    name: "error_handling",
    about: "What to do when one step fails.",
    answers: false,
    keys: &[
        key("step", Shape::StepId, "The step.").required(),
        key(
            "on_error",
            Shape::Target,
            "Next after a failure that nothing mended; 'on_failure' of the step goes first.",
        ),
        key("recovery_tier", Shape::Tier, "Ceiling of automatic recovery."),
        key("max_retries", MAX_RETRIES, "Attempts after the first."),
        key("fail_fast", Shape::Boolean, "No retry at all."),
        key("rollback", Shape::Boolean, "Undo partial changes before 'on_error' is followed."),
        key(
            "circuit_breaker",
            Shape::Map(&CIRCUIT_BREAKER),
            "Stops trying when a step keeps failing across runs.",
        ),
        key(
            "escalation_path",
            Shape::Texts,
            "Agents, or 'hitl', to tell in this order when all attempts failed.",
        ),
    ],
};

pub(super) static CIRCUIT_BREAKER: Table = Table {
    name: "circuit_breaker",
    about: "Stops trying when a step keeps failing across runs.",
    answers: false,
    keys: &[
        key("enabled", Shape::Boolean, "Off: never opens. On unless said otherwise."),
        key(
            "failure_threshold",
            Shape::Integer(1, 1000),
            "Failed executions in a row that open it, 5 unless said otherwise.",
        ),
    ],
};

pub(super) static ERROR_RECOVERY: Table = Table {
    name: "error_recovery",
    about: "Recovery defaults for the workflow.",
    answers: false,
    keys: &[
        key("enabled", Shape::Boolean, "Off: no step is tried again."),
        key("default_tier", Shape::Tier, "Ceiling for steps without their own."),
        key("max_workflow_retries", MAX_RETRIES, "How often a loop may enter the same step again."),
        key("max_retries", MAX_RETRIES, "Attempts after the first, for steps without their own."),
        key("fail_fast", Shape::Boolean, "No retry at all."),
        key(
            "step_overrides",
            Shape::ByStep(&STEP_OVERRIDE),
            "Deviations by step; an 'error_handling' entry goes first.",
        ),
        key(
            "llm_fallback_chain",
            Shape::List(&FALLBACK),
            "Models asked after the primary one failed, in order.",
        ),
        key("escalation", Shape::Map(&ESCALATION), "What happens on the first failure of a run."),
    ],
};

pub(super) static STEP_OVERRIDE: Table = Table {
    name: "step_override",
    about: "Deviations for one step.",
    answers: false,
    keys: &[
        key("max_tier", Shape::Tier, "Ceiling of automatic recovery."),
        key("max_retries", MAX_RETRIES, "Attempts after the first."),
        key("fail_fast", Shape::Boolean, "No retry at all."),
    ],
};

pub(super) static FALLBACK: Table = Table {
    name: "llm_fallback",
    about: "A model asked when the ones before it failed.",
    answers: false,
    keys: &[
        key("model", Shape::Text, "Name of the model as its provider spells it.").required(),
        key("provider", Shape::Text, "Name of a configured provider."),
    ],
};

pub(super) static ESCALATION: Table = Table {
    name: "escalation",
    about: "What happens on the first failure of a run.",
    answers: false,
    keys: &[
        key("on_any_failure", Shape::Boolean, "Escalate as soon as any step fails."),
        key("create_linear_issue", Shape::Boolean, "Create an issue, one a run."),
        key("priority", Shape::Text, "Priority of that issue."),
        key("notify_channels", Shape::Channels, "Channels told about it."),
    ],
};

pub(super) static NOTIFICATION: Table = Table {
    name: "notification",
    about: "A message sent when the run reaches a virtual target.",
    answers: false,
    keys: &[
        key("trigger", Shape::Text, "The virtual target or event that sends it.").required(),
        key("channels", Shape::Channels, "Where the message goes."),
        key("template", Shape::Text, "Name of the message file."),
        key("priority", Shape::Text, "urgent, critical or normal."),
        key("payload", Shape::Payload, "What the message file can use; texts may hold {{ }}."),
    ],
};
