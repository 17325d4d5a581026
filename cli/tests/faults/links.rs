//! Links that are struck.

use std::time::{Duration, Instant, SystemTime};

use sluice_tests::processes::proxy::{Link, Proxy};
use sluice_tests::processes::site::LEASE;

use super::fault::{Ends, Hurt};
use super::scene::Scene;

/// Long enough for leases to run out.
const LASTING: Duration = LEASE.saturating_mul(2);
/// Each way.
const DELAY: Duration = Duration::from_millis(150);
/// Longest wait for a client to come back.
const PATIENCE: Duration = Duration::from_secs(30);

impl Scene<'_> {
    fn link(&self, ends: Ends) -> &Proxy {
        match ends {
            Ends::CoordinatorNats => &self.coordinators[0].nats,
            Ends::WorkerNats => &self.workers[0].nats,
            Ends::GatewayNats => &self.gateway.nats,
            Ends::CoordinatorPostgres => self.coordinators[0].postgres.as_ref().unwrap(),
        }
    }

    pub(crate) async fn hurt_link(&mut self, ends: Ends, hurt: Hurt) {
        let way = self.rng.choice([Link::HalfOpen, Link::Mute, Link::Deaf]).unwrap();
        let link = self.link(ends);
        let accepted = link.accepted();
        assert!(accepted > 0, "nobody uses this link");
        let hurt_for_a_while = async |how: Link| {
            link.set(how);
            tokio::time::sleep(LASTING).await;
            link.set(Link::Up);
        };
        match hurt {
            Hurt::Reset => link.reset(),
            Hurt::Cut => hurt_for_a_while(Link::Cut).await,
            Hurt::Delayed => hurt_for_a_while(Link::Slow(DELAY)).await,
            Hurt::HalfOpen => {
                println!("{ends:?}: {way:?}");
                hurt_for_a_while(way).await;
            }
        }
        let (healed, well) = (Instant::now(), SystemTime::now());
        if matches!(hurt, Hurt::Cut | Hurt::Reset) {
            // Else the client knows another way, and nothing was struck.
            while link.accepted() == accepted {
                assert!(healed.elapsed() < PATIENCE, "nobody came back over the link");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        self.struck.healed = Some(well);
    }

    /// What the first worker says waits until all of its leases are over.
    pub(crate) async fn delay_results(&mut self) {
        let link = &self.workers[0].nats;
        link.set(Link::Mute);
        tokio::time::sleep(LASTING).await;
        link.set(Link::Up);
    }
}
