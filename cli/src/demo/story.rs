//! What happens in the demo, in order.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_engine::template::{self, StepKind};
use sluice_proto::event::Status;
use tokio::time::sleep;

use super::pull_request::{PullRequest, TEMPLATE};
use super::{services, timeline};
use crate::client::Client;
use crate::dev::Up;
use crate::embedded::TEMPLATES;
use crate::error::CliError;
use crate::example::{Example, quoted};
use crate::output;
use crate::progress::{self, Decision, History, Screen, duration};

const POLL: Duration = Duration::from_millis(100);
/// How long a run that an earlier demo left unfinished may take; each of its agents has a shorter limit.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(600);
/// Who decides when nobody is asked.
const APPROVER: &str = "demo";
/// Where client commands look when they are not told.
const USUAL_URL: &str = "http://127.0.0.1:8001";

pub(super) struct Story {
    pub(super) pull_request: PullRequest,
    pub(super) example: Example,
    /// Nobody is asked, and the demo ends with the run.
    pub(super) alone: bool,
}

/// How the run ended.
pub(super) struct End {
    status: Status,
    outputs: Value,
}

impl Story {
    /// From a clean shop to the end of the run. Without an approval of its own it waits for a person's,
    /// shows the rest, and goes on serving.
    pub(super) async fn play(&self, up: &Up<'_>) -> Result<End, CliError> {
        let url = up.url();
        let client = Client::new(&url)?;
        self.clear(&client).await?;
        let mut run = Run::start(&client, &self.pull_request).await?;
        self.introduce(&client, &run);
        run.follow(|history| history.decision.is_some()).await?;
        if let Some(decision) = run.history.decision.clone() {
            show_decision(&decision);
            match self.alone {
                true => run.approve(&decision).await?,
                false => self.ask(&url, &run),
            }
            run.follow(|_| false).await?;
        }
        let end = run.end().await?;
        if self.alone {
            return Ok(end);
        }
        self.show_result(&end).await.unwrap_or_else(|error| output::note(format!("{error}")));
        output::line(format!("\nSluice goes on serving at {url}. Ctrl-C stops it."));
        pending().await
    }

    /// Puts the shop back to where the pull request is open. Runs of an earlier demo that were
    /// interrupted at work finish that before; those that wait for a person can wait on.
    async fn clear(&self, client: &Client) -> Result<(), CliError> {
        for status in ["running", "pending", "paused"] {
            let left: Value = client.get(&["workflows"], &[("status", status)]).await?;
            for run in left.as_array().into_iter().flatten() {
                let id = run["workflow_id"].as_str().unwrap_or_default();
                match status {
                    "paused" => {
                        output::note(format!("· {id} of an earlier demo still waits for a person"))
                    }
                    _ => settle(client, id).await?,
                }
            }
        }
        if self.example.has_worked() {
            output::note(
                "· the shop goes back to its first release: the pull request is open again",
            );
            self.example.forget_work().await?;
            self.example.unpack()?;
        }
        Ok(())
    }

    fn introduce(&self, client: &Client, run: &Run<'_>) {
        let PullRequest { number, branch, title, .. } = self.pull_request;
        output::line(format!("\nPull request #{number} of the shop: {title} ({branch})\n"));
        let item = |name: &str, text: &str| output::line(format!("  {name:<9}{text}"));
        item("Run", &client.address(&["workflow", "status", &run.id]));
        item("Workflow", TEMPLATE);
        item("Agents", &self.example.agents_file().display().to_string());
        item("Project", &self.repository().display().to_string());
        output::line("");
    }

    fn repository(&self) -> PathBuf {
        self.example.home().join("repository.git")
    }

    /// Says how a person lets the run go on.
    fn ask(&self, url: &str, run: &Run<'_>) {
        let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let (program, id) = (quoted(&program), &run.id);
        let to = if url == USUAL_URL { String::new() } else { format!(" --url {url}") };
        output::line("\nDecide in another terminal, as whoever you are:\n");
        output::line(format!("  {program} resume {id} approved --approver you{to}"));
        output::line(format!("  {program} resume {id} rejected --approver you{to}"));
        output::line("\nThe rest is shown here. Ctrl-C stops everything; the run can wait.\n");
    }

    /// Looks from outside at what was left behind, and says how to go on. What is not as the run says
    /// is an error, and so is a run that did not end as it should.
    pub(super) async fn show_result(&self, end: &End) -> Result<(), CliError> {
        output::line("\nWhat runs now, fetched from outside:\n");
        for slot in end.slots()? {
            let health = services::health(&slot.url).await?;
            let Slot { name, url, version, before } = &slot;
            let (serves, status) = (&health.version, &health.status);
            output::line(format!("  {name:<11} {url}  {serves}  {status}  (before: {before})"));
            if serves != version {
                return Err(CliError::Failed(format!(
                    "{name} serves {serves}, and the run left {version} there"
                )));
            }
        }
        if let Some(url) = end.production_url() {
            let page = self.pull_request.page;
            let answer = services::fetch(&format!("{url}{page}")).await?;
            output::line(format!("\n  $ curl -s '{url}{page}'\n  {answer}"));
        }
        if let Some(entry) = end.outputs["update_docs"]["entry"].as_str() {
            if !services::is_in_changelog(&self.repository(), entry).await? {
                return Err(CliError::Failed("the changelog on main lacks its entry".to_owned()));
            }
            let repository = quoted(&self.repository());
            output::line(format!("\n  $ git --git-dir {repository} show main:CHANGELOG.md"));
            output::line(format!("  {entry}"));
        }
        output::line(
            "\nThe services of the shop are no part of Sluice and run on. This ends them:\n",
        );
        output::line(format!("  {}", self.example.by_hand("stop")));
        self.judge(end)
    }

    fn judge(&self, end: &End) -> Result<(), CliError> {
        if end.status == self.pull_request.end {
            return Ok(());
        }
        let (found, expected) = (end.status.as_str(), self.pull_request.end.as_str());
        Err(CliError::Failed(format!("the run ended {found}; approved, it ends {expected}")))
    }
}

impl End {
    /// Every slot that was deployed to.
    fn slots(&self) -> Result<Vec<Slot>, CliError> {
        let undone = self.outputs["rollback_production"].is_object();
        let production = if undone { "rollback_production" } else { "deploy_production" };
        let staging = self.slot("staging", "deploy_staging", "deploy_staging");
        let production = self.slot("production", "deploy_production", production);
        if let Some(slot) = production.as_ref().filter(|slot| undone && slot.version != slot.before)
        {
            return Err(CliError::Failed(format!(
                "the rollback left {}, and before the deployment it was {}",
                slot.version, slot.before
            )));
        }
        Ok(staging.into_iter().chain(production).collect())
    }

    /// None when the run did not come so far. `last` is the step that touched the slot last.
    fn slot(&self, name: &'static str, deployed: &str, last: &str) -> Option<Slot> {
        let text = |step: &str, field: &str| self.outputs[step][field].as_str().map(str::to_owned);
        Some(Slot {
            name,
            url: text(last, "url")?,
            version: text(last, "version")?,
            before: text(deployed, "previous_version")?,
        })
    }

    fn production_url(&self) -> Option<&str> {
        self.outputs["deploy_production"]["url"].as_str()
    }
}

/// A place where a release runs, as the run left it.
struct Slot {
    name: &'static str,
    url: String,
    /// What it must serve.
    version: String,
    /// What it served before the run.
    before: String,
}

/// The run of the demo.
struct Run<'a> {
    client: &'a Client,
    id: String,
    history: History,
    seen: usize,
    screen: Screen,
}

impl<'a> Run<'a> {
    async fn start(client: &'a Client, pull_request: &PullRequest) -> Result<Self, CliError> {
        let (steps, workers) = cast()?;
        let started: Value = client.post(&["workflow", "execute"], &pull_request.request()).await?;
        let Some(id) = started["workflow_id"].as_str() else {
            return Err(CliError::Failed(format!("the answer names no run: {started}")));
        };
        let (id, history, screen) = (id.to_owned(), History::of(workers), Screen::new(steps));
        Ok(Self { client, id, history, seen: 0, screen })
    }

    /// Shows what happens until the run has ended, or until there is something else to do.
    async fn follow(&mut self, enough: impl Fn(&History) -> bool) -> Result<(), CliError> {
        loop {
            progress::catch_up(self.client, &self.id, &mut self.history, &mut self.seen).await?;
            self.screen.show(&self.history, progress::now());
            if self.history.ended.is_some() || enough(&self.history) {
                self.screen.finish();
                return Ok(());
            }
            // Somebody who thinks it over is not asked ten times a second.
            sleep(if self.history.decision.is_some() { POLL * 5 } else { POLL }).await;
        }
    }

    async fn approve(&self, decision: &Decision) -> Result<(), CliError> {
        output::line(format!("\n`{APPROVER}` approves as {}.\n", decision.role));
        let request = json!({
            "approval_decision": "approved",
            "approver": APPROVER,
            "approver_role": decision.role,
            "comment": "the demo was told to approve",
        });
        self.client.post::<Value>(&["workflow", "resume", &self.id], &request).await.map(drop)
    }

    /// The end with its timeline, once the run has ended.
    async fn end(&self) -> Result<End, CliError> {
        let Some((at, status)) = self.history.ended else {
            return Err(CliError::Failed(format!("{} has not ended", self.id)));
        };
        let took = self.history.started.map(|started| duration(at.ms_since(started)));
        output::line(format!(
            "\n{} {} after {}.\n",
            self.id,
            status.as_str(),
            took.unwrap_or_default()
        ));
        timeline::lines(&self.history).iter().for_each(output::line);
        let state: Value = self.client.get(&["workflow", "status", &self.id], &[]).await?;
        if let Some(reason) = state["error_message"].as_str() {
            output::line(format!("\n  Why: {reason}"));
        }
        Ok(End { status, outputs: state["outputs"].clone() })
    }
}

/// The steps of the template in order, and who works in each.
fn cast() -> Result<(Vec<String>, BTreeMap<String, String>), CliError> {
    let text = TEMPLATES.iter().find(|(name, _)| *name == TEMPLATE).map_or("", |(_, text)| text);
    let Some(template) = template::load(TEMPLATE, text).template else {
        return Err(CliError::Failed(format!("{TEMPLATE} of this binary cannot be read")));
    };
    let workers = template.steps.iter().filter_map(|(id, step)| match &step.kind {
        StepKind::AgentCall(call) => Some((id.clone(), call.agent.to_string())),
        _ => None,
    });
    Ok((template.steps.keys().cloned().collect(), workers.collect()))
}

fn show_decision(decision: &Decision) {
    let Decision { role, risk, reasoning, details } = decision;
    output::line(format!("\nA person decides: {role}, {risk} risk: {reasoning}\n"));
    let width = details.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    for (name, value) in details {
        output::line(format!("  {name:width$}  {value}"));
    }
}

/// Waits until an earlier run waits for a person or has ended.
async fn settle(client: &Client, id: &str) -> Result<(), CliError> {
    output::note(format!("· {id} of an earlier demo was interrupted and goes on first"));
    let until = Instant::now() + LEFTOVER_LIMIT;
    loop {
        let state: Value = client.get(&["workflow", "status", id], &[]).await?;
        match state["status"].as_str() {
            Some("running" | "pending") if Instant::now() < until => sleep(POLL).await,
            Some("running" | "pending") => {
                return Err(CliError::Failed(format!(
                    "{id} of an earlier demo does not end; name another folder with --data"
                )));
            }
            status => {
                output::note(format!("· {id}: {}", status.unwrap_or("unknown")));
                return Ok(());
            }
        }
    }
}
