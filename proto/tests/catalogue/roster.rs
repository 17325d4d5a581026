//! Messages by which workers are known by name.

use sluice_proto::burial::Burial;
use sluice_proto::ids::{AgentName, WorkerName};
use sluice_proto::message::MESSAGE_VERSION;
use sluice_proto::roster::{
    Announcement, AnnouncementReply, NameRefusal, Presence, PresenceQuestion, RollCall,
};

use super::Direction::{Read, Written};
use super::{Entry, entry, moment};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        entry("announcement", Read, vec![("first", first()), ("leaving", leaving())]),
        entry("announcement_reply", Written, vec![("welcome", welcome()), ("refused", refused())]),
        entry("burial", Read, vec![("", burial())]),
        entry("presence_question", Written, vec![("", PresenceQuestion { v: MESSAGE_VERSION })]),
        entry("presence", Read, vec![("", presence())]),
        entry("roll_call", Written, vec![("", roll_call())]),
    ]
}

fn name(text: &str) -> WorkerName {
    WorkerName::parse(text).unwrap()
}

fn first() -> Announcement {
    Announcement {
        v: MESSAGE_VERSION,
        name: name("build-1"),
        worker_id: name("build-1-311-18c2a7"),
        agents: vec![AgentName::parse("cicd").unwrap(), AgentName::llm()],
        concurrency: 64,
        held: 0,
        version: "0.1.0".into(),
        started_at: moment(0),
        joined: false,
        leaving: false,
    }
}

fn leaving() -> Announcement {
    Announcement { held: 2, joined: true, leaving: true, ..first() }
}

fn welcome() -> AnnouncementReply {
    AnnouncementReply::Welcome { lease_ms: 10_000 }
}

fn refused() -> AnnouncementReply {
    AnnouncementReply::Refused {
        reason: NameRefusal::Silent,
        holder: "build-1-290-18c2a1".into(),
        retry_after_ms: Some(4_200),
    }
}

fn presence() -> Presence {
    Presence { v: MESSAGE_VERSION, worker_id: name("build-1-311-18c2a7"), held: 3 }
}

fn roll_call() -> RollCall {
    RollCall { v: MESSAGE_VERSION, agents: vec![AgentName::parse("cicd").unwrap()] }
}

fn burial() -> Burial {
    Burial {
        v: MESSAGE_VERSION,
        worker_id: "build-1-311-18c2a7".into(),
        subject: "sluice.step.cicd".into(),
        stream_sequence: 4711,
        delivered_count: 1,
        reason: "message version 2, this worker knows 1".into(),
        payload: "eyJ2IjoyfQ==".into(),
    }
}
