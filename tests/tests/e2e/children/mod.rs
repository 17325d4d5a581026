//! Runs that runs start, through every role.

mod adopted;
mod limits;
mod steered;
mod waited_for;

/// Starts `inner` and does what its end asks for.
const OUTER: &str = r#"
name: Outer
version: "1.0"
description: Plans, has another workflow do it, and goes on with what came of it.
steps:
  - {id: plan, type: agent_call, agent: helper, on_success: ship}
  - id: ship
    type: workflow
    template: inner
    context: {stage: "{{ context.stage }}", plan: "{{ outputs.plan.by }}"}
    resource_lock: "stage:{{ context.stage }}"
    on_success: report
    on_failure: mend
  - {id: report, type: agent_call, agent: helper, payload: {url: "{{ outputs.ship.apply.by }}"}}
  - {id: mend, type: agent_call, agent: helper, payload: {why: "{{ outputs.ship.error }}", how: "{{ outputs.ship.workflow_status }}"}, on_success: workflow_failed}
"#;

/// Applies something, and asks a person where the stage is called so.
const INNER: &str = r#"
name: Inner
version: "1.0"
description: Does the work.
required_context: [stage, plan]
on_cancel: undo
steps:
  - {id: apply, type: agent_call, agent: worker, payload: {stage: "{{ context.stage }}", plan: "{{ context.plan }}"}, on_success: check}
  - {id: check, type: conditional, condition: "context.stage == 'guarded'", on_true: approve, on_false: workflow_complete}
  - {id: approve, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: workflow_complete, on_rejected: workflow_failed}
  - {id: undo, type: agent_call, agent: worker, payload: {action: rollback}}
error_handling: [{step: apply, max_retries: 0}]
"#;

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World};

/// Agents that refuse what is for the stage `broken`.
async fn agents() -> Agents {
    Agents::start(|call| match call.command["payload"]["stage"] == "broken" {
        true => (400, json!({"error": {"message": "no such stage"}})),
        false => (200, json!({"by": call.step(), "visit": call.command["visit"]})),
    })
    .await
}

async fn world(agents: &Agents) -> World {
    World::builder()
        .template("outer", OUTER)
        .template("free", &OUTER.replace("    resource_lock: \"stage:{{ context.stage }}\"\n", ""))
        .template("inner", INNER)
        .agents(&agents.yaml(&[("helper", false), ("worker", true)]))
        .coordinators(2)
        .start()
        .await
}

/// The n-th child of a run, once it is there.
async fn child(world: &World, parent: &str, n: usize) -> String {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let state = world.status(parent).await;
        if let Value::String(id) = &state["child_workflows"][n]["child_workflow_id"] {
            return id.clone();
        }
        assert!(std::time::Instant::now() < until, "{parent} has no child {n}: {state:#}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
