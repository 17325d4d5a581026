//! Ctrl-C and friends.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;

/// Waits for requests to stop, as often as they come.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    /// From now on these signals are requests and kill nothing.
    pub(crate) fn listen() -> Result<Self, CliError> {
        let on = |kind| {
            signal(kind).map_err(|error| {
                CliError::Failed(format!("signals cannot be listened for: {error}"))
            })
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// The next request to stop.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// Runs `stopping` to its end, unless another request hurries.
    pub(crate) async fn unless_hurried(&mut self, stopping: impl Future<Output = ()>) -> Stopped {
        tokio::select! {
            () = stopping => Stopped::InOrder,
            () = self.next() => Stopped::Hurried,
        }
    }
}

/// How stopping went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    InOrder,
    Hurried,
}
