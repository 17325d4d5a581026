//! The protocol of one attempt, move by move. The simulation plays the whole game.

use sluice_engine::attempt::{
    AttemptRow, Lane, Loss, MAX_LOST_DISPATCHES, PUBLISH_GRACE_MS, Published, Verdict,
};
use sluice_proto::message::Refusal;
use sluice_proto::timestamp::Timestamp;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_micros(0).plus_ms(ms)
}

/// Published at 7 of the stream made at 1; leases of 10 s, executions of 60 s.
fn row() -> AttemptRow {
    AttemptRow {
        fence: 1,
        dispatch: 1,
        lost: 0,
        claim: false,
        idempotent: false,
        worker: None,
        claimed: false,
        leased_at: None,
        lease_until: None,
        published: Some(Published { stream_created_micros: 1, sequence: 7 }),
        due_at: at(0),
        lease_ms: 10_000,
        timeout_ms: 60_000,
        queue_timeout_ms: None,
    }
}

fn claimable() -> AttemptRow {
    AttemptRow { claim: true, ..row() }
}

/// The stream made at 1 with ten messages, settled up to `ack_floor`.
fn lane(ack_floor: u64) -> Lane {
    Lane { stream_created_micros: Some(1), last_sequence: 10, ack_floor, is_idle: false }
}

fn redispatched(verdict: Verdict) -> AttemptRow {
    match verdict {
        Verdict::Redispatch(row) => row,
        other => panic!("{other:?} is no redispatch"),
    }
}

#[test]
fn a_claim_takes_the_fence() {
    let claimed = claimable().claim(1, "w1", at(5)).unwrap();
    assert_eq!((claimed.fence, claimed.claimed, claimed.lease_until), (2, true, Some(at(10_005))));
    // The reply was lost: the same worker asks again and keeps what it has, for longer.
    let again = claimed.claim(1, "w1", at(9_000)).unwrap();
    assert_eq!(
        (again.fence, again.lease_until, again.leased_at),
        (2, Some(at(19_000)), Some(at(5)))
    );
    assert_eq!(claimed.claim(1, "w2", at(6)), Err(Refusal::HeldByAnother));
    assert_eq!(claimed.claim(2, "w1", at(6)), Err(Refusal::HeldByAnother));
    assert_eq!(claimable().claim(2, "w1", at(6)), Err(Refusal::StaleFence));
}

#[test]
fn an_old_claim_is_no_claim_after_a_redispatch() {
    let idempotent = AttemptRow { idempotent: true, ..claimable() };
    let claimed = idempotent.claim(1, "w1", at(0)).unwrap();
    let second = redispatched(claimed.sweep(None, at(10_001)));
    assert_eq!((second.fence, second.dispatch, second.lost), (3, 2, 1));
    assert_eq!(second.claim(1, "w1", at(10_002)), Err(Refusal::StaleFence));
    assert_eq!(second.heartbeat(2, "w1", at(10_002)), Err(Refusal::StaleFence));
    assert_eq!(second.accept(2), Err(Refusal::StaleFence));
    assert_eq!(second.claim(3, "w2", at(10_002)).unwrap().fence, 4);
}

#[test]
fn heartbeats() {
    let leased = row().heartbeat(1, "w1", at(3_000)).unwrap();
    assert_eq!((leased.leased_at, leased.lease_until), (Some(at(3_000)), Some(at(13_000))));
    let longer = leased.heartbeat(1, "w1", at(9_000)).unwrap();
    assert_eq!((longer.leased_at, longer.lease_until), (Some(at(3_000)), Some(at(19_000))));
    // Without a claim whoever works is the holder.
    assert_eq!(leased.heartbeat(1, "w2", at(4_000)).unwrap().worker.as_deref(), Some("w2"));
    let claimed = claimable().claim(1, "w1", at(0)).unwrap();
    assert_eq!(claimed.heartbeat(2, "w2", at(4_000)), Err(Refusal::HeldByAnother));
    assert_eq!(leased.heartbeat(2, "w1", at(4_000)), Err(Refusal::StaleFence));
    assert_eq!(claimable().heartbeat(1, "w1", at(4_000)), Err(Refusal::NotClaimed));
}

#[test]
fn results() {
    assert_eq!(row().accept(1), Ok(()));
    assert_eq!(row().accept(0), Err(Refusal::StaleFence));
    assert_eq!(claimable().accept(1), Err(Refusal::NotClaimed));
    assert_eq!(claimable().claim(1, "w1", at(0)).unwrap().accept(2), Ok(()));
}

#[test]
fn a_queued_attempt_waits_as_long_as_its_message_can_be_delivered() {
    let long = at(1_000_000_000);
    assert_eq!(row().sweep(Some(&lane(6)), long), Verdict::Keep);
    assert_eq!(row().sweep(None, long), Verdict::Keep);
    let later = AttemptRow { due_at: at(5_000), ..row() };
    assert_eq!(later.sweep(Some(&lane(7)), at(4_999)), Verdict::Keep);
}

#[test]
fn a_message_that_is_gone_is_published_again() {
    let settled = redispatched(row().sweep(Some(&lane(7)), at(50)));
    assert_eq!((settled.fence, settled.dispatch, settled.lost, settled.published), (2, 2, 1, None));
    let idle = Lane { is_idle: true, ..lane(3) };
    assert_eq!(redispatched(row().sweep(Some(&idle), at(50))).lost, 1);
    // A lost stream is nobody's fault.
    for lane in [
        Lane::default(),
        Lane { stream_created_micros: Some(2), ..lane(0) },
        Lane { last_sequence: 6, ..lane(0) },
    ] {
        let again = redispatched(row().sweep(Some(&lane), at(50)));
        assert_eq!((again.fence, again.dispatch, again.lost), (1, 2, 0), "{lane:?}");
    }
}

#[test]
fn a_publish_that_was_never_marked_is_repeated() {
    let unmarked = AttemptRow { published: None, ..row() };
    assert_eq!(unmarked.sweep(Some(&lane(9)), at(PUBLISH_GRACE_MS)), Verdict::Keep);
    assert_eq!(unmarked.sweep(None, at(PUBLISH_GRACE_MS + 1)), Verdict::Publish);
}

#[test]
fn leases_end() {
    let leased = row().heartbeat(1, "w1", at(0)).unwrap();
    assert_eq!(leased.sweep(None, at(10_000)), Verdict::Keep);
    assert_eq!(redispatched(leased.sweep(None, at(10_001))).fence, 2);
    let claimed = claimable().claim(1, "w1", at(0)).unwrap();
    assert_eq!(claimed.sweep(None, at(10_001)), Verdict::GiveUp(Loss::Interrupted));
    // However late somebody looks.
    assert_eq!(claimed.sweep(None, at(900_000)), Verdict::GiveUp(Loss::Interrupted));
}

#[test]
fn a_living_worker_may_be_too_slow() {
    let mut leased = claimable().claim(1, "w1", at(0)).unwrap();
    for ms in (3_000..=70_000).step_by(3_000) {
        assert_eq!(leased.sweep(None, at(ms)), Verdict::Keep, "{ms}");
        leased = leased.heartbeat(2, "w1", at(ms)).unwrap();
    }
    assert_eq!(leased.sweep(None, at(70_001)), Verdict::GiveUp(Loss::TimedOut));
}

#[test]
fn lost_under_a_worker_too_often() {
    let mut row = row();
    for lost in 1..MAX_LOST_DISPATCHES {
        row = redispatched(row.heartbeat(row.fence, "w1", at(0)).unwrap().sweep(None, at(10_001)));
        assert_eq!(row.lost, lost);
    }
    let leased = row.heartbeat(row.fence, "w1", at(0)).unwrap();
    let late = at(20_002);
    assert_eq!(leased.sweep(None, late), Verdict::GiveUp(Loss::Undeliverable));
}

#[test]
fn a_queue_may_be_too_long() {
    let queued = AttemptRow { queue_timeout_ms: Some(30_000), ..row() };
    assert_eq!(queued.sweep(Some(&lane(0)), at(30_000)), Verdict::Keep);
    assert_eq!(queued.sweep(Some(&lane(0)), at(30_001)), Verdict::GiveUp(Loss::QueueTimedOut));
    // It waits anew once it was lost under a worker.
    let leased = queued.heartbeat(1, "w1", at(5_000)).unwrap();
    let again = redispatched(leased.sweep(None, at(40_000)));
    assert_eq!(again.due_at, at(40_000));
    let again = AttemptRow { published: row().published, ..again };
    assert_eq!(again.sweep(Some(&lane(0)), at(60_000)), Verdict::Keep);
}
