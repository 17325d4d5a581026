//! `deploy/compose.yaml`: loaded by the loader that `docker compose` has, and its services run as it says, as processes.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::process::{Process, tied_to_us};
use sluice_tests::processes::site::{ASK, Api};
use sluice_tests::run;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{Connection, PgConnection};

use super::shell::named_by;

const LIMIT: Duration = Duration::from_secs(30);
const ROLES: &str = include_str!("../../../deploy/postgres/roles.sql");
/// Everything that must be set, with values that a careless parser takes for numbers.
const SECRETS: [(&str, &str); 5] = [
    ("SLUICE_EVENT_SECRET", "0123456789012345678901234567890123456789"),
    ("SLUICE_POSTGRES_PASSWORD", "100"),
    ("SLUICE_OWNER_PASSWORD", "2e10"),
    ("SLUICE_RUNTIME_PASSWORD", "300"),
    ("SLUICE_NATS_PASSWORD", "4e10"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn load(file: &Path, environment: &[(&str, &str)]) -> Output {
    let program = named_by("SLUICE_TEST_COMPOSE_CHECK", "the program of deploy/check");
    let pairs = environment.iter().map(|(name, value)| format!("{name}={value}"));
    Command::new(program).arg(file).args(pairs).output().unwrap()
}

fn project(file: &Path) -> Value {
    let loaded = load(file, &SECRETS);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    serde_json::from_slice(&loaded.stdout).unwrap()
}

fn compose() -> Value {
    project(&root().join("deploy/compose.yaml"))
}

#[test]
fn the_services_are_those_of_the_guide() {
    let project = compose();
    let services = project["services"].as_object().unwrap();
    let names: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["nats", "orchestrator", "postgres", "worker"]));
    let postgres = &services["postgres"]["environment"];
    assert_eq!(
        (&postgres["POSTGRES_USER"], &postgres["POSTGRES_DB"]),
        (&json!("postgres"), &json!("workflow_state"))
    );
    assert!(services["orchestrator"]["environment"].get("LINEAR_API_KEY").is_some());
    // From the root of the clone the same.
    let from_root = project_of_root();
    assert_eq!(
        (&from_root["name"], &from_root["services"]),
        (&project["name"], &project["services"])
    );
}

fn project_of_root() -> Value {
    project(&root().join("compose.yaml"))
}

#[test]
fn only_this_machine_reaches_the_ports_and_data_outlive_containers() {
    let project = compose();
    for (name, service) in project["services"].as_object().unwrap() {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}");
        }
        let is_checked = service["healthcheck"]["test"].is_array();
        assert!(is_checked || name == "worker", "{name} has no health check");
        // Folders and files that must be there; volumes that must be declared.
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume["source"].as_str().unwrap();
            match volume["type"].as_str() {
                Some("bind") => {
                    assert!(Path::new(source).exists(), "{name}: {source}");
                    assert_eq!(volume["read_only"], true, "{name}: {source}");
                }
                _ => assert!(project["volumes"].get(source).is_some(), "{name}: {source}"),
            }
        }
        if let Some(build) = service.get("build") {
            let folder = Path::new(build["context"].as_str().unwrap());
            assert!(folder.join(build["dockerfile"].as_str().unwrap()).is_file());
        }
    }
}

#[test]
fn without_a_secret_nothing_starts() {
    let file = root().join("deploy/compose.yaml");
    for (missing, _) in SECRETS {
        for others in [
            SECRETS.iter().copied().filter(|(name, _)| *name != missing).collect::<Vec<_>>(),
            SECRETS.map(|(name, value)| (name, if name == missing { "" } else { value })).to_vec(),
        ] {
            let loaded = load(&file, &others);
            let said = String::from_utf8_lossy(&loaded.stderr).into_owned();
            assert!(!loaded.status.success() && said.contains(missing), "{missing}: {said}");
        }
    }
}

/// The check can fail.
#[test]
fn what_is_wrong_is_found() {
    let folder = Folder::new("compose");
    let text = std::fs::read_to_string(root().join("deploy/compose.yaml")).unwrap();
    let faults = [
        ("healthcheck:", "healthchek:"),
        ("condition: service_healthy", "condition: service_fine"),
        ("{ type: volume, source: nats,", "{ type: volume, source: gnats,"),
        ("interval: 10s", "interval: soon"),
    ];
    for (right, wrong) in faults {
        assert!(text.contains(right), "{right}");
        folder.write("compose.yaml", &text.replacen(right, wrong, 1));
        let loaded = load(&folder.path().join("compose.yaml"), &SECRETS);
        assert!(!loaded.status.success(), "{wrong} was accepted");
    }
}

/// The services as processes: their commands and environments, with the places of this machine.
struct Stack {
    folder: Folder,
    places: Vec<(String, String)>,
    project: Value,
}

impl Stack {
    fn place(&self, text: &str) -> String {
        self.places.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    fn words(&self, words: &Value) -> Vec<String> {
        words.as_array().unwrap().iter().map(|word| self.place(word.as_str().unwrap())).collect()
    }

    fn sluice(&self, service: &str) -> Process {
        let it = &self.project["services"][service];
        let words = self.words(&it["command"]);
        let variables = it["environment"].as_object().unwrap();
        let variables: Vec<(&str, String)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), self.place(value.as_str().unwrap())))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Process::sluice(self.folder.path(), &format!("{service}.log"), &words, &variables)
    }

    fn nats(&self, binary: &Path) -> Process {
        let mut command = tied_to_us(&binary.display().to_string());
        command.args(self.words(&self.project["services"]["nats"]["command"]));
        Process::spawn(command, &self.folder.path().join("nats.log"))
    }

    fn is_healthy(&self, service: &str) -> bool {
        let test = self.words(&self.project["services"][service]["healthcheck"]["test"]);
        assert_eq!(test[..2], ["CMD", "sluice"]);
        let checked = Command::new(env!("CARGO_BIN_EXE_sluice")).args(&test[2..]).output();
        checked.unwrap().status.success()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Makes the roles as the container does at its first start.
async fn initialise(superuser_url: &str) -> PgConnectOptions {
    // A database of this name is in every cluster of ours, and no other test uses the shared one.
    let options: PgConnectOptions = superuser_url.parse().unwrap();
    let options = options.database("workflow_state");
    let passwords = [("sluice.owner_password", "2e10"), ("sluice.runtime_password", "300")];
    let mut session =
        PgConnection::connect_with(&options.clone().options(passwords)).await.unwrap();
    sqlx::raw_sql(ROLES).execute(&mut session).await.unwrap();
    options
}

#[test]
fn the_services_work_together_as_they_are_written_down() {
    run(async {
        let servers = sluice_tests::servers().await;
        let superuser = initialise(&servers.superuser_url()).await;
        let [nats, monitor, gateway] = [free_port(), free_port(), free_port()];
        let folder = Folder::new("compose-run");
        folder.write("templates/ask.workflow.yaml", ASK);
        let here = |path: &str| root().join(path).display().to_string();
        let places = [
            ("/etc/nats/sluice.conf", here("deploy/nats/nats.conf")),
            ("/etc/sluice/templates", folder.path().join("templates").display().to_string()),
            ("/etc/sluice/agents", here("templates")),
            ("/data", folder.path().join("nats").display().to_string()),
            ("8222", monitor.to_string()),
            ("@nats:4222", format!("@127.0.0.1:{nats}")),
            ("@postgres:5432", format!("@127.0.0.1:{}", superuser.get_port())),
            ("0.0.0.0:8001", format!("0.0.0.0:{gateway}")),
            ("127.0.0.1:8001", format!("127.0.0.1:{gateway}")),
            ("0.0.0.0:8008", "0.0.0.0:0".to_owned()),
        ];
        let places = places.map(|(there, here)| (there.to_owned(), here)).to_vec();
        let mut stack = Stack { folder, places, project: compose() };
        let command = stack.project["services"]["nats"]["command"].as_array_mut().unwrap();
        command.extend([json!("--port"), json!(nats.to_string())]);

        let mut server = stack.nats(&servers.versions().nats.path);
        server.says("Server is ready").await;
        let mut orchestrator = stack.sluice("orchestrator");
        assert!(!stack.is_healthy("orchestrator"), "before it can be");
        orchestrator.says("orchestrator is ready").await;
        assert!(stack.is_healthy("orchestrator"), "{}", orchestrator.output());
        let mut worker = stack.sluice("worker");
        worker.says("worker started").await;

        let api = Api::at(&format!("http://127.0.0.1:{gateway}"));
        api.begin("ask", "ask-1").await;
        api.wait_for("ask-1", "paused", LIMIT).await;
        api.approve_all().await;
        api.wait_for("ask-1", "completed", LIMIT).await;
        assert_eq!(asked_as(gateway, "orchestrator:8001").await, 200);
        assert_eq!(asked_as(gateway, "evil.example").await, 403);
        assert_roles_are_apart(superuser).await;

        for process in [worker, orchestrator] {
            assert_eq!(process.stopped_by(rustix::process::Signal::TERM).await, Some(0));
        }
    });
}

/// The status of a request under this name for the host.
async fn asked_as(gateway: u16, host: &str) -> u16 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{gateway}/workflows");
    http.get(url).header("host", host).send().await.unwrap().status().as_u16()
}

/// The run-time role reads what happened and cannot change it; nor can it change the schema.
async fn assert_roles_are_apart(superuser: PgConnectOptions) {
    let runtime = superuser.username("workflow_runtime").password("300");
    let pool = PgPool::connect_with(runtime).await.unwrap();
    let events: i64 =
        sqlx::query_scalar("select count(*) from workflow_events").fetch_one(&pool).await.unwrap();
    assert!(events > 0);
    for forbidden in [
        "delete from events",
        "update events set sequence = 0",
        "drop table runs",
        "create table x ()",
    ] {
        let error = sqlx::raw_sql(forbidden).execute(&pool).await.unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code()).unwrap().to_string();
        assert_eq!(code, "42501", "{forbidden}: {error}");
    }
}
