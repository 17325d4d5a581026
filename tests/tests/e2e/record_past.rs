//! Looking back: replay, state at a moment, differences, annotations, filters, following, exports.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use sluice_proto::timestamp::Timestamp;
use sluice_tests::run;

use crate::record_rich::{self, Rich};

fn moments(events: &Value) -> Vec<Timestamp> {
    let moment = |event: &Value| Timestamp::parse(event["timestamp"].as_str().unwrap()).unwrap();
    events.as_array().unwrap().iter().map(moment).collect()
}

/// The same moment as somebody in Kathmandu would write it.
fn in_kathmandu(moment: Timestamp) -> String {
    let shifted = Timestamp::from_micros(moment.as_micros() + 20_700_000_000);
    shifted.to_string().replace('Z', "%2B05:45")
}

#[test]
fn a_run_is_seen_as_it_was_at_any_moment() {
    run(async {
        let rich = record_rich::ended().await;
        let calls = rich.agents.calls().len();
        let events = rich.world.events(&rich.id).await;
        let moments = moments(&events);
        let total = moments.len() as u64;

        let (status, replayed) = rich.post("replay", json!({})).await;
        assert_eq!(status, 200, "{replayed}");
        assert_eq!(
            (&replayed["matches"], &replayed["differences"], &replayed["signatures_valid"]),
            (&json!(true), &json!([]), &json!(true))
        );
        let last = &replayed["final_state"];
        assert_eq!((&last["status"], &last["event_count"]), (&json!("rolled_back"), &json!(total)));
        assert_eq!(last["steps_completed"], json!(["review", "rollback_deploy"]));
        assert_eq!(last["steps_failed"], json!(["deploy"]));
        assert_eq!(last["approvals"]["gate"][0]["approver_role"], "tech_lead");
        assert_eq!(last["retries"], json!({"review": 1}));
        assert_eq!(last["rollbacks"][0]["step"], "deploy");

        for n in 0..=total {
            let by_number = rich.ask(&format!("state-at/{n}")).await;
            assert_eq!(
                (&by_number["sequence"], &by_number["state"]["event_count"]),
                (&json!(n), &json!(n))
            );
            let Some(moment) = n.checked_sub(1).map(|n| moments[n as usize]) else { continue };
            // Events of one transaction have the same moment.
            let here = moments.iter().filter(|other| **other <= moment).count();
            let by_moment = rich.ask(&format!("state-at/{moment}")).await;
            assert_eq!(by_moment["sequence"], json!(here));
            let elsewhere = rich.ask(&format!("state-at/{}", in_kathmandu(moment))).await;
            assert_eq!(elsewhere["state"], by_moment["state"]);
            let just_before = Timestamp::from_micros(moment.as_micros() - 1);
            let before = rich.ask(&format!("state-at/{just_before}")).await;
            assert!(before["sequence"].as_u64().unwrap() < n);
            let fraction = moment.to_string().replace('Z', "999Z");
            let within = rich.ask(&format!("state-at/{fraction}")).await;
            assert_eq!(within["sequence"], json!(here), "{fraction}");
        }
        let whole = rich.ask(&format!("state-at/{total}")).await;
        assert_eq!(&whole["state"], last);
        let first = rich.ask("state-at/1999-12-31T23:59:59Z").await;
        assert_eq!((&first["sequence"], &first["state"]["status"]), (&json!(0), &json!("pending")));
        assert_eq!(
            (&first["state"]["outputs"], &first["state"]["annotations"]),
            (&json!({}), &json!([]))
        );
        let later = rich.ask("state-at/2999-01-01T00:00:00.123456789-11:00").await;
        assert_eq!(&later["state"], last);
        for wrong in ["yesterday", "2024-01-15T10:15:00", "999", "-1"] {
            let (status, answer) = rich.get(&format!("state-at/{wrong}")).await;
            assert_eq!(status, 400, "{wrong}: {answer}");
        }
        assert_eq!(rich.world.get("/workflow/nobody/state-at/1").await.0, 404);
        assert_eq!(rich.world.post("/workflow/nobody/replay", &json!({})).await.0, 404);
        assert_eq!(rich.world.get("/workflow/nobody/verify").await.0, 404);
        assert_eq!(rich.agents.calls().len(), calls, "nobody was asked again");

        differences(&rich, &events).await;
        rich.world.stop().await;
    });
}

async fn differences(rich: &Rich, events: &Value) {
    let number = |action: &str| {
        let events = events.as_array().unwrap();
        events.iter().position(|event| event["action"] == action).unwrap() + 1
    };
    let (paused, resumed) = (number("pause_workflow"), number("resume_workflow"));
    let diff = rich.ask(&format!("diff?from={paused}&to={resumed}")).await;
    assert_eq!(
        (&diff["from"]["status"], &diff["to"]["status"]),
        (&json!("paused"), &json!("running"))
    );
    let actions: Vec<&str> =
        diff["events"].as_array().unwrap().iter().filter_map(|e| e["action"].as_str()).collect();
    assert_eq!(actions.last(), Some(&"resume_workflow"));
    let changes = diff["changes"].as_array().unwrap();
    let change = changes.iter().find(|change| change["path"] == "/status").unwrap();
    assert_eq!((&change["before"], &change["after"]), (&json!("paused"), &json!("running")));
    assert!(
        changes
            .iter()
            .any(|change| change["path"] == "/approvals/gate" && change.get("before").is_none())
    );
    let same = rich.ask(&format!("diff?from={paused}&to={paused}")).await;
    assert_eq!((&same["changes"], &same["events"]), (&json!([]), &json!([])));
    let born = rich.ask("diff?from=0&to=2999-01-01T00:00:00Z").await;
    assert_eq!(born["events"].as_array().unwrap().len(), events.as_array().unwrap().len());
    for (wrong, status) in
        [("from=5&to=2", 400), ("from=1", 422), ("from=1&to=soon", 400), ("from=1&to=999", 400)]
    {
        assert_eq!(rich.get(&format!("diff?{wrong}")).await.0, status, "{wrong}");
    }
}

#[test]
fn an_annotation_is_an_event_that_moves_nothing() {
    run(async {
        let rich = record_rich::ended().await;
        let before = rich.world.status(&rich.id).await;
        let third = rich.ask("events?offset=2&limit=1").await["events"][0].clone();
        let body = json!({"operator": "alice@example.com", "comment": "Ünderstood; \"quoted\"", "event_id": third["event_id"]});
        let (status, answer) = rich.post("annotate", body).await;
        assert_eq!(status, 200, "{answer}");
        let annotation = &answer["annotation"];
        assert_eq!(annotation["action"], "annotate");
        assert_eq!(annotation["data"]["event_id"], third["event_id"]);
        let found = rich.ask("events?action=ANNOTATE").await;
        assert_eq!(&found["events"][0], annotation);
        let mut after = rich.world.status(&rich.id).await;
        after["updated_at"] = before["updated_at"].clone();
        assert_eq!(after, before);
        let refusals = [
            (json!({"operator": "a", "comment": "b", "event_id": "nobody"}), 404),
            (json!({"operator": "a", "comment": " "}), 422),
            (json!({"operator": "", "comment": "b"}), 422),
            (json!({"comment": "b"}), 422),
            (json!({"operator": "a", "comment": "b\u{0}"}), 422),
        ];
        for (body, expected) in refusals {
            let (status, answer) = rich.post("annotate", body.clone()).await;
            assert_eq!(status, expected, "{body}: {answer}");
        }
        let nobody = json!({"operator": "a", "comment": "b"});
        assert_eq!(rich.world.post("/workflow/nobody/annotate", &nobody).await.0, 404);
        let once = json!({"operator": "bob", "comment": "once", "request_id": "note-1"});
        let first = rich.post("annotate", once.clone()).await;
        assert_eq!(rich.post("annotate", once).await, first);
        let (_, replayed) = rich.post("replay", json!({})).await;
        assert_eq!(replayed["differences"], json!([]));
        let notes = &replayed["final_state"]["annotations"];
        assert_eq!(
            (&notes[0]["operator"], &notes[1]["comment"]),
            (&json!("alice@example.com"), &json!("once"))
        );
        assert_eq!(notes.as_array().unwrap().len(), 2);
        rich.world.stop().await;
    });
}

#[test]
fn a_history_is_filtered_and_read_by_key() {
    run(async {
        let rich = record_rich::ended().await;
        rich.annotate("customer waits").await;
        let all = rich.ask("events").await;
        let events = all["events"].as_array().unwrap();
        let matching = async |query: &str, wanted: &dyn Fn(&Value) -> bool| {
            let found = rich.ask(&format!("events?{query}")).await;
            let expected: Vec<&Value> = events.iter().filter(|event| wanted(event)).collect();
            assert!(!expected.is_empty(), "{query} is worth asking");
            assert_eq!(found["total_events"], json!(expected.len()), "{query}");
            assert_eq!(found["events"], json!(expected), "{query}");
        };
        matching("action=Complete_Step", &|event| event["action"] == "complete_step").await;
        matching("step=deploy", &|event| {
            event["step_id"]
                .as_str()
                .is_some_and(|step| step == "deploy" || step.starts_with("deploy."))
        })
        .await;
        matching("actor=ada", &|event| event["data"]["approver"] == "ada").await;
        matching("actor=alice@example.com", &|event| event["action"] == "annotate").await;
        let middle = events[events.len() / 2]["timestamp"].as_str().unwrap();
        let at = Timestamp::parse(middle).unwrap();
        let moment =
            |event: &Value| Timestamp::parse(event["timestamp"].as_str().unwrap()).unwrap();
        matching(&format!("from={middle}"), &|event| moment(event) >= at).await;
        matching(&format!("to={}", in_kathmandu(at)), &|event| moment(event) <= at).await;
        matching(&format!("from={middle}&to={middle}"), &|event| moment(event) == at).await;
        assert_eq!(rich.ask("events?actor=nobody").await["events"], json!([]));

        let (mut read, mut after) = (Vec::new(), String::new());
        loop {
            let page = rich.ask(&format!("events?limit=4{after}")).await;
            read.extend(page["events"].as_array().unwrap().clone());
            assert_eq!(page["total_events"], json!(events.len()));
            match page["next"].as_u64() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(json!(read), json!(events));
        for (query, status) in
            [("from=soon", 422), ("after=x", 422), ("step=a%00", 422), ("action=x", 400)]
        {
            assert_eq!(rich.get(&format!("events?{query}")).await.0, status, "{query}");
        }
        rich.world.stop().await;
    });
}

/// Reads a stream to its end, or until it has so many bytes of events.
async fn followed(
    rich: &Rich,
    last: Option<u64>,
    query: &str,
) -> Vec<(Option<u64>, String, Value)> {
    let url = format!("{}/workflow/{}/events?follow=1{query}", rich.world.url, rich.id);
    let mut request = rich.world.http.get(url);
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text =
        tokio::time::timeout(Duration::from_secs(30), response.text()).await.unwrap().unwrap();
    text.split("\n\n")
        .filter(|block| !block.is_empty() && !block.starts_with(':'))
        .map(told)
        .collect()
}

fn told(block: &str) -> (Option<u64>, String, Value) {
    let field = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned)
    };
    let data = serde_json::from_str(&field("data").unwrap()).unwrap();
    (field("id").map(|id| id.parse().unwrap()), field("event").unwrap(), data)
}

#[test]
fn a_run_is_followed_as_it_goes_on() {
    run(async {
        let rich = record_rich::ended().await;
        let all = rich.ask("events").await["events"].clone();
        let events = all.as_array().unwrap();
        let stream = followed(&rich, None, "").await;
        let (end, told) = stream.split_last().unwrap();
        assert_eq!((end.1.as_str(), &end.2), ("end", &json!({"status": "rolled_back"})));
        assert_eq!(json!(told.iter().map(|event| &event.2).collect::<Vec<_>>()), all);
        for (n, event) in told.iter().enumerate() {
            assert_eq!(
                (event.0, json!(event.1)),
                (Some(n as u64 + 1), events[n]["action"].clone())
            );
        }
        let rest = followed(&rich, Some(3), "").await;
        assert_eq!(rest.first().unwrap().0, Some(4));
        assert_eq!(rest.len(), events.len() - 3 + 1);
        let some = followed(&rich, None, "&action=retry_step").await;
        assert_eq!(some.len(), 2, "{some:?}");

        // One that waits for a person: its stream stays open and tells what comes.
        let waiting = rich.world.execute("rich", json!({})).await;
        rich.world.wait_for(&waiting, "paused").await;
        let url = format!("{}/workflow/{waiting}/events?follow=true", rich.world.url);
        let response = rich.world.http.get(url).send().await.unwrap();
        let mut chunks = response.bytes_stream();
        let mut text = String::new();
        let mut read_until = async |text: &mut String, wanted: &str| {
            while !text.contains(wanted) {
                let chunk = tokio::time::timeout(Duration::from_secs(30), chunks.next()).await;
                text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
            }
        };
        read_until(&mut text, "event: pause_workflow").await;
        assert!(!text.contains("event: annotate"));
        let note = json!({"operator": "bob", "comment": "still here"});
        rich.world.post(&format!("/workflow/{waiting}/annotate"), &note).await;
        read_until(&mut text, "event: annotate").await;
        rich.world.delete(&format!("/workflow/{waiting}")).await;
        read_until(&mut text, "event: end").await;
        let wrong =
            rich.world.http.get(format!("{}/workflow/{waiting}/events?follow=1", rich.world.url));
        let wrong = wrong.header("Last-Event-ID", "x").send().await.unwrap();
        assert_eq!(wrong.status(), 422);
        assert_eq!(rich.world.get("/workflow/nobody/events?follow=1").await.0, 404);
        rich.world.stop().await;
    });
}

#[test]
fn an_export_is_the_record_as_a_file() {
    run(async {
        let rich = record_rich::ended().await;
        rich.annotate("=HYPERLINK(\"http://x\")").await;
        let file = async |query: &str| {
            let url = format!("{}/workflow/{}/events/export{query}", rich.world.url, rich.id);
            let response = rich.world.http.get(url).send().await.unwrap();
            let header = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .map(|v| v.to_str().unwrap().to_owned())
                    .unwrap_or_default()
            };
            let (media_type, disposition) = (header("content-type"), header("content-disposition"));
            (response.status().as_u16(), media_type, disposition, response.text().await.unwrap())
        };
        let (status, media_type, disposition, text) = file("").await;
        assert_eq!((status, media_type.as_str()), (200, "application/json"));
        let name = format!("attachment; filename=\"workflow-events-{}.json\"", rich.id);
        assert_eq!(disposition, name);
        assert!(text.starts_with("[\n  {\n    \"action\": \"start_workflow\",\n"), "{text}");
        let events: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(events, rich.ask("events").await["events"]);
        assert_eq!(file("?format=json").await.3, text);

        let (status, media_type, _, table) = file("?format=csv").await;
        assert_eq!((status, media_type.as_str()), (200, "text/csv; charset=utf-8"));
        assert!(table.starts_with("action,data,event_id,event_version,key_id,"), "{table}");
        assert_eq!(table.split("\r\n").count(), events.as_array().unwrap().len() + 2);
        assert_eq!(file("?format=docx").await.0, 400);
        let (status, media_type, disposition, _) = file("?format=pdf").await;
        assert_eq!((status, media_type.as_str()), (200, "application/pdf"));
        assert_eq!(disposition, name.replace(".json", ".pdf"));
        assert_eq!(rich.world.get("/workflow/nobody/events/export").await.0, 404);
        rich.world.stop().await;
    });
}
