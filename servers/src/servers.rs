//! Both servers together.

use std::fs;
use std::path::Path;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::cluster::{self, Cluster};
use crate::command::Identity;
use crate::datadir::{DataDir, SECRETS, make_folder, read_json, remove_if_there, write_json};
use crate::error::{Error, IoContext, Result};
use crate::locate::{Binary, Search};
use crate::options::{Options, Progress};
use crate::ports::{self, Ports, Reservation};
use crate::secrets::Secrets;
use crate::supervised::{Exit, Launch, Mark, Server, Supervised};
use crate::{nats, postgres, survivors};

/// A log that has grown to this size is set aside at the next start.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// A NATS server and a PostgreSQL, running until this is stopped or dropped.
///
/// Nobody else can start servers on the same data folder as long as this lives.
#[derive(Debug)]
pub struct Servers {
    // The servers are declared before the folder: they are gone before its lock is.
    nats: Supervised,
    postgres: Supervised,
    versions: Versions,
    deaths: watch::Receiver<Option<Exit>>,
    secrets: Hidden,
    data: DataDir,
}

/// The process ids of the servers that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pids {
    /// nats-server.
    pub nats: Option<u32>,
    /// The postmaster.
    pub postgres: Option<u32>,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// nats-server.
    pub nats: Binary,
    /// PostgreSQL.
    pub postgres: Binary,
}

impl Servers {
    /// Finds or installs the binaries, ends survivors of an earlier run, makes what is missing in
    /// the data folder and starts both servers. When this returns, both accept connections.
    pub async fn start(options: Options) -> Result<Self> {
        let servers = spawn_blocking(move || Self::prepare(&options)).await??;
        // When one fails, the other dies with the value.
        tokio::try_join!(servers.nats.start(), servers.postgres.start())?;
        Ok(servers)
    }

    /// Stops both servers in good order and gives the data folder back.
    pub async fn stop(self) {
        self.stop_both().await;
    }

    /// Stops both servers and removes their data, the passwords and the logs. Other files in the
    /// data folder stay.
    pub async fn destroy(self) -> Result<()> {
        self.stop_both().await;
        spawn_blocking(move || remove_data(&self.data)).await?
    }

    /// The address of NATS, with credentials.
    pub fn nats_url(&self) -> String {
        let (user, password) = (nats::USER, &self.secrets.0.nats_password);
        format!("nats://{user}:{password}@127.0.0.1:{}", self.nats.port())
    }

    /// The address of the database for the role that Sluice runs with.
    pub fn database_url(&self) -> String {
        self.url(postgres::APP, &self.secrets.0.app_password, postgres::DATABASE)
    }

    /// The address of the database for its owner, who may change the schema.
    pub fn database_owner_url(&self) -> String {
        self.url(postgres::OWNER, &self.secrets.0.owner_password, postgres::DATABASE)
    }

    /// The address of the maintenance database for the superuser.
    pub fn superuser_url(&self) -> String {
        self.url(postgres::SUPERUSER, &self.secrets.0.superuser_password, "postgres")
    }

    /// The data folder, resolved.
    pub fn data(&self) -> &Path {
        self.data.root()
    }

    /// The process ids of the servers that run.
    pub fn pids(&self) -> Pids {
        Pids { nats: self.nats.pid(), postgres: self.postgres.pid() }
    }

    /// The binaries that run and their versions.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Resolves when a server has ended although nobody here asked it to, and again at every call
    /// until it is started again. Kills and stops by the methods of this type are not reported.
    pub async fn exited(&self) -> Exit {
        let mut deaths = self.deaths.clone();
        let death = deaths.wait_for(Option::is_some).await.map(|death| death.clone());
        match death {
            Ok(Some(exit)) => exit,
            // Unreachable while the servers, which hold the sender, live.
            _ => std::future::pending().await,
        }
    }

    /// Kills NATS, as a crash would. [`Servers::start_nats`] brings it back.
    pub async fn kill_nats(&self) -> Result<()> {
        self.nats.kill().await
    }

    /// Kills all processes of PostgreSQL, as a crash would. [`Servers::start_postgres`] brings it
    /// back.
    pub async fn kill_postgres(&self) -> Result<()> {
        self.postgres.kill().await
    }

    /// Starts NATS again after a kill or a death, on the same port.
    pub async fn start_nats(&self) -> Result<()> {
        self.nats.start().await
    }

    /// Starts PostgreSQL again after a kill or a death, on the same port.
    pub async fn start_postgres(&self) -> Result<()> {
        self.postgres.start().await
    }

    /// Freezes a server: connections stay open, and nothing answers.
    pub fn suspend(&self, server: Server) -> Result<()> {
        self.supervised(server).freeze(true)
    }

    /// Lets a frozen server go on.
    pub fn resume(&self, server: Server) -> Result<()> {
        self.supervised(server).freeze(false)
    }

    /// Deletes every stream and every message of a NATS that is down.
    pub fn wipe_nats(&self) -> Result<()> {
        if self.nats.pid().is_some() {
            return Err(self.nats.wrong_state("runs; kill it before its data is wiped"));
        }
        remove_if_there(&nats::jetstream_folder(&self.data))
    }

    fn prepare(options: &Options) -> Result<Self> {
        let progress = &options.progress;
        let data = DataDir::open(&options.data)?;
        survivors::stop_nats(&data, progress)?;
        cluster::remove_abandoned(progress);
        let cluster = Cluster::of(&data, options)?;
        survivors::stop_postgres(&data, &cluster.path, progress)?;

        let ourselves = Identity { user: None, die_with_parent: options.die_with_parent };
        let theirs = Identity { user: cluster.user.clone(), ..ourselves };
        let versions = find_binaries(options, &cluster, &ourselves, &theirs)?;
        let secrets = settle(&data, &cluster, &versions.postgres.path, &theirs, options)?;
        let [nats_port, postgres_port] = reserve_ports(&data, options)?;

        let logs = options.logs.clone().unwrap_or_else(|| data.logs());
        make_folder(&logs, 0o700)?;
        let config = nats::write_config(&data, nats_port.port, options.nats_sync, &secrets)?;
        let nats = Launch {
            mark: Mark::ServerName(nats::server_name(&data)),
            program: versions.nats.path.clone(),
            arguments: nats::arguments(&config),
            identity: ourselves,
            durability: options.durability,
            log: logs.join("nats-server.log"),
            pid_file: data.nats_pid(),
            port: nats_port.port,
            limit: options.start_timeout,
        };
        let postgres = Launch {
            program: versions.postgres.path.clone(),
            arguments: postgres::arguments(&cluster.path, postgres_port.port, options.durability),
            mark: Mark::Cluster(cluster.path),
            identity: theirs,
            durability: options.durability,
            log: logs.join("postgres.log"),
            pid_file: data.postgres_pid(),
            port: postgres_port.port,
            limit: options.start_timeout,
        };
        for log in [&nats.log, &postgres.log] {
            set_aside(log)?;
        }
        let (sender, deaths) = watch::channel(None);
        Ok(Self {
            nats: Supervised::new(nats, nats_port, sender.clone()),
            postgres: Supervised::new(postgres, postgres_port, sender),
            versions,
            deaths,
            secrets: Hidden(secrets),
            data,
        })
    }

    async fn stop_both(&self) {
        tokio::join!(self.postgres.stop(), self.nats.stop());
    }

    fn supervised(&self, server: Server) -> &Supervised {
        match server {
            Server::Nats => &self.nats,
            Server::Postgres => &self.postgres,
        }
    }

    fn url(&self, role: &str, password: &str, database: &str) -> String {
        postgres::url(role, password, self.postgres.port(), database)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.postgres.kill_now();
        self.nats.kill_now();
    }
}

/// Removes the servers' data, passwords and logs from a data folder that nobody works on; ends
/// survivors of a killed run first. Other files in the folder stay. Blocks the thread.
pub fn erase(data: &Path, progress: &Progress) -> Result<()> {
    if !data.exists() {
        return Ok(());
    }
    let data = DataDir::open(data)?;
    survivors::stop_nats(&data, progress)?;
    for cluster in cluster::places(&data) {
        survivors::stop_postgres(&data, &cluster, progress)?;
    }
    remove_data(&data)
}

/// Whether servers were ever started in this folder.
#[must_use]
pub fn has_data(data: &Path) -> bool {
    data.join(SECRETS).exists()
}

/// Passwords that `Debug` does not show.
struct Hidden(Secrets);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(hidden)")
    }
}

fn remove_data(data: &DataDir) -> Result<()> {
    cluster::remove_outside(data)?;
    postgres::remove_leftovers(data.root())?;
    // The secrets go last: when this is cut short, the next start notices that a cluster was there.
    for path in [data.postgres(), data.nats(), data.logs(), data.ports(), data.secrets()] {
        remove_if_there(&path)?;
    }
    Ok(())
}

fn find_binaries(
    options: &Options,
    cluster: &Cluster,
    ourselves: &Identity,
    theirs: &Identity,
) -> Result<Versions> {
    let wanted = cluster.exists.then(|| cluster.major()).flatten();
    let search = Search::postgres(theirs, options.cache.as_deref(), wanted);
    let postgres =
        search.find_or_install(options.binaries, &options.progress)?.ok_or_else(|| {
            Error::ClusterVersion {
                cluster: cluster.path.clone(),
                major: wanted.unwrap_or_default(),
            }
        })?;
    let nats = Search::nats(ourselves, options.cache.as_deref())
        .find_or_install(options.binaries, &options.progress)?;
    let nats =
        nats.ok_or(Error::WrongState { server: Server::Nats.name(), problem: "was not found" })?;
    Ok(Versions { nats, postgres })
}

/// Makes the cluster and the passwords agree. Passwords are written last, so that a kill at any
/// point is made good by the next start.
fn settle(
    data: &DataDir,
    cluster: &Cluster,
    postgres: &Path,
    identity: &Identity,
    options: &Options,
) -> Result<Secrets> {
    if let Some(secrets) = read_json(&data.secrets())? {
        return Ok(secrets);
    }
    let secrets = Secrets::generate()?;
    if cluster.exists {
        options.progress.say("the passwords were lost; the roles get new ones");
        postgres::set_passwords(cluster, postgres, identity, &secrets)?;
    } else {
        postgres::create(
            cluster,
            postgres,
            identity,
            &secrets,
            options.durability,
            &options.progress,
        )?;
    }
    write_json(&data.secrets(), &secrets)?;
    Ok(secrets)
}

fn reserve_ports(data: &DataDir, options: &Options) -> Result<[Reservation; 2]> {
    let remembered: Option<Ports> = read_json(&data.ports())?;
    let (old_nats, old_postgres) =
        (remembered.map(|ports| ports.nats), remembered.map(|ports| ports.postgres));
    let nats = ports::reserve(Server::Nats, options.nats_port, old_nats, &options.progress)?;
    let postgres =
        ports::reserve(Server::Postgres, options.postgres_port, old_postgres, &options.progress)?;
    let chosen = Ports { nats: nats.port, postgres: postgres.port };
    if remembered != Some(chosen) {
        write_json(&data.ports(), &chosen)?;
    }
    Ok([nats, postgres])
}

/// Renames a log that has grown large, so that the two of them bound what logs take.
fn set_aside(log: &Path) -> Result<()> {
    match fs::metadata(log) {
        Ok(found) if found.len() > LOG_LIMIT => {
            fs::rename(log, log.with_extension("log.old")).doing("rename", log)
        }
        _ => Ok(()),
    }
}
