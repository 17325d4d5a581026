//! PostgreSQL: making a cluster with its roles, and starting it.
//!
//! Roles and the database are made in single-user mode, where the server reads SQL on its standard
//! input. So this crate needs no database driver, and no password crosses a connection before the
//! roles have theirs.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::command::{Identity, last_words, run};
use crate::datadir::{prefixed, remove_if_there};
use crate::error::{Error, IoContext, Result};
use crate::options::{Durability, Progress};
use crate::proc_table;
use crate::secrets::Secrets;

pub(crate) const SUPERUSER: &str = "postgres";
pub(crate) const OWNER: &str = "sluice_owner";
pub(crate) const APP: &str = "sluice_app";
pub(crate) const DATABASE: &str = "workflow_state";

const STAGING: &str = "postgres.new-";
const LEFTOVER_LIMIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(1);
const MAX_CONNECTIONS: u16 = 100;
const STARTING_UP: &str = "57P03";

/// Makes a cluster beside its place and moves it there when it is whole.
pub(crate) fn create(
    cluster: &Cluster,
    postgres: &Path,
    identity: &Identity,
    secrets: &Secrets,
    durability: Durability,
    progress: &Progress,
) -> Result<()> {
    let begun = Instant::now();
    remove_leftovers(cluster.parent())?;
    // A name that was never used: the initdb of a killed run may still be writing to another one.
    let name = format!("{STAGING}{:016x}", fastrand::u64(..));
    let password_file = cluster.parent().join(format!("{name}.password"));
    let staging = cluster.parent().join(name);
    let made = make_for(&staging, &password_file, identity, secrets).and_then(|()| {
        let mut initdb = identity.command(&postgres.with_file_name("initdb"), "KILL");
        initdb.args([
            "--username",
            SUPERUSER,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        initdb.args(["--data-checksums", "--no-instructions"]);
        initdb.args((durability == Durability::Test).then_some("--no-sync"));
        initdb.arg("--pwfile").arg(&password_file).arg("--pgdata").arg(&staging);
        check("initdb", cluster, run(initdb, "").doing("run", Path::new("initdb"))?)?;
        run_sql(cluster, &staging, postgres, identity, durability, &roles_and_database(secrets))?;
        std::fs::rename(&staging, &cluster.path).doing("move into place", &cluster.path)
    });
    let tidied = remove_if_there(&password_file).and_then(|()| remove_if_there(&staging));
    made.and(tidied)?;
    let seconds = begun.elapsed().as_secs_f32();
    progress
        .say(format!("made a PostgreSQL cluster in {} in {seconds:.1} s", cluster.path.display()));
    Ok(())
}

/// Gives the roles of a stopped cluster new passwords.
pub(crate) fn set_passwords(
    cluster: &Cluster,
    postgres: &Path,
    identity: &Identity,
    secrets: &Secrets,
) -> Result<()> {
    let roles = [
        (SUPERUSER, &secrets.superuser_password),
        (OWNER, &secrets.owner_password),
        (APP, &secrets.app_password),
    ];
    let sql: String = roles
        .map(|(role, password)| format!("alter role {role} password '{password}';\n"))
        .concat();
    run_sql(cluster, &cluster.path, postgres, identity, Durability::Full, &sql)
}

/// The arguments of the server. Everything is given here, so that an upgrade of Sluice reaches
/// clusters that exist.
pub(crate) fn arguments(cluster: &Path, port: u16, durability: Durability) -> Vec<String> {
    let settings = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", String::new()),
        ("max_connections", MAX_CONNECTIONS.to_string()),
        ("log_destination", "stderr".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_line_prefix", "%m [%p] ".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("timezone", "UTC".to_owned()),
    ];
    let mut arguments = vec!["-D".to_owned(), cluster.display().to_string()];
    for (name, value) in settings {
        arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    arguments.extend(durability_arguments(durability));
    arguments
}

/// Looks whether our server lets people log in; else says what was seen.
pub(crate) async fn look(port: u16, cluster: &Path, pid: i32) -> std::result::Result<(), String> {
    if !postmaster_is(cluster, pid) {
        return Err("it has not taken its cluster".to_owned());
    }
    let reply = tokio::time::timeout(LOOK, ask_to_log_in(port)).await;
    reply.map_err(|_| "it did not answer".to_owned())?.map_err(|error| error.to_string())?
}

/// Whether the server that holds the cluster is the one we started, and not another that took our
/// port.
fn postmaster_is(cluster: &Path, pid: i32) -> bool {
    let text = std::fs::read_to_string(cluster.join("postmaster.pid")).unwrap_or_default();
    text.lines().next().is_some_and(|line| line.trim() == pid.to_string())
}

/// Sends the first message of the protocol. A server that is up asks for a password; nobody logs in
/// here.
async fn ask_to_log_in(port: u16) -> std::io::Result<std::result::Result<(), String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&startup_message(SUPERUSER, DATABASE)).await?;
    let mut reply = [0; 512];
    let mut filled = 0;
    // The answer is short. It ends when the buffer, the message or the connection does.
    while filled < 5 || (filled < 1 + message_length(&reply) && filled < reply.len()) {
        match stream.read(&mut reply[filled..]).await? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(judge(&reply[..filled]))
}

fn startup_message(user: &str, database: &str) -> Vec<u8> {
    const PROTOCOL_3_0: u32 = 3 << 16;
    let mut body = PROTOCOL_3_0.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body].concat()
}

fn message_length(reply: &[u8]) -> usize {
    reply[1..5].iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}

/// `R` asks for a password; `E` is an error whose field `C` is the code and `M` the text.
fn judge(reply: &[u8]) -> std::result::Result<(), String> {
    match reply.split_first() {
        Some((b'R', _)) => Ok(()),
        Some((b'E', rest)) => {
            let fields: Vec<_> =
                rest.get(4..).unwrap_or_default().split(|byte| *byte == 0).collect();
            let field = |kind| {
                fields.iter().find_map(|field| field.strip_prefix(&[kind])).unwrap_or_default()
            };
            let (code, message) =
                (String::from_utf8_lossy(field(b'C')), String::from_utf8_lossy(field(b'M')));
            match &*code {
                STARTING_UP => Err(message.into_owned()),
                _ => Err(format!("it answered {code}: {message}")),
            }
        }
        _ => Err("it closed the connection".to_owned()),
    }
}

/// `synchronous_commit` stays on for tests too: without it a killed server forgets what it has
/// acknowledged up to a fifth of a second before, and a claim that was granted is granted again.
fn durability_arguments(durability: Durability) -> Vec<String> {
    let flush = if durability == Durability::Full { "on" } else { "off" };
    let settings = [("synchronous_commit", "on"), ("fsync", flush), ("full_page_writes", flush)];
    settings.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
}

/// Removes what a killed run was making. Its programs may still be at it: initdb does not take its
/// own children along.
pub(crate) fn remove_leftovers(parent: &Path) -> Result<()> {
    for path in prefixed(parent, STAGING)? {
        proc_table::wait_until(LEFTOVER_LIMIT, || {
            proc_table::postgres_concerned_with(&path)
                .into_iter()
                .for_each(|pid| proc_table::signal(pid, Signal::KILL));
            remove_if_there(&path).is_ok()
        });
        remove_if_there(&path)?;
    }
    Ok(())
}

/// Makes an empty folder for the cluster, and a file with the superuser's password that only
/// initdb's user may read.
fn make_for(
    staging: &Path,
    password_file: &Path,
    identity: &Identity,
    secrets: &Secrets,
) -> Result<()> {
    DirBuilder::new().mode(0o700).create(staging).doing("create folder", staging)?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(password_file)
        .doing("create", password_file)?;
    file.write_all(secrets.superuser_password.as_bytes()).doing("write", password_file)?;
    if let Some(user) = &identity.user {
        for path in [staging, password_file] {
            chown(path, Some(user.uid), Some(user.gid)).doing("change the owner of", path)?;
        }
    }
    Ok(())
}

fn roles_and_database(secrets: &Secrets) -> String {
    let Secrets { owner_password, app_password, .. } = secrets;
    // In single-user mode a line is a statement.
    format!(
        "create role {OWNER} login password '{owner_password}';\n\
         create role {APP} login password '{app_password}';\n\
         create database {DATABASE} owner {OWNER};\n\
         revoke all on database {DATABASE} from public;\n\
         grant connect on database {DATABASE} to {APP};\n"
    )
}

fn run_sql(
    cluster: &Cluster,
    folder: &Path,
    postgres: &Path,
    identity: &Identity,
    durability: Durability,
    sql: &str,
) -> Result<()> {
    let mut single = identity.command(postgres, "KILL");
    single.arg("--single").arg("-D").arg(folder);
    // A statement that fails holds a password; it must not be repeated in what we print.
    single.args(["-c", "log_min_error_statement=panic", "-c", "exit_on_error=on"]);
    single.args(durability_arguments(durability)).arg("postgres");
    let output = run(single, sql).doing("run", postgres)?;
    check("postgres --single", cluster, output)
}

fn check(step: &'static str, cluster: &Cluster, output: Output) -> Result<()> {
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::ClusterCreation {
            step,
            cluster: cluster.path.clone(),
            output: last_words(&output),
        }),
    }
}

/// The address of a database for one role.
pub(crate) fn url(role: &str, password: &str, port: u16, database: &str) -> String {
    format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_startup_message_is_what_the_protocol_says() {
        let message = startup_message("u", "d");
        assert_eq!(message, b"\x00\x00\x00\x1b\x00\x03\x00\x00user\0u\0database\0d\0\0");
    }

    #[test]
    fn judges_the_first_reply() {
        assert_eq!(judge(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"), Ok(()));
        let starting = b"E\0\0\0\x2aSFATAL\0C57P03\0Mthe database system is starting up\0\0";
        assert_eq!(judge(starting), Err("the database system is starting up".to_owned()));
        assert_eq!(
            judge(b"E\0\0\0\x10C53300\0Mfull\0\0"),
            Err("it answered 53300: full".to_owned())
        );
        assert!(judge(b"").is_err());
    }
}
