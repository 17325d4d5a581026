//! The list of faults.

use std::time::Duration;

use sluice_servers::Server;
use sluice_tests::processes::site::LEASE;

/// One fault, as the table names it.
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) strike: Strike,
    pub(crate) load: Load,
    pub(crate) harms: Harms,
}

impl Fault {
    /// When all runs that were held in one worker must have ended, in the round that is published. A
    /// round of its own is not timed: whatever else the machine does would be.
    pub(crate) fn published_within(&self) -> Option<Duration> {
        match (self.load, self.strike) {
            (Load::Held, Strike::Killed(Who::Worker, Return::AtOnce)) => {
                Some(Duration::from_secs(1))
            }
            (Load::Held, Strike::Killed(Who::Worker, Return::Never)) => {
                Some(LEASE + Duration::from_secs(2))
            }
            (Load::Held, Strike::Killed(Who::Coordinator, _)) => Some(Duration::from_secs(2)),
            _ => None,
        }
    }
}

/// What runs when it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Runs of every kind of template, each as far as it got.
    Mixed,
    /// One attempt a run, all of them under way in the first worker.
    Held,
}

/// Whose attempts may be called again, and may end as interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harms {
    /// Nobody's: every call counts.
    Nobody,
    /// What the first worker ran: its silence is that of a dead one.
    FirstWorker,
    /// What any worker ran may be called again where that is allowed; none may be given up, since its
    /// worker is well.
    Calls,
    /// What any worker ran: all of them died.
    Everybody,
    /// Calls that need no claim: two commands are two calls.
    Unclaimed,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Strike {
    Nothing,
    /// SIGKILL.
    Killed(Who, Return),
    /// SIGSTOP, and SIGCONT after this time.
    Stopped(Who, Duration),
    /// Every process and both servers at once, as when the power fails.
    PowerCut,
    /// A server gets SIGKILL and comes back.
    ServerKilled(Server),
    /// A server gets SIGSTOP, and SIGCONT after this time.
    ServerStopped(Server, Duration),
    PostgresRestarted,
    PostgresRefuses(Duration),
    NatsWiped,
    /// No message fits into the queue of step commands any more, for this time.
    NatsFull(Duration),
    StreamsDeleted,
    ConsumersDeleted,
    /// Every step command, claim, heartbeat and result comes a second time.
    EverythingTwice,
    /// What a worker says arrives after its leases are over.
    ResultsLate,
    Link(Ends, Hurt),
}

/// Which process. Of workers and coordinators it is the first one; the second one is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Worker,
    Coordinator,
    BothCoordinators,
    Gateway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    AtOnce,
    Never,
}

/// The two ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    CoordinatorNats,
    WorkerNats,
    GatewayNats,
    CoordinatorPostgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hurt {
    /// Closed, and refused for a while.
    Cut,
    /// Slow for a while.
    Delayed,
    /// Open, and nothing passes for a while: neither way, or only one way, as the seed has it.
    HalfOpen,
    /// Every connection ends with a reset.
    Reset,
}

const ENDS: [(Ends, &str, Harms); 4] = [
    (Ends::CoordinatorNats, "a coordinator–NATS", Harms::Nobody),
    (Ends::WorkerNats, "a worker–NATS", Harms::FirstWorker),
    (Ends::GatewayNats, "gateway–NATS", Harms::Nobody),
    (Ends::CoordinatorPostgres, "a coordinator–PostgreSQL", Harms::Nobody),
];
const HURTS: [(Hurt, &str); 4] = [
    (Hurt::Cut, "cut"),
    (Hurt::Delayed, "delayed"),
    (Hurt::HalfOpen, "half open"),
    (Hurt::Reset, "reset"),
];

/// Long enough for another coordinator to take over and for leases to run out.
const LONGER_THAN_A_LEASE: Duration = LEASE.saturating_mul(2);
const REFUSING: Duration = Duration::from_secs(30);

/// How long a coordinator sleeps.
fn sleep() -> Duration {
    match cfg!(feature = "full") || std::env::var_os("SLUICE_FAULT_LONG").is_some() {
        true => Duration::from_secs(120),
        false => LONGER_THAN_A_LEASE,
    }
}

/// Every fault, in the order of the table.
pub(crate) fn all() -> Vec<Fault> {
    let mixed = |name: &str, strike, harms| Fault {
        name: name.to_owned(),
        strike,
        load: Load::Mixed,
        harms,
    };
    let held = |name: &str, strike, harms| Fault {
        name: name.to_owned(),
        strike,
        load: Load::Held,
        harms,
    };
    use Harms::{Calls, Everybody, FirstWorker, Nobody, Unclaimed};
    use Strike::{Killed, ServerKilled, ServerStopped, Stopped};
    let long = LONGER_THAN_A_LEASE;
    let mut faults = vec![
        mixed("none", Strike::Nothing, Nobody),
        mixed("a worker killed, never back", Killed(Who::Worker, Return::Never), FirstWorker),
        mixed(
            "a worker killed, started anew under its name",
            Killed(Who::Worker, Return::AtOnce),
            FirstWorker,
        ),
        mixed("a worker stopped and continued", Stopped(Who::Worker, long), FirstWorker),
        mixed("a coordinator killed, never back", Killed(Who::Coordinator, Return::Never), Nobody),
        mixed(
            "both coordinators killed, started anew",
            Killed(Who::BothCoordinators, Return::AtOnce),
            Nobody,
        ),
        mixed(
            "a coordinator stopped and continued after the other took over",
            Stopped(Who::Coordinator, sleep()),
            Nobody,
        ),
        mixed("the gateway killed, started anew", Killed(Who::Gateway, Return::AtOnce), Nobody),
        mixed("the gateway stopped and continued", Stopped(Who::Gateway, long), Nobody),
        mixed("NATS killed and started", ServerKilled(Server::Nats), Calls),
        mixed("NATS stopped and continued", ServerStopped(Server::Nats, long), Calls),
        mixed("NATS started with its data wiped", Strike::NatsWiped, Calls),
        mixed("NATS full", Strike::NatsFull(long), Calls),
        mixed("PostgreSQL killed and started", ServerKilled(Server::Postgres), Calls),
        mixed("PostgreSQL stopped and continued", ServerStopped(Server::Postgres, long), Calls),
        mixed("PostgreSQL restarted", Strike::PostgresRestarted, Calls),
        mixed("PostgreSQL refuses for 30 s", Strike::PostgresRefuses(REFUSING), Calls),
        mixed("everything killed at once, started anew", Strike::PowerCut, Everybody),
        mixed("streams deleted", Strike::StreamsDeleted, Calls),
        mixed("consumers deleted", Strike::ConsumersDeleted, Calls),
        mixed("every message twice", Strike::EverythingTwice, Unclaimed),
        mixed("results later than their lease", Strike::ResultsLate, FirstWorker),
    ];
    for (ends, between, harms) in ENDS {
        for (hurt, how) in HURTS {
            faults.push(mixed(&format!("{between} {how}"), Strike::Link(ends, hurt), harms));
        }
    }
    faults.extend([
        held(
            "a worker with everything killed, started anew under its name",
            Killed(Who::Worker, Return::AtOnce),
            FirstWorker,
        ),
        held(
            "a worker with everything killed, never back",
            Killed(Who::Worker, Return::Never),
            FirstWorker,
        ),
        held(
            "a coordinator killed while everything is under way",
            Killed(Who::Coordinator, Return::Never),
            Nobody,
        ),
    ]);
    faults
}
