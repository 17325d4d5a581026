//! `breaker.list`: circuit breakers about which there is something to say.

use std::sync::Arc;

use sluice_proto::api::{BreakerView, BreakersResponse};
use sluice_proto::timestamp::Timestamp;

use super::{Answer, encode};
use crate::coordinator::{Shared, now};
use crate::intake::api_error;
use crate::store::StoreError;
use crate::store::breakers::{self, StoredBreaker};

pub(super) async fn list(shared: &Arc<Shared>) -> Answer {
    let read = async {
        let mut connection = shared.pool.acquire().await?;
        breakers::list(&mut connection).await
    };
    let stored = read.await.map_err(|error: StoreError| api_error(&error))?;
    let now = now();
    let breakers = stored.into_iter().map(|stored| view(shared, stored, now)).collect();
    encode(&BreakersResponse { breakers })
}

fn view(shared: &Shared, stored: StoredBreaker, now: Timestamp) -> BreakerView {
    let StoredBreaker { template_name, step, breaker, updated_at, .. } = stored;
    let template = shared.library.find(&template_name).ok();
    let declared = template.as_ref().and_then(|pinned| pinned.template.breaker(&step));
    BreakerView {
        state: breaker.word(now).to_owned(),
        failures: breaker.failures,
        failure_threshold: declared.map(|declared| declared.failure_threshold),
        successes: breaker.successes,
        opened_at: breaker.opened_at,
        retry_at: breaker.retry_at(),
        trial_workflow_id: breaker.trial.map(|trial| trial.workflow_id),
        template_name,
        step_id: step,
        updated_at,
    }
}
