//! What becomes of a step when its branches end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::agents::{Agents, Call};
use sluice_tests::{PATIENCE, World, run};

use super::statuses;

fn three(join: &str) -> String {
    format!(
        "name: Three
version: '1'
description: Three branches.
steps:
  - id: fan
    type: parallel
    {join}
    branches:
      a: [{{id: do, type: agent_call, agent: writer}}]
      b: [{{id: do, type: agent_call, agent: writer}}]
      c: [{{id: do, type: agent_call, agent: writer}}]
    on_success: after
    on_failure: mend
  - {{id: after, type: agent_call, agent: writer, payload: {{fan: '{{{{ outputs.fan }}}}'}}}}
  - {{id: mend, type: agent_call, agent: writer, payload: {{why: '{{{{ outputs.fan.error }}}}'}}, on_success: workflow_failed}}
"
    )
}

/// Refuses the steps that the context names.
fn refuse(call: &Call) -> (u16, Value) {
    let fails = call.command["context"]["fails"].as_array().cloned().unwrap_or_default();
    match fails.contains(&call.command["step_id"]) {
        true => (400, json!({"error": {"message": "refused"}})),
        false => (200, json!({"by": call.step()})),
    }
}

const STEPS: [&str; 3] = ["fan.a.do", "fan.b.do", "fan.c.do"];

/// Waits until these steps have failed.
async fn failed(world: &World, id: &str, steps: &[&str]) {
    let until = Instant::now() + PATIENCE;
    for step in steps {
        while !world.actions(id).await.contains(&format!("fail_step:{step}")) {
            assert!(Instant::now() < until, "{step} does not fail");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Template, steps that fail, steps that do not answer, and how each branch ends.
type Case = (&'static str, &'static [&'static str], &'static [&'static str], [&'static str; 3]);

#[test]
fn branches_are_joined_as_the_template_says() {
    run(async {
        let agents = Agents::start(refuse).await;
        let joins = [
            ("all", "join: all"),
            ("collect", "join: all\n    on_branch_failure: collect"),
            ("any", "join: any"),
            ("two", "join: 2\n    on_branch_failure: collect"),
            ("hasty", "join: 2"),
        ];
        let mut builder = World::builder().agents(&agents.yaml(&[("writer", true)]));
        for (name, join) in joins {
            builder = builder.template(name, &three(join));
        }
        let world = builder.coordinators(2).start().await;
        let ok = "succeeded";
        let cases: [Case; 8] = [
            ("all", &[], &[], [ok, ok, ok]),
            ("all", &["fan.b.do"], &["fan.a.do", "fan.c.do"], ["stopped", "failed", "stopped"]),
            ("collect", &["fan.b.do"], &[], [ok, "failed", ok]),
            ("any", &["fan.a.do"], &["fan.c.do"], ["failed", ok, "stopped"]),
            ("any", &["fan.a.do", "fan.b.do", "fan.c.do"], &[], ["failed", "failed", "failed"]),
            ("two", &["fan.a.do"], &[], ["failed", ok, ok]),
            ("two", &["fan.a.do", "fan.b.do"], &[], ["failed", "failed", ok]),
            ("hasty", &["fan.a.do", "fan.b.do"], &["fan.c.do"], ["failed", "failed", "stopped"]),
        ];
        for (n, (template, fails, held, expected)) in cases.into_iter().enumerate() {
            STEPS.iter().for_each(|step| agents.hold(step));
            let (calls, broken_off) = (agents.calls().len(), agents.abandoned().len());
            let id = world.execute(template, json!({"fails": fails})).await;
            for step in STEPS {
                agents.called(step, n + 1).await;
            }
            // Failures come first, then the branches that are not held for good.
            fails.iter().for_each(|step| agents.release(step));
            failed(&world, &id, fails).await;
            let rest = STEPS.iter().filter(|step| !held.contains(step));
            rest.for_each(|step| agents.release(step));
            let last = loop {
                let state = world.status(&id).await;
                if state["completed_at"].is_string() {
                    break state;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            let case = format!("{template} {fails:?}: {last:#}");
            let ended: Vec<&str> = ["a", "b", "c"]
                .map(|name| last["outputs"]["fan"]["branches"][name]["status"].as_str().unwrap())
                .to_vec();
            assert_eq!(ended, expected, "{case}");
            let met = last["status"] == "completed";
            let needed = match template {
                "all" | "collect" => 3,
                "any" => 1,
                _ => 2,
            };
            assert_eq!(met, expected.iter().filter(|how| **how == ok).count() >= needed, "{case}");
            let step_status = |how: &str| match how {
                "stopped" => "skipped",
                "failed" => "failed",
                _ => "completed",
            };
            assert_eq!(statuses(&last, &STEPS).to_vec(), expected.map(step_status), "{case}");
            if met {
                assert_eq!(last["failed_step"], json!(null), "{case}");
            } else {
                assert_eq!(last["failed_step"], "fan", "{case}");
                assert_eq!(last["failure_reason"], "branch_failed", "{case}");
                assert_eq!(statuses(&last, &["mend"]), ["completed"], "{case}");
            }
            // Whoever is not needed any more is told to stop.
            while agents.abandoned().len() < broken_off + held.len() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            held.iter().for_each(|step| agents.release(step));
            assert_eq!(agents.calls().len(), calls + 4, "nobody is called twice: {case}");
            let actions = world.actions(&id).await;
            assert_eq!(actions[..2], ["start_workflow:fan", "start_branches:fan"], "{case}");
            let end = if met { "complete_step:fan" } else { "fail_step:fan" };
            assert_eq!(actions.iter().filter(|action| *action == end).count(), 1, "{case}");
        }
        world.stop().await;
    });
}

const EACH: &str = "name: Each
version: '1'
description: Something for each region.
steps:
  - id: each
    type: for_each
    items: '{{ context.regions }}'
    max_concurrent: 2
    steps:
      - {id: plan, type: agent_call, agent: reader, payload: {region: '{{ item.name }}', n: '{{ index }}'}, on_success: apply}
      - {id: apply, type: agent_call, agent: writer, payload: {region: '{{ item.name }}', plan: '{{ outputs.plan.n }}'}}
    on_success: report
  - {id: report, type: agent_call, agent: reader, payload: {first: '{{ outputs.each.items[0].output.region }}', second: \"{{ outputs['each.1.apply'].region }}\"}}
";

#[test]
fn items_are_gone_through_two_at_a_time_and_their_outputs_are_in_order() {
    run(async {
        let agents = Agents::start(|call| {
            let payload = &call.command["payload"];
            (200, json!({"region": payload["region"], "n": payload["n"], "plan": payload["plan"]}))
        })
        .await;
        let yaml = agents.yaml(&[("reader", false), ("writer", true)]);
        let world =
            World::builder().template("each", EACH).agents(&yaml).coordinators(2).start().await;
        let regions: Vec<Value> = (0..7).map(|n| json!({"name": format!("region-{n}")})).collect();
        let id = world.execute("each", json!({"regions": regions})).await;
        let state = world.wait_for(&id, "completed").await;
        let items = state["outputs"]["each"]["items"].as_array().unwrap();
        for (n, item) in items.iter().enumerate() {
            let output = json!({"region": format!("region-{n}"), "n": null, "plan": n});
            assert_eq!(item, &json!({"status": "succeeded", "output": output}));
            assert_eq!(state["outputs"][format!("each.{n}.apply")], output);
            let paths = [format!("each.{n}.plan"), format!("each.{n}.apply")];
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            assert_eq!(statuses(&state, &paths), ["completed", "completed"]);
        }
        assert_eq!(items.len(), 7);
        let report = agents.calls().pop().unwrap();
        assert_eq!(report.command["payload"], json!({"first": "region-0", "second": "region-1"}));
        let mut keys: Vec<String> =
            agents.calls().iter().map(|call| call.idempotency_key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 15, "every item has keys of its own: {keys:?}");
        assert!(keys.contains(&format!("{id}/each.3.apply/1")), "{keys:?}");
        // No list, too many, none at all.
        for (regions, status, why) in [
            (json!("eu"), "failed", "'items' is text, not a list"),
            (json!(vec![1; 1_001]), "failed", "'items' has 1001 items, more than 1000"),
            (json!([]), "completed", ""),
        ] {
            let id = world.execute("each", json!({"regions": regions})).await;
            let state = world.wait_for(&id, status).await;
            assert_eq!(state["error_message"].as_str().unwrap_or_default(), why);
        }
        world.stop().await;
    });
}
