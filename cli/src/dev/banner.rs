//! What `sluice dev` says once it is up.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sluice_proto::api::{HealthResponse, TemplateSummary, TemplatesResponse, verb};
use sluice_servers::Servers;

use super::folder::DataFolder;
use super::session::{Agents, Up};
use super::stack::Stack;
use crate::config::key;
use crate::output;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_TEMPLATES_SHOWN: usize = 5;

pub(super) async fn show(up: &Up<'_>) {
    let Up { stack, folder, servers, .. } = up;
    let api = up.url();
    let versions = servers.versions();
    let templates = templates(stack).await;
    let item = |name: &str, text: &str| output::line(format!("  {name:<11}{text}"));
    output::line("\nSluice is up.\n");
    item("API", &format!("{api}  (described at {api}/openapi.json)"));
    item("State", &format!("http://{}  read-only", stack.gateway.state_addr()));
    item("Templates", &names(&templates));
    for (name, text) in agents(up) {
        item(name, &text);
    }
    item(
        "Servers",
        &format!("nats-server {}, PostgreSQL {}", versions.nats.version, versions.postgres.version),
    );
    item("Data", &format!("{}  (kept; --fresh wipes it)", folder.root().display()));
    if let Some(hint) = connection_hint(stack, folder, servers, &api) {
        item("Tools", &hint);
    }
    item("Promise", "at-least-once dispatch, at-most-once commit per attempt,");
    item("", "effects exactly once for agents that honour the idempotency key");
    item("Durability", &postgres_durability(stack).await);
    item("", "NATS may forget its last seconds in a crash; what it forgets is sent again");
    if let Some(template) = templates.iter().find(|template| template.valid) {
        output::line(format!("\nStart a run:\n  {}", curl(&api, template)));
    }
    output::line("\nCtrl-C stops everything; the data stay.");
}

/// Whose agents work, and on which project.
fn agents(up: &Up<'_>) -> Vec<(&'static str, String)> {
    let names = match up.names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    match up.agents {
        Agents::Named => {
            let entry = up.config.entry(key::AGENTS_FILE);
            let file = entry.shown().unwrap_or_default();
            vec![("Agents", format!("{names}  ({file}, named by {})", entry.origin))]
        }
        Agents::Example(example) => vec![
            ("Agents", format!("{names}  (the example's; --agents FILE names others)")),
            ("", example.agents_file().display().to_string()),
            (
                "Project",
                "the example's shop, unless a run's context names another in project_path".into(),
            ),
            (
                "",
                format!(
                    "{}; a branch it does not have means a prepared one",
                    example.home().display()
                ),
            ),
        ],
    }
}

async fn templates(stack: &Stack) -> Vec<TemplateSummary> {
    let answer = stack.bus.api(verb::TEMPLATE_LIST, &json!({}), None, ANSWER_TIMEOUT).await;
    let listed =
        answer.ok().and_then(|bytes| serde_json::from_slice::<TemplatesResponse>(&bytes).ok());
    listed.unwrap_or_default().templates
}

fn names(templates: &[TemplateSummary]) -> String {
    let shown = templates.iter().take(MAX_TEMPLATES_SHOWN).map(|template| {
        let broken = if template.valid { "" } else { " (invalid)" };
        format!("{}{broken}", template.template_name)
    });
    match templates.len() {
        0 => "none; name a folder with --templates".to_owned(),
        n if n > MAX_TEMPLATES_SHOWN => {
            format!("{} and {} more", shown.collect::<Vec<_>>().join(", "), n - MAX_TEMPLATES_SHOWN)
        }
        _ => shown.collect::<Vec<_>>().join(", "),
    }
}

/// The passwords go to a file that only its owner can read, not to the screen.
fn connection_hint(
    stack: &Stack,
    folder: &DataFolder,
    servers: &Servers,
    api: &str,
) -> Option<String> {
    let state = format!("http://{}", stack.gateway.state_addr());
    let written = folder.write_connection(&[
        ("SLUICE_URL", api),
        ("SLUICE_STATE_URL", &state),
        ("SLUICE_NATS_URL", &servers.nats_url()),
        ("SLUICE_DATABASE_URL", &servers.database_url()),
        ("SLUICE_DATABASE_OWNER_URL", &servers.database_owner_url()),
    ]);
    match written {
        Ok(path) => Some(format!("`. {}` tells a shell where everything is", path.display())),
        Err(error) => {
            tracing::warn!(%error, "the connection file could not be written");
            None
        }
    }
}

async fn postgres_durability(stack: &Stack) -> String {
    let answer = stack.bus.api(verb::SYSTEM_HEALTH, &json!({}), None, ANSWER_TIMEOUT).await;
    let health =
        answer.ok().and_then(|bytes| serde_json::from_slice::<HealthResponse>(&bytes).ok());
    let Some(health) = health else { return "unknown: the coordinator did not say".to_owned() };
    let (fsync, commit) = (health.fsync.as_str(), health.synchronous_commit.as_str());
    let meaning = match (fsync, commit) {
        ("on", "off") => "the last moments before a crash can be lost",
        ("on", _) => "what was answered survives a crash of this machine",
        _ => "a crash of this machine can lose everything",
    };
    format!("PostgreSQL fsync={fsync}, synchronous_commit={commit}: {meaning}")
}

fn curl(api: &str, template: &TemplateSummary) -> String {
    let context: Map<String, Value> =
        template.required_context.iter().map(|key| (key.clone(), "example".into())).collect();
    let body = json!({"template_name": template.template_name, "context": context}).to_string();
    let body = body.replace('\'', r"'\''");
    format!(
        "curl -s -X POST {api}/workflow/execute -H 'Content-Type: application/json' -d '{body}'"
    )
}
