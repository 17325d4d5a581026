//! Circuit breakers.

use sluice_proto::api::{BreakerView, BreakersResponse};

use super::Direction::Written;
use super::{Entry, entry, moment};

pub(crate) fn entries() -> Vec<Entry> {
    vec![entry("breakers_response", Written, vec![("", breakers())])]
}

fn breakers() -> BreakersResponse {
    let breaker = BreakerView {
        template_name: "pr-deployment.workflow.yaml".into(),
        step_id: "deploy_production".into(),
        state: "open".into(),
        failures: 1,
        failure_threshold: Some(1),
        successes: 0,
        opened_at: Some(moment(0)),
        retry_at: Some(moment(60)),
        trial_workflow_id: None,
        updated_at: moment(0),
    };
    BreakersResponse { breakers: vec![breaker] }
}
