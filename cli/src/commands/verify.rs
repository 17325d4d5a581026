//! `sluice verify`: whether a record is what was written. A run is asked of the gateway, a file and a
//! database are looked at here, and need no server of ours.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sluice_coordinator::{RecordStore, StoreError};
use sluice_proto::api::VerifyResponse;
use sluice_proto::verify::{self, Finding, KeyRing, StoredEvent};

use crate::args::Global;
use crate::config::{Config, key};
use crate::error::CliError;
use crate::output::{self, Format};
use crate::roles;

/// Arguments of `sluice verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Id of a run, or a file that `sluice export` has written; every run of the database when absent
    #[arg(value_name = "ID|FILE", required_unless_present = "database")]
    target: Option<String>,
    /// Look into this database, live or restored, and ask no gateway [default: SLUICE_DATABASE_URL]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    database: Option<String>,
}

/// Checks, tells, and fails when anything is wrong.
pub(crate) async fn run(global: &Global, args: VerifyArgs) -> Result<(), CliError> {
    let config = super::load(global, [])?;
    let found = find(global, &config, &args).await?;
    match (global.format(Format::Text), found.as_slice()) {
        (Format::Json, [one]) if args.target.is_some() => output::json(one),
        (Format::Json, all) => all.iter().for_each(output::json_line),
        (Format::Text, all) => all.iter().for_each(show),
    }
    let damaged: Vec<&str> =
        found.iter().filter(|run| !run.valid).map(|run| run.workflow_id.as_str()).collect();
    match damaged.as_slice() {
        [] => Ok(()),
        [one] => Err(CliError::Failed(format!("the record of {one} is not what was written"))),
        many => Err(CliError::Failed(format!(
            "{} of {} records are not what was written",
            many.len(),
            found.len()
        ))),
    }
}

async fn find(
    global: &Global,
    config: &Config,
    args: &VerifyArgs,
) -> Result<Vec<VerifyResponse>, CliError> {
    if let Some(url) = &args.database {
        let keys = keys(config)?;
        return in_database(config, url, args.target.as_deref(), &keys).await;
    }
    let target = args.target.as_deref().unwrap_or_default();
    let file = PathBuf::from(target);
    if file.is_file() {
        return Ok(vec![in_file(&file, &keys(config)?)?]);
    }
    let client = super::client(global)?;
    Ok(vec![client.get(&["workflow", target, "verify"], &[]).await?])
}

/// The keys of the configuration, without which nobody can say that a signature is right.
fn keys(config: &Config) -> Result<KeyRing, CliError> {
    roles::key_ring(config)?.ok_or_else(|| {
        CliError::Usage(
            "signatures can only be checked with the secrets that made them; set SLUICE_EVENT_SECRET, \
             and former ones in SLUICE_RETIRED_EVENT_SECRETS"
                .to_owned(),
        )
    })
}

async fn in_database(
    config: &Config,
    url: &str,
    only: Option<&str>,
    keys: &KeyRing,
) -> Result<Vec<VerifyResponse>, CliError> {
    let url = match url {
        "" => config.needed(key::DATABASE_URL, "looking into a database")?,
        url => url,
    };
    let store = RecordStore::open(url).await.map_err(failed)?;
    if let Some(id) = only {
        let record = store.read(id).await.map_err(failed)?;
        let record =
            record.ok_or_else(|| CliError::Failed(format!("the database has no run '{id}'")))?;
        return Ok(vec![record.verify(Some(keys), &[])]);
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let ids = store.ids(&after).await.map_err(failed)?;
        let Some(last) = ids.last() else { return Ok(found) };
        last.clone_into(&mut after);
        for id in &ids {
            if let Some(record) = store.read(id).await.map_err(failed)? {
                found.push(record.verify(Some(keys), &[]));
            }
        }
    }
}

fn failed(error: StoreError) -> CliError {
    CliError::Failed(format!("the database cannot be looked into: {error}"))
}

fn in_file(path: &Path, keys: &KeyRing) -> Result<VerifyResponse, CliError> {
    let (workflow_id, events) = read(path)?;
    let verdict = verify::verify(&workflow_id, &events, Some(keys), &[]);
    let valid = verdict.is_valid() && !events.is_empty();
    Ok(VerifyResponse { workflow_id, valid, verdict, checkpointed: None })
}

/// The run and the events of an export: a list of events, or the answer of the events route.
fn read(path: &Path) -> Result<(String, Vec<StoredEvent>), CliError> {
    let bytes = std::fs::read(path).map_err(CliError::io("read", path))?;
    let unreadable =
        |why: String| CliError::Failed(format!("{} is no export: {why}", path.display()));
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let events = value.as_array().or_else(|| value["events"].as_array());
    let events = events.ok_or_else(|| unreadable("it holds no list of events".to_owned()))?;
    if events.is_empty() {
        return Err(unreadable("it holds no event, and every run has one".to_owned()));
    }
    let id = events.iter().find_map(|event| event["workflow_id"].as_str()).unwrap_or("unknown");
    let stored = events.iter().zip(1..).map(|(event, n)| StoredEvent::from_export(event, n));
    Ok((id.to_owned(), stored.collect()))
}

fn show(run: &VerifyResponse) {
    let VerifyResponse { workflow_id, verdict, .. } = run;
    let events = verdict.events;
    if run.valid {
        let keys: Vec<&str> = verdict.key_ids.iter().map(String::as_str).collect();
        output::line(format!("✓ {workflow_id}: {events} events as they were written"));
        output::line(format!("  signed by {}, last hash {}", keys.join(", "), verdict.last_hash));
    } else {
        let n = verdict.findings.len();
        output::line(format!("✗ {workflow_id}: TAMPERED WITH: {n} findings in {events} events"));
    }
    verdict.findings.iter().for_each(tell);
}

fn tell(finding: &Finding) {
    let damage = serde_json::to_value(finding.damage).unwrap_or_default();
    let damage = damage.as_str().unwrap_or_default().replace('_', " ");
    let id = finding.event_id.as_deref().map(|id| format!(" ({id})")).unwrap_or_default();
    output::line(format!(
        "  event {}{id}: {damage}, field {}: {}",
        finding.sequence, finding.field, finding.detail
    ));
}
