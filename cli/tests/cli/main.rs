//! The binary as a user meets it: its output, its exit codes, and `sluice dev` from start to stop.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod dev;
mod docs;
mod prompts;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};

/// The binary in an empty environment and an empty folder.
fn sluice(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.current_dir(&folder.0).env_clear();
    for name in ["PATH", "HOME", "SLUICE_CACHE_DIR", "SLUICE_NATS_SERVER", "SLUICE_PG_BIN"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn run(folder: &Folder, args: &[&str]) -> (i32, String, String) {
    told(sluice(folder).args(args).output().unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sluice-cli-{}-{name}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A gateway that gives one answer, once.
fn answer_once(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let length = body.len();
    let reply =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // What is asked does not matter, only that something is.
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(reply.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).ok();
    });
    url
}

#[test]
fn exit_codes_say_what_happened() {
    let folder = Folder::new("codes");
    let refused = r#"{"detail":"no workflow 'x'","code":"workflow_not_found"}"#;
    let cases: [(&[&str], i32, &str); 6] = [
        (&["run"], 2, "<TEMPLATE>"),
        (&["status", "x", "--url", "not a url"], 2, "url"),
        (&["list", "--url", "http://127.0.0.1:1"], 3, "sluice dev"),
        (
            &["status", "x", "--url", &answer_once("404 Not Found", refused)],
            1,
            "error: no workflow 'x'",
        ),
        (&["status", "x", "--url", &answer_once("502 Bad Gateway", "<html>")], 1, "502"),
        (&["coordinator", "--config", "missing.yaml"], 2, "missing.yaml"),
    ];
    for (args, code, said) in cases {
        let (found, out, err) = run(&folder, args);
        assert_eq!((found, out.as_str()), (code, ""), "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
}

#[test]
fn status_prints_json_and_nothing_else() {
    let folder = Folder::new("status");
    let url = answer_once("200 OK", r#"{"workflow_id":"x","status":"running","b":1,"a":2}"#);
    let (code, out, err) = run(&folder, &["status", "x", "--url", &url]);
    let expected =
        "{\n  \"workflow_id\": \"x\",\n  \"status\": \"running\",\n  \"b\": 1,\n  \"a\": 2\n}\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, expected, ""));
}

#[test]
fn run_prints_where_to_look() {
    let folder = Folder::new("run");
    let url = answer_once("200 OK", r#"{"workflow_id":"hotfix-1"}"#);
    let (code, out, _) = run(&folder, &["run", "hotfix", "-c", "pr_number=1", "--url", &url]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        format!("✓ Workflow started: hotfix-1\nMonitor: {url}/workflow/status/hotfix-1\n")
    );
}

#[test]
fn a_coordinator_refuses_weak_secrets() {
    let folder = Folder::new("secret");
    for (secret, said) in [
        ("", "SLUICE_EVENT_SECRET"),
        ("too-short", "at least 32"),
        ("too-short-too-short-too-short-changeme", "anybody can guess"),
        (
            "too-short00000000000000000000000000000000".trim_start_matches("too-short"),
            "anybody can guess",
        ),
    ] {
        let started =
            sluice(&folder).arg("coordinator").env("SLUICE_EVENT_SECRET", secret).output().unwrap();
        let (code, _, err) = told(started);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(said) && !err.contains("too-short"), "{err}");
    }
}

#[test]
fn config_masks_secrets_and_tells_where_values_come_from() {
    let folder = Folder::new("config");
    folder.write("sluice.yaml", "lease: 4s\nllm_api_key: hush\n");
    let shown = sluice(&folder)
        .arg("config")
        .env("DATABASE_URL", "postgres://u:hush@h/d")
        .output()
        .unwrap();
    let (code, out, _) = told(shown);
    assert_eq!(code, 0);
    assert!(!out.contains("hush"), "{out}");
    for part in ["postgres://u:****@h/d", "DATABASE_URL", "sluice.yaml:1:8", "default"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    folder.write("sluice.yaml", "leese: 4s\n");
    let (code, _, err) = run(&folder, &["config"]);
    assert_eq!(
        (code, err.as_str()),
        (2, "error: sluice.yaml:1:1: unknown key 'leese', did you mean 'lease'?\n")
    );
}

#[test]
fn templates_are_checked_without_a_server() {
    let folder = Folder::new("template");
    folder.write("good.workflow.yaml", sluice_tests::processes::site::ASK);
    folder.write("bad.workflow.yaml", "name: x\n");
    let (code, out, _) = run(&folder, &["template", "validate", "good.workflow.yaml"]);
    assert_eq!((code, out.as_str()), (0, "good.workflow.yaml: valid, 1 steps\n"));
    let (code, out, err) =
        run(&folder, &["template", "validate", "good.workflow.yaml", "bad.workflow.yaml"]);
    assert_eq!(code, 1);
    assert!(out.contains("bad.workflow.yaml:1:1: error: ") && err.contains("1 of 2"), "{out}{err}");
    let (code, of_folder, _) = run(&folder, &["template", "validate", "."]);
    assert!(code == 1 && of_folder.contains("good.workflow.yaml: valid"), "{of_folder}");
}

#[test]
fn completions_are_generated() {
    let folder = Folder::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&folder, &["completions", shell]);
        assert!(code == 0 && out.contains("coordinator"), "{shell}");
    }
}
