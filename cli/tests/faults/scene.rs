//! One installation under load, and how its processes are struck.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use serde_json::json;
use sluice_bus::{Bus, BusConfig};
use sluice_servers::{Server, Servers};
use sluice_tests::processes::agents::{Agents, Call};
use sluice_tests::processes::record;
use sluice_tests::processes::site::{Api, Site};
use sqlx::PgPool;
use tokio_util::task::AbortOnDropHandle;

use super::fault::{Load, Return, Strike, Who};
use super::load;
use super::member::Member;

/// Runs that are begun before the fault strikes; a few of them have ended by then.
pub(crate) const RUNS: usize = 330;
/// Runs that people ask for while the fault lasts.
const LATECOMERS: usize = 20;
const BETWEEN_LATECOMERS: Duration = Duration::from_millis(50);
/// Requests to start a run that are under way at once.
const AT_ONCE: usize = 32;
/// Values of the context that locks are named by.
const PLACES: usize = 30;
/// Attempts that one worker runs at once.
const CONCURRENCY: usize = 16;
/// Longest wait for anything before the fault.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs that somebody was told are taken.
pub(crate) type Taken = Arc<Mutex<BTreeSet<String>>>;

pub(crate) struct Scene<'s> {
    pub(crate) servers: &'s Servers,
    pub(crate) site: Site,
    pub(crate) agents: Agents,
    pub(crate) pool: PgPool,
    /// A connection of the test's own, through no link.
    pub(crate) bus: Bus,
    pub(crate) coordinators: [Member; 2],
    pub(crate) workers: [Member; 2],
    pub(crate) gateway: Member,
    pub(crate) taken: Taken,
    pub(crate) struck: Struck,
    /// Chooses what the seed has a say in.
    pub(crate) rng: fastrand::Rng,
    load: Load,
    people: Option<AbortOnDropHandle<()>>,
    copier: Option<AbortOnDropHandle<()>>,
}

/// What was under way.
#[derive(Default)]
pub(crate) struct Struck {
    /// How many calls agents had heard.
    pub(crate) calls: usize,
    pub(crate) runs: i64,
    /// Key and number of the attempts that were outstanding.
    outstanding: BTreeSet<(String, u64)>,
    /// Calls up to here may have been made by who was struck.
    until_call: usize,
    /// When all was well again.
    pub(crate) healed: Option<SystemTime>,
}

impl Struck {
    /// Calls of `worker`, or of anybody, that were under way when it struck or began while it lasted.
    pub(crate) fn running(&self, calls: &[Call], worker: Option<&str>) -> usize {
        let may_run = |(n, call): &(usize, &Call)| {
            worker.is_none_or(|worker| call.worker == worker)
                && (*n >= self.calls
                    || self.outstanding.contains(&(call.key.clone(), call.attempt)))
        };
        calls.iter().enumerate().take(self.until_call).filter(may_run).count()
    }
}

impl<'s> Scene<'s> {
    pub(crate) async fn start(
        name: &str,
        load: Load,
        servers: &'s Servers,
        rng: fastrand::Rng,
    ) -> Self {
        let agents = load::agents().await;
        let site = Site::apart(name, servers).await;
        for kind in load.all_kinds() {
            site.template(kind.name, kind.text);
        }
        site.agents(&agents.yaml(&load::TRAITS));
        for worker in ["worker-1", "worker-2"] {
            site.folder.write(&format!("{worker}.yaml"), &agents.yaml_for(worker, &load::TRAITS));
        }
        let concurrency = if load == Load::Held { RUNS } else { CONCURRENCY };
        let bus = Bus::connect(BusConfig::new(servers.nats_url(), &site.prefix, "test"));
        let mut scene = Self {
            servers,
            agents,
            pool: site.pool().await,
            bus: bus.await.unwrap(),
            coordinators: [
                Member::coordinator("coordinator-1", &site, servers).await,
                Member::coordinator("coordinator-2", &site, servers).await,
            ],
            workers: [
                Member::worker("worker-1", concurrency, servers).await,
                Member::worker("worker-2", concurrency, servers).await,
            ],
            gateway: Member::gateway(servers).await,
            taken: Taken::default(),
            struck: Struck::default(),
            site,
            rng,
            load,
            people: None,
            copier: None,
        };
        scene.start_all().await;
        scene
    }

    async fn start_all(&mut self) {
        let [first, second] = &mut self.coordinators;
        let [worker, other] = &mut self.workers;
        let site = &self.site;
        futures::join!(first.start(site), second.start(site));
        let (said, ..) = futures::join!(self.gateway.start(site), worker.start(site), async {
            // What is held must all be held by the first one.
            if self.load == Load::Mixed {
                other.start(site).await;
            }
        });
        let address = said.split_whitespace().find_map(|word| word.strip_prefix("addr=")).unwrap();
        self.gateway.keep_address(address);
        self.site.api = Api::at(&format!("http://{address}"));
        self.people = Some(AbortOnDropHandle::new(tokio::spawn(people(self.site.api.clone()))));
    }

    /// Gets the load under way and lets it run up to the `moment`th call.
    pub(crate) async fn under_load(&mut self, strike: &Strike, moment: usize) {
        if matches!(strike, Strike::EverythingTwice) {
            self.copier = Some(self.copy_everything().await);
        }
        self.agents.hold();
        let starts = (0..RUNS).map(|n| begin(&self.site.api, self.load, &self.taken, "run", n));
        futures::stream::iter(starts).buffer_unordered(AT_ONCE).collect::<()>().await;
        assert_eq!(self.taken.lock().unwrap().len(), RUNS, "some runs were refused");
        if self.load == Load::Held {
            self.agents.called(RUNS, PATIENCE).await;
            let [_, other] = &mut self.workers;
            other.start(&self.site).await;
        } else {
            self.agents.release();
            self.agents.called(moment, PATIENCE).await;
        }
        self.struck.runs = record::open_runs(&self.pool).await;
        self.note_what_runs().await;
    }

    /// Strikes, while people go on asking for runs; all is well again when this returns, or as well as it
    /// gets.
    pub(crate) async fn strike(&mut self, strike: &Strike) {
        let (api, load, taken) = (self.site.api.clone(), self.load, Arc::clone(&self.taken));
        let latecomers = tokio::spawn(async move {
            let late = (0..LATECOMERS).map(async |n| {
                tokio::time::sleep(BETWEEN_LATECOMERS * u32::try_from(n).unwrap()).await;
                begin(&api, load, &taken, "late", n).await;
            });
            futures::future::join_all(late).await;
        });
        match *strike {
            Strike::Nothing | Strike::EverythingTwice => {}
            Strike::Killed(who, back) => self.kill(who, back).await,
            Strike::Stopped(who, lasting) => self.stop_for(who, lasting).await,
            Strike::PowerCut => self.power_cut().await,
            Strike::ServerKilled(server) => self.kill_server(server).await,
            Strike::ServerStopped(server, lasting) => self.stop_server(server, lasting).await,
            Strike::PostgresRestarted => self.restart_postgres().await,
            Strike::PostgresRefuses(lasting) => self.refuse_postgres(lasting).await,
            Strike::NatsWiped => self.wipe_nats().await,
            Strike::NatsFull(lasting) => self.fill_nats(lasting).await,
            Strike::StreamsDeleted => self.delete_streams().await,
            Strike::ConsumersDeleted => self.delete_consumers().await,
            Strike::ResultsLate => self.delay_results().await,
            Strike::Link(ends, hurt) => self.hurt_link(ends, hurt).await,
        }
        self.struck.healed.get_or_insert_with(SystemTime::now);
        if !self.struck_one_can_still_call(strike) {
            latecomers.await.unwrap();
            return;
        }
        self.struck.until_call = self.agents.calls().len();
        latecomers.await.unwrap();
    }

    /// Who was killed makes no more calls: the window is closed already.
    fn struck_one_can_still_call(&self, strike: &Strike) -> bool {
        !matches!(strike, Strike::Killed(Who::Worker, _) | Strike::PowerCut)
    }

    /// Remembers which attempts are outstanding and which calls were made.
    pub(crate) async fn note_what_runs(&mut self) {
        let rows: Vec<(String, i32)> = sqlx::query_as(
            "select workflow_id || '/' || step_path || '/' || visit, attempt from attempts",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let attempt = |n: i32| u64::try_from(n).unwrap();
        self.struck.outstanding = rows.into_iter().map(|(key, n)| (key, attempt(n))).collect();
        self.struck.calls = self.agents.calls().len();
        self.struck.until_call = self.struck.calls;
    }

    pub(crate) fn members(&mut self) -> impl Iterator<Item = &mut Member> {
        let workers = self.workers.iter_mut();
        self.coordinators.iter_mut().chain(workers).chain([&mut self.gateway])
    }

    async fn kill(&mut self, who: Who, back: Return) {
        match who {
            Who::Worker => self.workers[0].kill().await,
            Who::Coordinator => self.coordinators[0].kill().await,
            Who::Gateway => self.gateway.kill().await,
            Who::BothCoordinators => {
                let [first, second] = &mut self.coordinators;
                futures::join!(first.kill(), second.kill());
            }
        }
        // Nothing more is called by who is dead: what is outstanding now is what ran on it.
        self.note_what_runs().await;
        self.agents.release();
        self.struck.healed = Some(SystemTime::now());
        if back == Return::Never {
            return;
        }
        let site = &self.site;
        match who {
            Who::Worker => drop(self.workers[0].start(site).await),
            Who::Coordinator => drop(self.coordinators[0].start(site).await),
            Who::Gateway => drop(self.gateway.start(site).await),
            Who::BothCoordinators => {
                let [first, second] = &mut self.coordinators;
                futures::join!(first.start(site), second.start(site));
            }
        }
    }

    async fn stop_for(&mut self, who: Who, lasting: Duration) {
        let member = match who {
            Who::Worker => &self.workers[0],
            Who::Coordinator | Who::BothCoordinators => &self.coordinators[0],
            Who::Gateway => &self.gateway,
        };
        member.stop();
        tokio::time::sleep(lasting).await;
        member.go_on();
    }

    async fn power_cut(&mut self) {
        for member in self.members() {
            member.kill().await;
        }
        self.note_what_runs().await;
        for server in [Server::Nats, Server::Postgres] {
            self.kill_server(server).await;
        }
        self.struck.healed = Some(SystemTime::now());
        let site = &self.site;
        let [first, second] = &mut self.coordinators;
        let [worker, other] = &mut self.workers;
        futures::join!(
            first.start(site),
            second.start(site),
            worker.start(site),
            other.start(site),
            self.gateway.start(site)
        );
    }

    /// Waits until no run is open and nothing is outstanding, and says whether that was before `limit`.
    pub(crate) async fn ended(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let open = "select count(*) from runs where completed_at is null";
        let ended = self.counts_nothing(open, until).await;
        self.people = None;
        // Notifications may outlive their runs for a moment.
        let settled = self.counts_nothing("select count(*) from attempts", until).await;
        self.copier = None;
        ended && settled
    }

    async fn counts_nothing(&self, statement: &'static str, until: Instant) -> bool {
        while Instant::now() < until {
            // The first questions after an outage may find a dead connection.
            if let Ok(0) = sqlx::query_scalar::<_, i64>(statement).fetch_one(&self.pool).await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        false
    }

    /// The history of the run that ended last, for whoever wonders what took so long.
    pub(crate) async fn last_to_end(&self) -> Vec<String> {
        let last = "select workflow_id from runs where workflow_id like '%-run-%'
                     order by completed_at desc limit 1";
        let id: String = sqlx::query_scalar(last).fetch_one(&self.pool).await.unwrap();
        let history = self.history(&id).await;
        [id].into_iter().chain(history).collect()
    }

    /// How long it took, from the moment at which all was well again, until the last of the runs ended
    /// that were begun before it. Those that people asked for meanwhile do not count.
    pub(crate) async fn recovery(&self) -> Duration {
        let last: f64 = sqlx::query_scalar(
            "select extract(epoch from max(completed_at))::float8 from runs
              where workflow_id like '%-run-%'",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap();
        let last = UNIX_EPOCH + Duration::from_secs_f64(last);
        last.duration_since(self.struck.healed.unwrap()).unwrap_or_default()
    }
}

/// Asks for a run. Who is told that it is taken may rely on it; any other answer promises nothing.
async fn begin(api: &Api, load: Load, taken: &Taken, name: &str, n: usize) {
    let kind = load.kind(n);
    let id = format!("{}-{name}-{n}", kind.name);
    match api.execute(kind.name, &id, json!({"place": n / load.kinds().len() % PLACES})).await {
        Ok((200, _)) => drop(taken.lock().unwrap().insert(id)),
        Ok((429 | 503 | 504, _)) | Err(_) => {}
        Ok(other) => panic!("{id}: {other:?}"),
    }
}

/// Approves what waits for a person, or cancels it.
async fn people(api: Api) {
    loop {
        if let Ok((200, paused)) = api.get("/workflows?status=paused").await {
            let ids = paused.as_array().into_iter().flatten();
            for id in ids.filter_map(|run| run["workflow_id"].as_str()) {
                // Who meets a server that is away asks again later.
                if load::is_doomed(id) {
                    let _ = api.delete(&format!("/workflow/{id}")).await;
                } else {
                    let body = json!({"approval_decision": "approved", "approver": "alice"});
                    let _ = api.post(&format!("/workflow/resume/{id}"), &body).await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
