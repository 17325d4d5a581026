//! Audits as a schedule makes them: reports, the archive, files of it, and runs back from those files; with
//! the program, and with the script that schedules know.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sluice_tests::processes::process::Process;
use sluice_tests::processes::site::{ASK, Site};
use sluice_tests::run;
use sqlx::Executor;

const LIMIT: Duration = Duration::from_secs(30);
const SCRIPT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../support/scripts/generate_audit_reports.py");

struct Scene {
    site: Site,
    processes: [Process; 2],
}

impl Scene {
    /// `ask-1` is completed, `ask-2` cancelled, and `ask-3` waits for a person.
    async fn start(name: &str) -> Self {
        let mut site = Site::shared(name).await;
        site.template("ask", ASK);
        site.agents("agents: {}\n");
        let coordinator = site.coordinator("coordinator").await;
        let gateway = site.gateway().await;
        for id in ["ask-1", "ask-2", "ask-3"] {
            site.api.begin("ask", id).await;
            site.api.wait_for(id, "paused", LIMIT).await;
        }
        let scene = Self { site, processes: [coordinator, gateway] };
        let approval = ["resume", "ask-1", "approved", "--approver", "ada", "--role", "tech_lead"];
        assert_eq!(scene.sluice(&approval).0, 0);
        scene.site.api.wait_for("ask-1", "completed", LIMIT).await;
        scene.site.api.delete("/workflow/ask-2?reason=no").await.unwrap();
        scene
    }

    /// Exit code, standard output, standard error.
    fn sluice(&self, args: &[&str]) -> (i32, String, String) {
        self.output(Command::new(env!("CARGO_BIN_EXE_sluice")).args(args), &[])
    }

    fn script(&self, args: &[&str], own: &[(&str, &str)]) -> (i32, String, String) {
        self.output(Command::new("python3").arg(SCRIPT).args(args), own)
    }

    fn output(&self, command: &mut Command, own: &[(&str, &str)]) -> (i32, String, String) {
        command.current_dir(self.site.folder.path()).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.site.environment()).env("SLUICE_URL", &self.site.api.url);
        command.envs(own.iter().copied());
        let output = tokio::task::block_in_place(|| command.output()).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.folder.path().join(name)
    }

    /// Names of the files in a folder, sorted.
    fn files(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn pack(path: &Path, bytes: &[u8]) {
    let mut packer = GzEncoder::new(std::fs::File::create(path).unwrap(), Default::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap();
}

fn unpack(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut bytes).unwrap();
    bytes
}

#[test]
fn runs_are_reported_with_their_verdict() {
    run(async {
        let scene = Scene::start("audits").await;
        let (code, out, err) = scene.sluice(&["audit", "--format", "json", "--output-dir", "out"]);
        assert!(code == 0 && out.contains("✓ ask-1: ") && out.contains("✓ ask-2: "), "{out}{err}");
        assert!(!out.contains("ask-3") && out.contains("runs reported: 2, in out"), "{out}");
        let files = scene.files("out");
        assert!(
            files.len() == 2
                && files[0].starts_with("audit_report_ask_ask-1_")
                && files[0].ends_with(".json"),
            "{files:?}"
        );
        let (code, out, err) = scene.sluice(&["verify", &format!("out/{}", files[0])]);
        assert!(code == 0 && out.starts_with("✓ ask-1: "), "{out}{err}");

        // One run, in two formats, and open as it is.
        let args = ["audit", "--workflow-id", "ask-3", "--format", "json,csv,pdf", "-o", "json"];
        let (code, out, err) = scene.sluice(&args);
        let lines: Vec<Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((code, lines.len(), err.as_str()), (0, 2, ""), "{out}");
        assert_eq!(lines[0]["valid"], true);
        assert_eq!(lines[0]["files"].as_array().unwrap().len(), 3);
        assert_eq!(scene.files("workflow-audits").len(), 3);
        assert_eq!(lines[1]["failed"], 0);

        let (code, _, err) = scene.sluice(&["audit", "--workflow-id", "nobody"]);
        assert!(code == 1 && err.contains("no workflow 'nobody'"), "{err}");
        for args in [
            &["audit", "--days", "0"][..],
            &["audit", "--days", "x"],
            &["audit", "--days", "3", "--workflow-id", "ask-1"],
            &["audit", "--format", "docx"],
            &["audit", "--archive-days", "3"],
        ] {
            assert_eq!(scene.sluice(args).0, 2, "{args:?}");
        }
        std::fs::write(scene.path("taken"), "x").unwrap();
        let (code, _, err) = scene.sluice(&["audit", "--output-dir", "taken"]);
        assert!(code == 1 && err.contains("taken"), "{err}");
        let nowhere = ["audit", "--url", "http://127.0.0.1:1"];
        assert_eq!(scene.sluice(&nowhere).0, 3);

        // Somebody changes what was recorded: it is said, and the report is written all the same.
        let pool = scene.site.pool().await;
        pool.execute("alter table events disable trigger user").await.unwrap();
        pool.execute(
            "update events set signature = decode(repeat('00', 32), 'hex') where workflow_id = 'ask-1' and sequence = 2",
        )
        .await
        .unwrap();
        pool.close().await;
        let (code, out, err) =
            scene.sluice(&["audit", "--format", "json", "--output-dir", "later"]);
        assert!(code == 1 && out.contains("✗ ask-1: TAMPERED WITH: 1 findings"), "{out}{err}");
        assert!(out.contains("event 2: ") && out.contains("✓ ask-2: "), "{out}");
        assert!(err.contains("1 of 2 audits failed"), "{err}");
        assert_eq!(scene.files("later").len(), 2);
    });
}

#[test]
fn archived_runs_go_into_files_and_come_back() {
    run(async {
        let scene = Scene::start("archives").await;
        let args = [
            "audit",
            "--archive",
            "--archive-days",
            "0",
            "--compress",
            "--output-dir",
            "out",
            "--format",
            "json",
        ];
        let (code, out, err) = scene.sluice(&args);
        assert!(code == 0 && out.contains("runs archived: 2, with "), "{out}{err}");
        assert!(out.contains("runs compressed: 2"), "{out}");
        let packed: Vec<String> =
            scene.files("out").into_iter().filter(|name| name.ends_with(".json.gz")).collect();
        assert!(
            packed.len() == 2 && packed[0].starts_with("archived_events_ask-1_20"),
            "{packed:?}"
        );
        assert!(!scene.files("out").iter().any(|name| name.starts_with('.')), "no part is left");
        let file = format!("out/{}", packed[0]);
        let whole = std::fs::read(scene.path(&file)).unwrap();
        let (code, out, err) = scene.sluice(&args);
        assert!(code == 0 && out.contains("runs archived: 0, with 0 events"), "{out}{err}");
        assert_eq!(std::fs::read(scene.path(&file)).unwrap(), whole, "it was left alone");
        // What is archived is still found.
        let (code, out, _) = scene.sluice(&["replay", "ask-1", "-o", "text"]);
        assert!(code == 0 && out.contains("lead to completed"), "{out}");

        let mutations = mutate(&scene, &file);
        println!("{mutations} changes of a file, each noticed by verify");
        assert!(mutations > 40, "{mutations}");
        let (code, out, _) = scene.sluice(&args);
        assert!(code == 1 && out.contains("holds another record"), "{out}");
        std::fs::write(scene.path(&file), &whole).unwrap();
        restore(&scene, &file, &packed).await;
    });
}

/// A file with something changed in it: every field of every event, events gone or in another order, and
/// bytes that are none.
fn mutate(scene: &Scene, file: &str) -> usize {
    let path = scene.path(file);
    let events: Vec<Value> = serde_json::from_slice(&unpack(&path)).unwrap();
    let mut changed = Vec::new();
    for (n, event) in events.iter().enumerate() {
        for field in event.as_object().unwrap().keys() {
            let mut events = events.clone();
            events[n][field] = match &event[field] {
                Value::Number(number) => json!(number.as_u64().unwrap() + 1),
                Value::String(text) => json!(format!("{text}0")),
                _ => json!("x"),
            };
            changed.push((format!("{field} of {}", n + 1), events));
        }
        // What is cut off at the end only a database or a checkpoint can know.
        if n + 1 < events.len() {
            let mut gone = events.clone();
            gone.remove(n);
            let mut swapped = events.clone();
            swapped.swap(n, n + 1);
            changed.push((format!("no {}", n + 1), gone));
            changed.push((format!("{} and the next", n + 1), swapped));
        }
    }
    let whole = std::fs::read(&path).unwrap();
    for cut in [whole.len() - 1, whole.len() / 2, 5] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(scene.sluice(&["verify", file]).0, 1, "cut off at {cut}");
    }
    for (what, events) in &changed {
        pack(&path, &serde_json::to_vec(events).unwrap());
        let (code, out, err) = scene.sluice(&["verify", file]);
        assert!(code == 1 && out.contains("TAMPERED WITH"), "{what}: {out}{err}");
    }
    changed.len() + 3
}

async fn restore(scene: &Scene, file: &str, packed: &[String]) {
    let pool = scene.site.pool().await;
    let all: Vec<String> = packed.iter().map(|name| format!("out/{name}")).collect();
    let args = [&["restore"][..], &all.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    let (code, out, err) = scene.sluice(&args);
    assert!(code == 0 && out.matches("was there already").count() == 2, "{out}{err}");
    let before = scene.site.api.get("/workflow/ask-1/events").await.unwrap().1;
    // The database is lost, in part.
    for statement in [
        "alter table events_archive disable trigger user",
        "delete from events_archive where workflow_id in ('ask-1', 'ask-2')",
        "delete from approvals where workflow_id in ('ask-1', 'ask-2')",
        "delete from snapshots",
        "delete from runs where workflow_id in ('ask-1', 'ask-2')",
        "delete from templates",
    ] {
        pool.execute(statement).await.unwrap();
    }
    assert_eq!(scene.site.api.get("/workflow/status/ask-1").await.unwrap().0, 404);
    let path = scene.path(file);
    let whole = std::fs::read(&path).unwrap();
    let text = String::from_utf8(unpack(&path)).unwrap();
    pack(&path, text.replace("tech_lead", "intern").as_bytes());
    let (code, out, _) = scene.sluice(&["restore", file]);
    assert!(code == 1 && out.contains("it is not what was written"), "{out}");
    std::fs::write(&path, &whole).unwrap();
    let no_secret = scene.output(
        Command::new(env!("CARGO_BIN_EXE_sluice")).args(["restore", file]),
        &[("SLUICE_EVENT_SECRET", "")],
    );
    assert!(no_secret.0 == 2 && no_secret.2.contains("SLUICE_EVENT_SECRET"), "{}", no_secret.2);
    let (code, out, _) = {
        std::fs::rename(scene.path("templates/ask.workflow.yaml"), scene.path("ask.yaml")).unwrap();
        scene.sluice(&["restore", file])
    };
    assert!(code == 1 && out.contains("ask.workflow.yaml") && out.contains("--template"), "{out}");
    assert_eq!(scene.sluice(&["restore", file, "--template", "ask.yaml"]).0, 0);
    let (code, out, err) = scene.sluice(&args);
    assert!(
        code == 0 && out.contains("✓ ask-1 with ") && out.contains("ask-2 with "),
        "{out}{err}"
    );
    assert_eq!(
        (out.matches(": restored").count(), out.matches("was there already").count()),
        (1, 1),
        "{out}"
    );
    let after = scene.site.api.get("/workflow/ask-1/events").await.unwrap().1;
    assert_eq!(after, before);
    for id in ["ask-1", "ask-2"] {
        let (code, out, err) = scene.sluice(&["replay", id, "-o", "text"]);
        assert!(code == 0, "{id}: {out}{err}");
        assert_eq!(scene.sluice(&["verify", id]).0, 0);
    }
    // An open run is nothing to restore, and another past is not written over.
    assert_eq!(scene.sluice(&["export", "ask-3", "--file", "open.json"]).0, 0);
    let (code, out, _) = scene.sluice(&["restore", "open.json"]);
    assert!(code == 1 && out.contains("had not ended"), "{out}");
    pool.execute("alter table events disable trigger user").await.unwrap();
    pool.execute("delete from events where workflow_id = 'ask-1' and sequence > 2").await.unwrap();
    let (code, out, _) = scene.sluice(&["restore", file]);
    assert!(code == 1 && out.contains("other events of this run"), "{out}");
    pool.close().await;
}

#[test]
fn the_script_of_the_schedule_does_what_its_flags_say() {
    run(async {
        let mut scene = Scene::start("scripts").await;
        let bin = [("SLUICE_BIN", env!("CARGO_BIN_EXE_sluice"))];
        let (code, out, err) = scene.script(&["--format", "json"], &bin);
        assert!(code == 0 && out.contains("runs reported: 2, in workflow-audits"), "{out}{err}");
        let month = ["--days", "30", "--format=csv", "--output-dir", "a month"];
        let (code, out, err) = scene.script(&month, &bin);
        assert!(code == 0 && scene.files("a month").len() == 2, "{out}{err}");
        let one = ["--workflow-id", "ask-1", "--output-dir", "one", "--format", "json"];
        assert_eq!(scene.script(&one, &bin).0, 0);
        assert_eq!(scene.files("one").len(), 1);
        let (code, out, err) = scene.script(&["--archive", "--compress", "--format", "json"], &bin);
        assert!(code == 0 && out.contains("runs archived: 0, with 0 events"), "{out}{err}");

        // A value is a value, whatever is in it.
        for id in ["nobody", "$(touch x)", "; touch x", "--archive", "-x"] {
            let (code, out, _) = scene.script(&[&format!("--workflow-id={id}")], &bin);
            assert_eq!(code, 1, "{id}: {out}");
        }
        assert!(!scene.path("x").exists());
        for args in [&["--days", "0"][..], &["--days", "many"], &["--format", "docx"], &["x"]] {
            assert_eq!(scene.script(args, &bin).0, 2, "{args:?}");
        }
        let none = [("SLUICE_BIN", "/nowhere/sluice")];
        let (code, _, err) = scene.script(&[], &none);
        assert!(code == 2 && err.contains("no sluice program"), "{err}");
        let on_path = Path::new(bin[0].1).parent().unwrap().to_str().unwrap();
        let path = format!("{on_path}:{}", std::env::var("PATH").unwrap());
        let (code, out, err) =
            scene.script(&["--output-dir", "by path", "--format", "json"], &[("PATH", &path)]);
        assert!(code == 0 && scene.files("by path").len() == 2, "{out}{err}");

        "http://127.0.0.1:1".clone_into(&mut scene.site.api.url);
        let (code, _, err) = scene.script(&[], &bin);
        assert!(code == 1 && err.contains("nothing answers"), "{err}");
        drop(scene.processes);
    });
}
