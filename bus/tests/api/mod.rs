//! The API on the bus: commands through a stream, verbs as a micro service, requests to a queue group.

use super::*;

#[tokio::test]
async fn commands_keep_their_identity() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("coordinator").await;
    // No coordinator has ever run: the stream is made by whoever publishes first.
    bus.publish_command("workflow.execute", json!({"a": 1}).to_string(), "id-1").await.unwrap();
    assert!(bus.publish_command("workflow.execute", "{}", "id-1").await.unwrap().duplicate);
    let mut puller = bus.command_puller();
    let first = puller.next(10, SOON).await.unwrap().pop().unwrap();
    first.nak(None).await.unwrap();
    let second = puller.next(10, SOON).await.unwrap().pop().unwrap();
    let identity = |d: &Delivery| (d.stream_created_micros, d.stream_sequence, d.published_micros);
    assert_eq!(identity(&first), identity(&second));
    assert!(
        second.stream_created_micros > 0 && second.published_micros >= second.stream_created_micros
    );
    assert_eq!(bus.subjects().command_verb(&second.subject), Some("workflow.execute"));
    second.ack().await.unwrap();
}

#[tokio::test]
async fn the_api_is_a_micro_service() {
    let server = NatsServer::start(&[]);
    let (coordinator, gateway) = (server.bus("coordinator").await, server.bus("gateway").await);
    let call = |verb: &'static str, body: Value, actor: Option<Actor>| {
        let gateway = gateway.clone();
        async move { gateway.api(verb, &body, actor.as_ref(), SOON).await }
    };
    let nobody = call("workflow.list", json!({}), None).await;
    assert_eq!(nobody, Err(ApiCallError::NoCoordinator));

    let mut service =
        coordinator.api_service("0.1.0", &["workflow.list", "workflow.execute"]).await.unwrap();
    let refusal = ApiError {
        errors: vec![FieldError { field: "context".to_owned(), message: "missing".to_owned() }],
        ..ApiError::new(ErrorCode::InvalidBody, "context:\nmissing")
    };
    let answer = refusal.clone();
    let serving = tokio::spawn(async move {
        while let Some(request) = service.next().await {
            match request.verb.as_str() {
                "workflow.list" => {
                    let actor = request.actor().unwrap().map(|a| a.id);
                    request.respond_ok(json!({ "asked_by": actor }).to_string()).await.unwrap();
                }
                _ if request.payload.as_ref() == br#""stop""# => {
                    request.respond_ok("{}").await.unwrap();
                    service.stop().await;
                }
                _ => request.respond_error(&answer).await.unwrap(),
            }
        }
    });
    // A round trip tells that the server knows our subscriptions.
    while call("workflow.list", json!({}), None).await == Err(ApiCallError::NoCoordinator) {}
    let actor = Actor { id: "zoë".to_owned(), method: "token".to_owned(), ..Actor::default() };
    let body = call("workflow.list", json!({}), Some(actor)).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"asked_by": "zoë"}));
    assert_eq!(
        call("workflow.execute", json!({}), None).await,
        Err(ApiCallError::Refused(refusal))
    );
    let large = json!("x".repeat(2_000_000));
    assert_eq!(call("workflow.execute", large, None).await, Err(ApiCallError::TooLarge));

    // What any NATS tool sees.
    let raw = async_nats::connect(server.url()).await.unwrap();
    let reply = raw.request("t.api.v1.workflow.execute", "{}".into()).await.unwrap();
    let headers = reply.headers.unwrap();
    assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "422");
    assert_eq!(headers.get("Nats-Service-Error").unwrap().as_str(), "context: missing");
    let body: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(body["code"], "invalid_body");
    let info: Value = ask_json(&raw, "$SRV.INFO.sluice").await;
    let mut names: Vec<&str> =
        info["endpoints"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["workflow-execute", "workflow-list"]);
    // The statistics are written after the answer is sent: one more answer orders them.
    call("workflow.list", json!({}), None).await.unwrap();
    let stats: Value = ask_json(&raw, "$SRV.STATS.sluice").await;
    let endpoints = stats["endpoints"].as_array().unwrap();
    let execute = endpoints.iter().find(|e| e["name"] == "workflow-execute").unwrap();
    assert_eq!((&execute["num_requests"], &execute["num_errors"]), (&json!(2), &json!(2)));
    assert_eq!(execute["last_error"], "422:context: missing");

    call("workflow.execute", json!("stop"), None).await.unwrap();
    serving.await.unwrap();
}

async fn ask_json(client: &async_nats::Client, subject: &'static str) -> Value {
    serde_json::from_slice(&client.request(subject, "".into()).await.unwrap().payload).unwrap()
}

#[tokio::test]
async fn requests_are_shared_by_a_queue_group() {
    let server = NatsServer::start(&[]);
    let (coordinator, worker) = (server.bus("coordinator").await, server.bus("worker").await);
    assert_eq!(worker.request("t.claim.a.b", "x", SOON).await, Err(BusError::NoResponders));
    let (mut one, mut two) = (
        coordinator.serve("t.claim.*.*", "q").await.unwrap(),
        coordinator.serve("t.claim.*.*", "q").await.unwrap(),
    );
    let serving = tokio::spawn(async move {
        for count in 1..=20 {
            let (which, request) = tokio::select! {
                request = one.next() => ("one", request.unwrap()),
                request = two.next() => ("two", request.unwrap()),
            };
            assert_eq!(request.subject, "t.claim.a.b");
            request.respond(format!("{which} {count}")).await.unwrap();
        }
    });
    let mut answered = 0;
    while answered < 20 {
        match worker.request("t.claim.a.b", "x", SOON).await {
            Ok(_) => answered += 1,
            Err(error) => assert_eq!(error, BusError::NoResponders),
        }
    }
    serving.await.unwrap();

    let mut cancels = worker.subscribe("t.cancel.a.*").await.unwrap();
    worker.publish("t.cancel.a.b", "stop").await.unwrap();
    assert_eq!(cancels.next().await.unwrap().payload, "stop");
    worker.drain().await;
    assert!(cancels.next().await.is_none());
    assert!(!worker.is_connected());
}
