//! Tiers of recovery: what an agent is told when it is asked again, and asking another one why.

use serde_json::{Value, json};
use sluice_engine::attempt::Loss;
use sluice_engine::breaker::{Breaker, Breakers, RECOVERY_MS};
use sluice_engine::lesson::{Lesson, Lessons};
use sluice_engine::{Input, Phase};
use sluice_proto::event::Status;
use sluice_proto::message::{CommandKind, Recovery};

use crate::run::Run;

/// A run of a step of this tier, in a world that remembers this.
fn at_tier(tier: u8, lessons: &Lessons) -> Run {
    let mut run = Run::new(&format!(
        "steps:
  - {{id: work, type: agent_call, agent: writer, resource_lock: site, payload: {{action: build}}, on_failure: spare}}
  - {{id: spare, type: agent_call, agent: reader}}
error_handling:
  - {{step: work, max_retries: 2, recovery_tier: TIER_{tier}, escalation_path: [hitl, reader, keyed], circuit_breaker: {{failure_threshold: 2}}}}
"
    ));
    run.lessons = lessons.clone();
    run.input(Input::Start { context: serde_json::Map::new() }).unwrap();
    run.grant("work", "site", 1);
    run
}

fn told(run: &Run) -> Option<Recovery> {
    run.draft("work").recovery
}

fn lesson(failures: u32, recovered: u32, fix: Option<&str>) -> Lessons {
    let lesson = Lesson { failures, recovered, fix: fix.map(str::to_owned) };
    Lessons::from([(("writer".to_owned(), "boom: it went wrong".to_owned()), lesson)])
}

/// A run whose step has used up its retries.
fn used_up(tier: u8) -> Run {
    let mut run = at_tier(tier, &Lessons::new());
    for _ in 1..=3 {
        run.fail("work", Some(true));
    }
    run
}

#[test]
fn below_the_second_tier_nobody_is_told_and_nothing_is_learned() {
    let mut run = at_tier(1, &lesson(3, 2, Some("waited")));
    assert_eq!(told(&run), None);
    run.fail("work", Some(true));
    assert_eq!(told(&run), None);
    assert_eq!(run.data("retry_step").get("recovery"), None);
    run.ok("work", json!({"fix": "luck"}));
    assert_eq!(run.lessons, lesson(3, 2, Some("waited")));
}

#[test]
fn an_agent_is_told_what_went_wrong_and_what_helped_before() {
    let mut run = at_tier(2, &Lessons::new());
    assert_eq!(told(&run), None, "nothing has gone wrong yet");
    run.fail("work", Some(true));
    let first = told(&run).unwrap();
    assert_eq!((first.tier, first.failures, first.recovered), (1, 0, 0), "a retry, no more");
    assert_eq!((first.error.as_str(), first.error_type.as_str()), ("it went wrong", "boom"));
    assert_eq!(run.data("retry_step")["recovery"], serde_json::to_value(&first).unwrap());
    run.ok("work", json!({"fix": "waited for the quota"}));
    assert_eq!(run.lessons, lesson(1, 1, Some("waited for the quota")));

    let mut next = at_tier(2, &run.lessons);
    next.fail("work", Some(true));
    let second = told(&next).unwrap();
    assert_eq!((second.tier, second.failures, second.recovered), (2, 1, 1));
    assert_eq!(second.fix.as_deref(), Some("waited for the quota"));
    next.fail("work", Some(true));
    assert_eq!(told(&next).unwrap().failures, 2, "its own failures count, too");
    next.ok("work", json!({}));
    assert_eq!(next.lessons, lesson(3, 2, Some("waited for the quota")));
}

#[test]
fn what_no_agent_was_called_for_teaches_nothing() {
    let mut run = at_tier(2, &Lessons::new());
    run.lose("work", Loss::QueueTimedOut);
    assert_eq!(told(&run), None);
    assert_eq!(run.lessons, Lessons::new());
    let mut run = at_tier(2, &Lessons::new());
    run.ok("work", json!({"fix": "nothing was broken"}));
    assert_eq!(run.lessons, Lessons::new());
}

#[test]
fn who_is_on_the_escalation_path_is_asked_why_and_the_step_is_tried_once_more() {
    let mut run = used_up(3);
    assert_eq!(run.outstanding(), ["work.diagnose:1:3"]);
    assert!(run.state.locks.contains_key("site"), "nobody touches what may be half done");
    assert_eq!(run.state.status, Status::Running);
    let draft = run.draft("work.diagnose");
    assert_eq!((draft.wish.agent.as_str(), draft.wish.kind), ("reader", CommandKind::Diagnose));
    assert_eq!((draft.timeout_ms, draft.queue_timeout_ms), (120_000, Some(120_000)));
    let payload = &draft.payload;
    assert_eq!(
        [&payload["action"], &payload["step_id"], &payload["agent"], &payload["attempts"]],
        [&json!("diagnose"), &json!("work"), &json!("writer"), &json!(3)]
    );
    assert_eq!(
        (&payload["error_type"], &payload["payload"]["action"]),
        (&json!("boom"), &json!("build"))
    );
    assert_eq!(payload["recovery"]["failures"], 1, "as the last try was told");

    let trail = run.ok("work.diagnose", json!({"cause": "the disk is full"}));
    assert_eq!(trail, ["retry_step work"]);
    assert_eq!(run.outstanding(), ["work:1:4"]);
    let known = told(&run).unwrap();
    assert_eq!((known.tier, known.error_type.as_str()), (3, "boom"));
    assert_eq!(Value::Object(known.diagnosis.unwrap()), json!({"cause": "the disk is full"}));
    let retry = run.data("retry_step");
    assert_eq!((&retry["retry_attempt"], &retry["backoff_delay"]), (&json!(3), &json!(0.0)));
    run.ok("work", json!({"fix": "emptied the disk"}));
    assert_eq!(run.ending().0, Status::Completed);
    assert_eq!(run.lessons, lesson(3, 1, Some("emptied the disk")));
    assert!(run.breakers.is_empty());
}

#[test]
fn nobody_is_asked_twice() {
    let mut run = used_up(4);
    run.ok("work.diagnose", json!({"cause": "unknown"}));
    let trail = run.fail("work", Some(true));
    assert_eq!(trail[0], "fail_step work");
    assert_eq!(run.data("fail_step")["final"], true);
    assert!(run.outstanding().contains(&"spare:1:1"), "{:?}", run.outstanding());
    assert_eq!(run.breakers["work"].failures, 1, "it is one execution that failed");
}

#[test]
fn a_diagnosis_that_does_not_come_changes_nothing_about_the_failure() {
    let large = json!({"cause": "x".repeat(20_000)});
    let fails: [fn(&mut Run) -> Vec<String>; 2] = [
        |run| run.fail("work.diagnose", Some(true)),
        |run| run.lose("work.diagnose", Loss::QueueTimedOut),
    ];
    let mut ended: Vec<(Run, Vec<String>)> = Vec::new();
    for fail in fails {
        let mut run = used_up(3);
        let trail = fail(&mut run);
        ended.push((run, trail));
    }
    let mut run = used_up(3);
    let trail = run.ok("work.diagnose", large);
    ended.push((run, trail));
    for (run, trail) in ended {
        assert_eq!(trail[..2], ["fail_step work.diagnose", "fail_step work"], "{trail:?}");
        let data = run.data("fail_step");
        assert_eq!((&data["final"], &data["error_type"]), (&json!(true), &json!("boom")));
        assert_eq!((&data["attempt"], &data["exhausted"]), (&json!(3), &json!(true)));
        assert_eq!(run.blame(), (Some("work"), Some("boom")));
        assert_eq!(run.breakers["work"].failures, 1);
        assert_eq!(run.lessons, lesson(3, 0, None));
        assert!(run.outstanding().contains(&"spare:1:1"));
    }
}

#[test]
fn there_is_no_diagnosis_where_trying_again_cannot_help() {
    for (tier, last) in [(2, Some(true)), (3, Some(false)), (3, None)] {
        let mut run = at_tier(tier, &Lessons::new());
        run.fail("work", Some(true));
        run.fail("work", Some(true));
        run.fail("work", last);
        assert!(run.outstanding().contains(&"spare:1:1"), "{tier} {last:?}");
    }
    for more in
        ["max_retries: 0, escalation_path: [reader]", "max_retries: 1, escalation_path: [hitl]"]
    {
        let mut run = Run::start(&format!(
            "steps: [{{id: work, type: agent_call, agent: reader}}]
error_handling: [{{step: work, recovery_tier: TIER_3, {more}}}]
"
        ));
        run.exhaust("work");
        run.deliver_messages();
        assert_eq!(run.ending().0, Status::Failed, "{more}");
    }
}

#[test]
fn a_trial_of_a_breaker_goes_on_after_its_diagnosis() {
    let breakers = Breakers::from([(
        "work".to_owned(),
        Breaker { failures: 2, opened_at: Some(used_up(3).now), ..Breaker::default() },
    )]);
    let mut run = Run::new(
        "steps: [{id: work, type: agent_call, agent: reader}]
error_handling:
  - {step: work, max_retries: 1, recovery_tier: TIER_3, escalation_path: [keyed], circuit_breaker: {failure_threshold: 2}}
",
    );
    run.breakers = breakers;
    run.later(RECOVERY_MS);
    run.input(Input::Start { context: serde_json::Map::new() }).unwrap();
    run.fail("work", Some(true));
    run.fail("work", Some(true));
    assert!(run.breakers["work"].trial.is_some());
    run.ok("work.diagnose", json!({}));
    assert_eq!(run.outstanding(), ["work:1:3"], "it keeps nobody out of its own trial");
    run.ok("work", json!({}));
    assert_eq!(run.breakers["work"].successes, 1);
}

#[test]
fn a_run_that_is_cancelled_or_held_up_meanwhile_asks_nobody_any_more() {
    let mut run = used_up(3);
    run.cancel(false).unwrap();
    assert_eq!(run.ending().0, Status::Cancelled);

    let mut run = used_up(3);
    run.suspend().unwrap();
    assert_eq!(run.outstanding(), ["work.diagnose:1:3"], "what is under way goes on");
    run.ok("work.diagnose", json!({}));
    assert_eq!(run.outstanding(), [""; 0], "and nothing new begins");
    run.go_on().unwrap();
    assert_eq!(run.outstanding(), ["work:1:4"]);
    assert!(matches!(run.state.active["work"].phase, Phase::Ready));
}
