//! Takes one run from its start to its end, in the place of the people who decide.

use serde_json::{Value, json};
use sluice_engine::template::Template;
use sluice_tests::World;

use super::board::{Board, answered};
use super::record::Record;
use super::scenario::Scenario;

/// A run that has come to its end, or to a stop.
pub(super) struct Driven {
    pub(super) id: String,
    pub(super) record: Record,
    /// What `GET /workflow/{id}` said afterwards.
    pub(super) state: Value,
    /// What people were shown, by step.
    pub(super) asked: Vec<(String, Value)>,
    /// What went wrong on the way.
    pub(super) trouble: Option<String>,
}

pub(super) async fn drive(
    world: &World,
    board: &Board,
    template: &Template,
    scenario: &Scenario,
) -> Driven {
    let context = Value::Object(scenario.context.clone());
    let id = board.begin(world, &scenario.template, &context).await;
    let mut asked = Vec::new();
    let trouble = accompany(world, board, scenario, &id, &mut asked).await.err();
    let state = look(world, &format!("/workflow/{id}")).await;
    let record = Record::read(world, &id).await;
    let trouble = trouble.or_else(|| record.unsettled(template));
    Driven { id, record, state, asked, trouble }
}

async fn look(world: &World, path: &str) -> Value {
    let (status, state) = answered(async || world.get(path).await).await;
    assert_eq!(status, 200, "{state}");
    state
}

async fn accompany(
    world: &World,
    board: &Board,
    scenario: &Scenario,
    id: &str,
    asked: &mut Vec<(String, Value)>,
) -> Result<(), String> {
    let mut decisions = scenario.people.iter();
    let mut since = 0;
    loop {
        let stopped = |standing: &super::board::Standing| {
            standing.sequence >= since && (standing.is_over() || standing.status == "paused")
        };
        let standing = board
            .wait(id, stopped)
            .await
            .map_err(|last| format!("it came to nothing: {last:?}"))?;
        if standing.is_over() {
            let left: Vec<_> = decisions.collect();
            return match left.as_slice() {
                [] => settled(world, board, id).await,
                left => Err(format!("it ended, and nobody asked for {left:?}")),
            };
        }
        let Some(decision) = decisions.next() else {
            let state = look(world, &format!("/workflow/status/{id}")).await;
            return Err(format!("nobody decides about {}", state["pending_approval"]));
        };
        since = decide(world, board, scenario, id, decision, asked).await?;
    }
}

/// Decides once those who must were told, and gives the number of events then.
async fn decide(
    world: &World,
    board: &Board,
    scenario: &Scenario,
    id: &str,
    decision: &str,
    asked: &mut Vec<(String, Value)>,
) -> Result<i64, String> {
    let mut words = decision.split_whitespace();
    let (step, word, who) =
        (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next());
    let state = look(world, &format!("/workflow/status/{id}")).await;
    if state["current_step"] != step {
        return Err(format!("'{decision}' is next, but it waits at {}", state["current_step"]));
    }
    asked.push((step.to_owned(), state["pending_approval"].clone()));
    while !Record::read(world, id).await.is_announced(step) {
        let seen = sequence(world, id).await;
        if Record::read(world, id).await.is_announced(step) {
            break;
        }
        let more = board.wait(id, |standing| standing.sequence > seen).await;
        more.map_err(|_| format!("nobody was told about {step}"))?;
    }
    let mut body = json!({"approval_decision": word, "comment": format!("{word} by a test")});
    if let Some(who) = who {
        body["approver"] = json!(who);
    }
    let (status, answer) = answered(async || world.resume(id, body.clone()).await).await;
    if status != 200 {
        return Err(format!("'{decision}' was refused: {status} {answer}"));
    }
    let approval = &state["pending_approval"]["approval_id"];
    if scenario.decided_twice && approval.is_string() {
        body["approval_id"] = approval.clone();
        let (status, answer) = answered(async || world.resume(id, body.clone()).await).await;
        if status != 409 && status != 400 {
            return Err(format!("'{decision}' counted twice: {status} {answer}"));
        }
    }
    Ok(sequence(world, id).await)
}

/// Waits until every message of an ended run has been delivered.
async fn settled(world: &World, board: &Board, id: &str) -> Result<(), String> {
    loop {
        let seen = sequence(world, id).await;
        if Record::read(world, id).await.undelivered().is_empty() {
            return Ok(());
        }
        let more = board.wait(id, |standing| standing.sequence > seen).await;
        more.map_err(|_| "a message was never delivered".to_owned())?;
    }
}

async fn sequence(world: &World, id: &str) -> i64 {
    sqlx::query_scalar("select sequence from runs where workflow_id = $1")
        .bind(id)
        .fetch_one(&world.pool)
        .await
        .unwrap()
}
