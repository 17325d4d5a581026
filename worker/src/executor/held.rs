//! The attempts a worker holds, and how somebody else ends one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use sluice_bus::Subscription;
use sluice_proto::ids::CommandId;
use sluice_proto::message::CancelNotice;
use tokio_util::sync::CancellationToken;

/// Every attempt this worker holds.
#[derive(Clone, Default)]
pub(crate) struct Held {
    attempts: Arc<Mutex<HashMap<CommandId, Hold>>>,
}

#[derive(Clone)]
struct Hold {
    fence: Arc<AtomicU64>,
    revoked: CancellationToken,
}

/// One of them; given up when dropped.
pub(super) struct HeldAttempt {
    held: Held,
    command_id: CommandId,
    fence: Arc<AtomicU64>,
    pub(super) revoked: CancellationToken,
}

/// Why an attempt that came cannot be taken: it is here already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twice {
    /// The same message, or an older one. The first one settles it.
    Redelivered,
    /// A newer one, because this worker was believed to be lost.
    Superseding,
}

impl Held {
    /// Takes an attempt, unless it is here already: a redelivery must not run beside the first. One that
    /// was sent again under a newer fence ends the first, whose result nobody will take any more.
    pub(super) fn take(&self, command_id: &CommandId, fence: u64) -> Result<HeldAttempt, Twice> {
        let hold = Hold { fence: Arc::new(fence.into()), revoked: CancellationToken::new() };
        match self.lock().entry(command_id.clone()) {
            Entry::Occupied(first) if fence > first.get().fence.load(Ordering::Relaxed) => {
                first.get().revoked.cancel();
                return Err(Twice::Superseding);
            }
            Entry::Occupied(_) => return Err(Twice::Redelivered),
            Entry::Vacant(place) => place.insert(hold.clone()),
        };
        Ok(HeldAttempt {
            held: self.clone(),
            command_id: command_id.clone(),
            fence: hold.fence,
            revoked: hold.revoked,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Ends every attempt: none of them is this worker's any more.
    pub(crate) fn revoke_all(&self) {
        self.lock().values().for_each(|hold| hold.revoked.cancel());
    }

    /// Ends the attempt, if it is here under this fence or an older one.
    fn revoke(&self, notice: &CancelNotice) {
        if let Some(hold) = self.lock().get(&notice.command_id)
            && hold.fence.load(Ordering::Relaxed) <= notice.fence
        {
            hold.revoked.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CommandId, Hold>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldAttempt {
    /// The fence in force.
    pub(super) fn fence(&self) -> u64 {
        self.fence.load(Ordering::Relaxed)
    }

    pub(super) fn replace_fence(&self, fence: u64) {
        self.fence.store(fence, Ordering::Relaxed);
    }
}

impl Drop for HeldAttempt {
    fn drop(&mut self) {
        self.held.lock().remove(&self.command_id);
    }
}

/// Carries out the cancel notices of one agent.
pub(crate) async fn watch_cancels(held: Held, mut notices: Subscription, ended: CancellationToken) {
    loop {
        let notice = tokio::select! {
            notice = notices.next() => notice,
            () = ended.cancelled() => return,
        };
        let Some(notice) = notice else { return };
        match serde_json::from_slice::<CancelNotice>(&notice.payload) {
            Ok(notice) => held.revoke(&notice),
            Err(error) => tracing::warn!(%error, "a cancel notice could not be read"),
        }
    }
}
