//! What the runs are, and what must become of them.

use std::time::Duration;

use sluice_tests::processes::agents::{Agents, Answer, Call};

use super::fault::Load;

/// A template with the end that every run of it must come to, unless its worker vanished.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) end: &'static str,
}

const CHAIN: Kind = Kind {
    name: "chain",
    end: "completed",
    text: r#"
name: Chain
version: "1.0"
description: Looks, acts where nothing may happen twice, acts where a key prevents it.
steps:
  - {id: look, type: agent_call, agent: reader, on_success: act}
  - id: act
    type: agent_call
    agent: actor
    resource_lock: "place:{{ context.place }}"
    on_success: settle
    on_failure: workflow_failed
  - {id: settle, type: agent_call, agent: settler, on_success: workflow_complete}
"#,
};

const GATED: Kind = Kind {
    name: "gated",
    end: "completed",
    text: r#"
name: Gated
version: "1.0"
description: Holds one lock from the plan over a person's approval to the end.
steps:
  - id: plan
    type: agent_call
    agent: reader
    resource_lock: "ground:{{ context.place }}"
    on_success: gate
  - id: gate
    type: hitl_approval
    resource_lock: "ground:{{ context.place }}"
    risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}
    on_approved: apply
    on_rejected: workflow_failed
  - id: apply
    type: agent_call
    agent: actor
    resource_lock: "ground:{{ context.place }}"
    on_success: workflow_complete
    on_failure: workflow_failed
notifications:
  - {trigger: workflow_complete, channels: [log], template: done}
"#,
};

const FLAKY: Kind = Kind {
    name: "flaky",
    end: "completed",
    text: r#"
name: Flaky
version: "1.0"
description: Its first step works at the second try.
steps:
  - {id: try, type: agent_call, agent: stumbler, on_success: settle}
  - {id: settle, type: agent_call, agent: settler, on_success: workflow_complete}
error_handling:
  - {step: try, max_retries: 3, on_error: workflow_failed}
"#,
};

const UNDONE: Kind = Kind {
    name: "undone",
    end: "rolled_back",
    text: r#"
name: Undone
version: "1.0"
description: Acts, finds it wrong, and undoes it under the lock it still holds.
steps:
  - id: act
    type: agent_call
    agent: actor
    resource_lock: "site:{{ context.place }}"
    on_success: check
    on_failure: workflow_failed
  - {id: check, type: agent_call, agent: denier, on_success: workflow_complete, on_failure: undo}
  - id: undo
    type: agent_call
    agent: settler
    resource_lock: "site:{{ context.place }}"
    payload: {action: rollback}
    on_success: workflow_failed
"#,
};

/// People cancel it where it waits for them, under its lock.
const DOOMED: Kind = Kind {
    name: "doomed",
    end: "cancelled",
    text: r#"
name: Doomed
version: "1.0"
description: Waits for a person under its lock, and is cancelled there.
steps:
  - id: plan
    type: agent_call
    agent: reader
    resource_lock: "doom:{{ context.place }}"
    on_success: gate
  - id: gate
    type: hitl_approval
    resource_lock: "doom:{{ context.place }}"
    risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}
    on_approved: apply
    on_rejected: workflow_failed
  - id: apply
    type: agent_call
    agent: actor
    resource_lock: "doom:{{ context.place }}"
    on_success: workflow_complete
"#,
};

const PATIENT: Kind = Kind {
    name: "patient",
    end: "completed",
    text: r#"
name: Patient
version: "1.0"
description: Lets a second pass before it acts.
steps:
  - {id: pause, type: wait, for: 1s, on_success: settle}
  - {id: settle, type: agent_call, agent: settler, on_success: workflow_complete}
"#,
};

const FORKED: Kind = Kind {
    name: "forked",
    end: "completed",
    text: r#"
name: Forked
version: "1.0"
description: Acts in one branch and settles in another, which take turns at a lock, and goes on when both are done.
steps:
  - id: fork
    type: parallel
    branches:
      left: [{id: act, type: agent_call, agent: actor, resource_lock: "fork:{{ context.place }}"}]
      right:
        - {id: look, type: agent_call, agent: reader, on_success: settle}
        - {id: settle, type: agent_call, agent: settler, resource_lock: "fork:{{ context.place }}"}
    on_success: settle
    on_failure: workflow_failed
  - {id: settle, type: agent_call, agent: settler, on_success: workflow_complete}
"#,
};

const SENDER: Kind = Kind {
    name: "sender",
    end: "completed",
    text: r#"
name: Sender
version: "1.0"
description: Waits under its lock for the end of a run that it starts.
steps:
  - id: send
    type: workflow
    template: errand
    context: {place: "{{ context.place }}"}
    resource_lock: "home:{{ context.place }}"
    on_success: settle
    on_failure: workflow_failed
  - {id: settle, type: agent_call, agent: settler, on_success: workflow_complete}
"#,
};

/// What a sender starts.
const ERRAND: Kind = Kind {
    name: "errand",
    end: "completed",
    text: r#"
name: Errand
version: "1.0"
description: Looks, and acts where nothing may happen twice.
steps:
  - {id: look, type: agent_call, agent: reader, on_success: act}
  - id: act
    type: agent_call
    agent: actor
    resource_lock: "away:{{ context.place }}"
    on_success: workflow_complete
    on_failure: workflow_failed
"#,
};

/// More chains than anything else.
const MIXED: [&Kind; 10] =
    [&CHAIN, &GATED, &FLAKY, &FORKED, &UNDONE, &CHAIN, &DOOMED, &SENDER, &PATIENT, &CHAIN];

/// Whether people cancel this run instead of approving it.
pub(crate) fn is_doomed(id: &str) -> bool {
    id.starts_with(DOOMED.name)
}

macro_rules! one_step {
    ($name:literal, $agent:literal) => {
        Kind {
            name: $name,
            end: "completed",
            text: concat!(
                "name: One step\nversion: \"1.0\"\ndescription: One step.\nsteps:\n",
                "  - {id: only, type: agent_call, agent: ",
                $agent,
                ", on_success: workflow_complete, on_failure: workflow_failed}\n"
            ),
        }
    };
}

/// Its child makes the one call.
const SENDS: Kind = Kind {
    name: "sends",
    end: "completed",
    text: r#"
name: Sends
version: "1.0"
description: Waits for the end of a run that it starts.
steps:
  - {id: send, type: workflow, template: settles, on_success: workflow_complete, on_failure: workflow_failed}
"#,
};

const HELD: [&Kind; 4] = [
    &one_step!("reads", "reader"),
    &one_step!("settles", "settler"),
    &one_step!("acts", "actor"),
    &SENDS,
];

impl Load {
    /// What people ask for, in turn.
    pub(crate) fn kinds(self) -> &'static [&'static Kind] {
        match self {
            Self::Mixed => &MIXED,
            Self::Held => &HELD,
        }
    }

    /// The kinds, and what they start.
    pub(crate) fn all_kinds(self) -> impl Iterator<Item = &'static Kind> {
        let started = (self == Self::Mixed).then_some(&ERRAND);
        self.kinds().iter().copied().chain(started)
    }

    /// The kind of the `n`th run.
    pub(crate) fn kind(self, n: usize) -> &'static Kind {
        self.kinds()[n % self.kinds().len()]
    }

    /// What a run must come to, by its id.
    pub(crate) fn end(self, id: &str) -> &'static str {
        let name = id.split('-').next().unwrap();
        self.all_kinds().find(|kind| kind.name == name).unwrap().end
    }
}

/// Agents that change the world.
pub(crate) const EFFECTS: [&str; 2] = ["actor", "settler"];
/// The one of them that may not be called twice.
pub(crate) const ONCE: &str = "actor";

pub(crate) const TRAITS: [(&str, &str); 5] = [
    ("reader", "effects: false, concurrency: 400"),
    ("stumbler", "effects: false, concurrency: 400"),
    ("denier", "effects: false, concurrency: 400"),
    ("actor", "effects: true, idempotent: false, concurrency: 400"),
    ("settler", "effects: true, idempotent: true, concurrency: 400"),
];

/// Agents that take 5 to 40 ms, one that fails once, and one that finds everything wrong.
pub(crate) async fn agents() -> Agents {
    Agents::start(|call: &Call| match call.agent.as_str() {
        "stumbler" if call.attempt == 1 => Answer::unavailable(),
        "denier" => Answer { status: 422, ..Answer::ok(0) },
        _ => Answer { after: Duration::from_millis(fastrand::u64(5..40)), ..Answer::ok(0) },
    })
    .await
}
