//! Attempts that do not come to their own end: cancelled, delivered again, handed back.

use super::*;

#[tokio::test]
async fn a_cancelled_attempt_ends_with_everything_it_started() {
    let mut bench = Bench::new().await;
    // The leader asks its child to leave a mark when it is told to end; the child ignores that.
    let script = "trap 'echo ended > mark; exit 0' TERM; (trap '' TERM; exec sleep 600) & echo $! > child; echo up >&2; wait";
    let worker = bench.worker(&program(script)).await;
    let mut command = command("tester", "run-1:build:1:1", CommandKind::AgentCall, json!({}));
    command.lease_ms = 150;
    bench.coordinator.dispatch(&command).await;
    assert_eq!(bench.coordinator.next_heartbeat().await.1["progress"]["lines"], json!(["up"]));
    let notice = |fence| CancelNotice {
        v: 1,
        command_id: command.command_id.clone(),
        fence,
        reason: "cancelled".to_owned(),
    };
    let subject = bench.coordinator.bus.subjects().cancel(&command.agent, &command.workflow_id);
    // An older fence is somebody else's attempt.
    for fence in [6, 7] {
        let body = serde_json::to_vec(&notice(fence)).unwrap();
        bench.coordinator.bus.publish(subject.as_str(), body).await.unwrap();
    }
    bench.settled("tester").await;
    assert_eq!(std::fs::read_to_string(bench.folder.join("mark")).unwrap(), "ended\n");
    let child = std::fs::read_to_string(bench.folder.join("child")).unwrap();
    tokio::time::timeout(SOON, async {
        while is_alive(child.trim()) {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
    assert!(bench.coordinator.no_result_yet(), "nobody wants it any more");
    worker.stop(SOON).await;
}

/// Neither gone nor only waiting to be reaped.
fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

#[tokio::test]
async fn a_command_that_comes_again_is_carried_out_only_if_it_still_counts() {
    let mut bench = Bench::new().await;
    let script = "echo $$ >&2; while [ ! -e go ]; do sleep 0.02; done; echo '{}'";
    let worker = bench.worker(&program(script)).await;
    for run in ["run-1", "run-2"] {
        let id = format!("{run}:s:1:1");
        let mut held = command("tester", &id, CommandKind::AgentCall, json!({}));
        held.lease_ms = 150;
        bench.coordinator.dispatch(&held).await;
        while bench.coordinator.next_heartbeat().await.1["command_id"] != id.as_str() {}
    }
    worker.stop(Duration::ZERO).await;
    bench.coordinator.heartbeats([Reaction::Refuse("stale_fence"), Reaction::Grant(7)]);
    std::fs::write(bench.folder.join("go"), "").unwrap();
    let second = bench.worker(&program(script)).await;
    bench.coordinator.next_result().await;
    bench.until_lane("tester", |pending, held| pending + held == 0).await;
    assert!(bench.coordinator.no_result_yet(), "the refused one was carried out");
    second.stop(SOON).await;
}

#[tokio::test]
async fn a_stopped_worker_hands_back_what_it_cannot_finish() {
    let mut bench = Bench::new().await;
    let script = "echo $$ >&2; while [ ! -e go ]; do sleep 0.02; done; echo '{}'";
    let worker = bench.worker(&program(script)).await;
    let mut plain = command("tester", "run-1:s:1:1", CommandKind::AgentCall, json!({}));
    plain.lease_ms = 150;
    let mut claimed = command("tester", "run-2:s:1:1", CommandKind::AgentCall, json!({}));
    (claimed.claim, claimed.lease_ms) = (true, 150);
    bench.coordinator.claims([Reaction::Grant(8)]);
    bench.coordinator.dispatch(&plain).await;
    bench.coordinator.dispatch(&claimed).await;
    let mut runs =
        [bench.coordinator.next_heartbeat().await.0, bench.coordinator.next_heartbeat().await.0];
    while runs[0] == runs[1] {
        runs[1] = bench.coordinator.next_heartbeat().await.0;
    }
    assert_eq!(worker.held(), 2);
    worker.stop(Duration::ZERO).await;
    // The claimed one is left to its lease: the queue still counts it as delivered.
    bench.until_lane("tester", |pending, held| pending + held == 2).await;
    std::fs::write(bench.folder.join("go"), "").unwrap();
    let second = bench.worker(&program(script)).await;
    assert_eq!(bench.coordinator.next_result().await.1["command_id"], "run-1:s:1:1");
    bench.until_lane("tester", |pending, held| pending + held == 1).await;
    assert!(bench.coordinator.no_result_yet());

    // Within its grace a worker finishes what it holds.
    std::fs::remove_file(bench.folder.join("go")).unwrap();
    plain.command_id.visit = 2;
    bench.coordinator.dispatch(&plain).await;
    // What comes a second time is asked about by heartbeat too.
    while bench.coordinator.next_heartbeat().await.1["command_id"] != "run-1:s:2:1" {}
    let go = bench.folder.join("go");
    let ((), ()) = tokio::join!(second.stop(SOON), async { std::fs::write(go, "").unwrap() });
    assert_eq!(bench.coordinator.next_result().await.1["command_id"], "run-1:s:2:1");
}
