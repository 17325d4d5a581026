//! `sluice audit`: reports about runs, and the way of old ones into the archive and into files.

mod archive;
mod report;

use std::path::PathBuf;

use serde_json::{Value, json};
use sluice_proto::api::{EndedResponse, EndedRun};

use super::export::FileFormat;
use crate::args::{Global, flag};
use crate::client::Client;
use crate::config::key;
use crate::error::CliError;
use crate::output::{self, Format};

/// Runs whose files are written again by `--compress` when they are missing, days since they were archived.
const COMPRESSED_DAYS: u32 = 30;

/// Arguments of `sluice audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// Runs that ended in so many days up to now
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// This run only, whether or not it has ended
    #[arg(long, value_name = "ID", conflicts_with = "days")]
    workflow_id: Option<String>,
    /// Folder of the files, made if it is not there [env: SLUICE_AUDIT_DIR] [default: workflow-audits]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<String>,
    /// What the reports are; several are separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = DEFAULT_FORMAT)]
    format: Vec<FileFormat>,
    /// Move the events of runs that ended long ago into the archive, where everything still finds them
    #[arg(long)]
    archive: bool,
    /// How long ago at least, days
    #[arg(long, value_name = "N", default_value_t = 90, requires = "archive", value_parser = clap::value_parser!(u32).range(0..=36_500))]
    archive_days: u32,
    /// Write what went into the archive in the last 30 days into gzip files, one a run
    #[arg(long)]
    compress: bool,
}

const DEFAULT_FORMAT: &str = "pdf";

/// What an audit works with.
struct Audit {
    client: Client,
    folder: PathBuf,
    format: Format,
    formats: Vec<FileFormat>,
    /// How much was done, and how much of that failed.
    done: u64,
    failed: u64,
}

/// Does what was asked for, goes on behind what fails, and fails in the end if anything has.
pub(crate) async fn run(global: &Global, args: AuditArgs) -> Result<(), CliError> {
    let flags = flag(key::AUDIT_DIR, "--output-dir", args.output_dir.as_ref());
    let config = super::load(global, flags)?;
    let folder = PathBuf::from(config.required(key::AUDIT_DIR));
    std::fs::create_dir_all(&folder).map_err(CliError::io("make", &folder))?;
    let mut audit = Audit {
        client: Client::new(config.required(key::URL))?,
        folder,
        format: global.format(Format::Text),
        formats: args.format,
        done: 0,
        failed: 0,
    };
    match &args.workflow_id {
        Some(id) => audit.report_one(id).await?,
        None => audit.report_all(args.days).await?,
    }
    let mut summary = json!({"reports": audit.done, "folder": audit.folder});
    if args.archive {
        match audit.archive(args.archive_days).await {
            Ok(moved) => {
                summary["archived"] = json!({"runs": moved.runs, "events": moved.events});
            }
            // What was archived before can be written into files all the same.
            Err(error) => audit.tell("archive", Err(error)).await?,
        }
    }
    if args.compress {
        summary["compressed"] = audit.compress().await?.into();
    }
    summary["failed"] = audit.failed.into();
    audit.conclude(&summary)
}

impl Audit {
    /// Every run of a list that comes in pages, in the order in which they ended or were archived.
    async fn page(
        &self,
        days: u32,
        archived: bool,
        after: Option<(String, String)>,
    ) -> Result<EndedResponse, CliError> {
        let (days, archived) = (days.to_string(), archived.to_string());
        let mut query = vec![("days", days.as_str()), ("archived", archived.as_str())];
        if let Some((at, id)) = &after {
            query.extend([("after_at", at.as_str()), ("after_id", id.as_str())]);
        }
        self.client.get(&["workflows", "ended"], &query).await
    }

    /// One result: a line for people or for programs. Only what makes going on pointless is an error.
    async fn tell(&mut self, id: &str, result: Result<Value, CliError>) -> Result<(), CliError> {
        self.done += 1;
        let told = match result {
            // One answer that took too long is the failure of one audit.
            Err(error @ CliError::Unreachable { .. }) if !self.answers().await => {
                return Err(error);
            }
            Err(error) => json!({"workflow_id": id, "valid": null, "error": error.to_string()}),
            Ok(told) => told,
        };
        if told["valid"] != true {
            self.failed += 1;
        }
        match self.format {
            Format::Json => output::json_line(&told),
            Format::Text => show(&told),
        }
        Ok(())
    }

    async fn answers(&self) -> bool {
        self.client.get::<Value>(&["health"], &[]).await.is_ok()
    }

    fn conclude(&self, summary: &Value) -> Result<(), CliError> {
        match self.format {
            Format::Json => output::json_line(summary),
            Format::Text => {
                let (runs, folder) = (&summary["reports"], self.folder.display());
                output::line(format!("runs reported: {runs}, in {folder}"));
                if let Some(archived) = summary.get("archived") {
                    let (runs, events) = (&archived["runs"], &archived["events"]);
                    output::line(format!("runs archived: {runs}, with {events} events"));
                }
                if let Some(compressed) = summary.get("compressed") {
                    output::line(format!("runs compressed: {compressed}"));
                }
            }
        }
        match self.failed {
            0 => Ok(()),
            n => Err(CliError::Failed(format!("{n} of {} audits failed, see above", self.done))),
        }
    }
}

fn show(told: &Value) {
    let id = told["workflow_id"].as_str().unwrap_or("-");
    if let Some(error) = told["error"].as_str() {
        return output::line(format!("{} {id}: {error}", output::mark("✗")));
    }
    let events = &told["events"];
    let files: Vec<&str> =
        told["files"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let files = files.join(", ");
    output::line(match told["valid"] == true {
        true => {
            format!("{} {id}: {events} events as they were written: {files}", output::mark("✓"))
        }
        false => {
            let findings = told["findings"].as_array().map_or(0, Vec::len);
            let mark = output::mark("✗");
            format!("{mark} {id}: TAMPERED WITH: {findings} findings in {events} events: {files}")
        }
    });
    for finding in told["findings"].as_array().into_iter().flatten() {
        let text = |field: &str| finding[field].as_str().unwrap_or("-").replace('_', " ");
        let sequence = &finding["sequence"];
        output::line(format!(
            "  event {sequence}: {}, field {}: {}",
            text("damage"),
            text("field"),
            text("detail")
        ));
    }
}

/// Digits of a moment: `20310304` of its day, or `20310304_050607`.
fn digits(moment: &str, with_time: bool) -> String {
    let digits: Vec<char> = moment.chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, time) = digits.split_at(digits.len().min(8));
    let day: String = day.iter().collect();
    match with_time {
        true => format!("{day}_{}", time.iter().collect::<String>()),
        false => day,
    }
}

/// Where the next page begins.
fn behind(page: &EndedResponse) -> Option<(String, String)> {
    page.next.as_ref().map(|next| (next.at.to_string(), next.workflow_id.clone()))
}

/// What is wanted of a run for the names of its files.
struct Named {
    id: String,
    template: String,
}

impl From<&EndedRun> for Named {
    fn from(run: &EndedRun) -> Self {
        Self { id: run.workflow_id.to_string(), template: run.template_name.clone() }
    }
}
