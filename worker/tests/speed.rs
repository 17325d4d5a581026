mod coordinator;
#[path = "../../bus/tests/nats/mod.rs"]
mod nats;
const SOON: std::time::Duration = std::time::Duration::from_secs(60);
#[tokio::test(flavor = "multi_thread")]
async fn speed() {
    let nats = nats::NatsServer::start(&[]);
    let mut c = coordinator::Coordinator::start(nats.bus("coordinator").await).await;
    let agents = sluice_worker::AgentsFile::default();
    let w = sluice_worker::Worker::start(sluice_worker::WorkerConfig {
        bus: nats.bus("worker").await,
        agents,
        only: None,
        concurrency: 16,
        worker_id: "w".into(),
        llm: None,
    })
    .await
    .unwrap();
    // latency
    for i in 0..3 {
        let t = std::time::Instant::now();
        c.dispatch(&coordinator::command(
            "sluice-notify",
            &format!("a-{i}:n:1:1"),
            sluice_proto::message::CommandKind::Notification,
            serde_json::json!({}),
        ))
        .await;
        c.next_result().await;
        eprintln!("latency {:?}", t.elapsed());
    }
    let steps: Vec<_> = (0..10000)
        .map(|i| {
            let cmd = coordinator::command(
                "sluice-notify",
                &format!("r-{i}:n:1:1"),
                sluice_proto::message::CommandKind::Notification,
                serde_json::json!({}),
            );
            sluice_bus::StepMessage {
                agent: cmd.agent.clone(),
                urgent: false,
                message_id: cmd.command_id.to_string(),
                body: serde_json::to_vec(&cmd).unwrap().into(),
            }
        })
        .collect();
    let t = std::time::Instant::now();
    let r = c.bus.publish_steps(steps).await;
    assert!(r.iter().all(|r| r.is_ok()));
    eprintln!("published {:?}", t.elapsed());
    for _ in 0..10000 {
        c.next_result().await;
    }
    eprintln!("done {:?}", t.elapsed());
    let t = std::time::Instant::now();
    w.stop(SOON).await;
    eprintln!("stop {:?}", t.elapsed());
}
