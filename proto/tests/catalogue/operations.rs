//! Bodies of the verbs that operators use.

use sluice_proto::operations::{HeldAttempt, WorkerStatus, WorkerView, WorkersResponse};

use super::Direction::Written;
use super::{Entry, entry, moment};

pub(crate) fn entries() -> Vec<Entry> {
    vec![entry("workers_response", Written, vec![("", workers())])]
}

fn workers() -> WorkersResponse {
    let attempt = HeldAttempt {
        workflow_id: "hotfix-5d20c1e7".into(),
        step_id: "deploy_production".into(),
        attempt: 1,
        agent: "cicd".into(),
        since: moment(3),
        lease_until: moment(19),
        claimed: true,
    };
    let live = WorkerView {
        name: Some("build-1".into()),
        worker_id: "build-1-311-18c2a7".into(),
        status: WorkerStatus::Live,
        agents: vec!["cicd".into(), "sluice-llm".into()],
        concurrency: Some(64),
        version: Some("0.1.0".into()),
        started_at: Some(moment(0)),
        last_heard_at: Some(moment(9)),
        held: 2,
        attempts: vec![attempt],
    };
    WorkersResponse { workers: vec![live], count: 1 }
}
