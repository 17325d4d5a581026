//! `sluice restore`: runs from files, back in a database that has lost them. Works on the database itself and
//! needs no server of ours.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sluice_coordinator::{RecordStore, RestoreError, Restored, TemplateSource};
use sluice_proto::ids::WorkflowId;
use sluice_proto::verify::KeyRing;

use crate::args::Global;
use crate::config::{Config, key};
use crate::error::CliError;
use crate::output::{self, Format};
use crate::{export_file, roles};

/// Arguments of `sluice restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// Files that `sluice audit --compress` or `sluice export` has written
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The database they go into [default: SLUICE_DATABASE_URL]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// A template of these runs that neither the database nor the templates folder has; may be given again
    #[arg(long, value_name = "FILE")]
    template: Vec<PathBuf>,
}

/// Every file stands by itself; fails in the end if one was refused.
pub(crate) async fn run(global: &Global, args: RestoreArgs) -> Result<(), CliError> {
    let config = super::load(global, [])?;
    let keys = roles::key_ring(&config)?.ok_or_else(|| {
        CliError::Usage(
            "only what is signed is restored: set SLUICE_EVENT_SECRET, and former secrets in \
             SLUICE_RETIRED_EVENT_SECRETS"
                .to_owned(),
        )
    })?;
    let url = match &args.database {
        Some(url) => url,
        None => config.needed(key::DATABASE_URL, "restoring runs")?,
    };
    let texts = texts(&config, &args.template)?;
    let store = RecordStore::open(url)
        .await
        .map_err(|error| CliError::Failed(format!("the database cannot be written: {error}")))?;
    let mut refused = 0;
    for file in longest_first(&args.files) {
        let told = match restore(&store, file, &keys, &texts).await {
            Ok(told) => told,
            Err(error) => {
                refused += 1;
                json!({"file": file, "error": error.to_string()})
            }
        };
        match global.format(Format::Text) {
            Format::Json => output::json_line(&told),
            Format::Text => show(&told),
        }
    }
    match refused {
        0 => Ok(()),
        n => Err(CliError::Failed(format!("{n} of {} files were refused", args.files.len()))),
    }
}

/// A run that was archived again later has several files, and the longest one has all that the others have.
fn longest_first(files: &[PathBuf]) -> Vec<&PathBuf> {
    let events = |file: &Path| export_file::read(file).map_or(0, |(_, events)| events.len());
    let mut counted: Vec<(usize, &PathBuf)> =
        files.iter().map(|file| (events(file), file)).collect();
    counted.sort_by_key(|(events, _)| std::cmp::Reverse(*events));
    counted.into_iter().map(|(_, file)| file).collect()
}

async fn restore(
    store: &RecordStore,
    file: &Path,
    keys: &KeyRing,
    texts: &[(String, String)],
) -> Result<Value, CliError> {
    let (id, events) = export_file::read(file)?;
    let id = WorkflowId::parse(&id).map_err(|error| CliError::Failed(error.to_string()))?;
    let restored = store.restore(&id, &events, keys, texts).await.map_err(|error| {
        let hint = match error {
            RestoreError::NoTemplate { .. } => "; give it with --template FILE",
            _ => "",
        };
        CliError::Failed(format!("{error}{hint}"))
    })?;
    let is_new = restored == Restored::Written;
    Ok(json!({"file": file, "workflow_id": id, "events": events.len(), "restored": is_new}))
}

fn show(told: &Value) {
    let text = |field: &str| told[field].as_str().unwrap_or("-");
    if let Some(error) = told["error"].as_str() {
        return output::line(format!("{} {}: {error}", output::mark("✗"), text("file")));
    }
    let done = match told["restored"] == true {
        true => "restored",
        false => "was there already",
    };
    let (mark, events) = (output::mark("✓"), &told["events"]);
    output::line(format!("{mark} {} with {events} events: {done}", text("workflow_id")));
}

/// Templates that may be those of the runs: given ones, and those that coordinators here use.
fn texts(config: &Config, given: &[PathBuf]) -> Result<Vec<(String, String)>, CliError> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(CliError::io("read", path))?;
        Ok((path.display().to_string(), text))
    };
    let mut texts = given.iter().map(read).collect::<Result<Vec<_>, CliError>>()?;
    match roles::templates(config)? {
        TemplateSource::Embedded(all) => {
            texts.extend(all.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())));
        }
        TemplateSource::Dir(folder) => {
            let entries = std::fs::read_dir(&folder).map_err(CliError::io("read", &folder))?;
            let paths = entries.flatten().map(|entry| entry.path());
            let is_template = |path: &PathBuf| path.to_string_lossy().ends_with(".workflow.yaml");
            // One that cannot be read is not the one that is looked for.
            texts.extend(paths.filter(is_template).filter_map(|path| read(&path).ok()));
        }
    }
    Ok(texts)
}
