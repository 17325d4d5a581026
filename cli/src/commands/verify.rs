//! `sluice verify`: whether a record is what was written. A run is asked of the gateway, a file and a
//! database are looked at here, and need no server of ours.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sluice_coordinator::{RecordStore, StoreError, StoredRecord};
use sluice_proto::api::VerifyResponse;
use sluice_proto::checkpoint::{Checkpoint, PublicKey};
use sluice_proto::verify::{self, Damage, Finding, Head, KeyRing};

use crate::args::Global;
use crate::config::{Config, key};
use crate::error::CliError;
use crate::export_file;
use crate::output::{self, Format};
use crate::roles;

/// Arguments of `sluice verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Id of a run, or a file that `sluice export` or `sluice audit` has written; every run of the database when absent
    #[arg(value_name = "ID|FILE", required_unless_present = "database")]
    target: Option<String>,
    /// Look into this database, live or restored, and ask no gateway [default: SLUICE_DATABASE_URL]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    database: Option<String>,
    /// File of checkpoints, one a line
    #[arg(long, value_name = "FILE", requires = "public_key")]
    checkpoints: Option<PathBuf>,
    /// Public key (Ed25519, PEM) that the checkpoints are checked with; may be given again for former keys
    #[arg(long, value_name = "FILE", requires = "checkpoints")]
    public_key: Vec<PathBuf>,
}

/// What a record is checked with.
struct Means {
    /// None: signatures cannot be looked at.
    keys: Option<KeyRing>,
    /// None: nobody has given any. By run, in order.
    checkpoints: Option<BTreeMap<String, Vec<Checkpoint>>>,
}

/// Checks, tells, and fails when anything is wrong.
pub(crate) async fn run(global: &Global, args: VerifyArgs) -> Result<(), CliError> {
    let config = super::load(global, [])?;
    let found = find(global, &config, &args).await?;
    if found.is_empty() {
        return Err(CliError::Failed(
            "there is no run in this database, hence nothing to verify".to_owned(),
        ));
    }
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
    let means = Means { keys: roles::key_ring(config)?, checkpoints: checkpoints(args)? };
    if let Some(url) = &args.database {
        means.suffice()?;
        return in_database(config, url, args.target.as_deref(), &means).await;
    }
    let target = args.target.as_deref().unwrap_or_default();
    let file = PathBuf::from(target);
    if file.is_file() {
        means.suffice()?;
        let (id, events) = export_file::read(&file)?;
        return Ok(vec![means.check(
            &StoredRecord { workflow_id: id, events, strays: Vec::new(), head: None },
            true,
        )]);
    }
    let client = super::client(global)?;
    let mut found: VerifyResponse = client.get(&["workflow", target, "verify"], &[]).await?;
    if means.checkpoints.is_some() {
        let path = ["workflow", target, "events", "export"];
        let exported = client.download(&path, &[("format", "json")]).await?;
        let (id, events) = export_file::parse(target, &exported)?;
        let own = means
            .check(&StoredRecord { workflow_id: id, events, strays: Vec::new(), head: None }, true);
        for finding in own.verdict.findings {
            if !found.verdict.findings.contains(&finding) {
                found.verdict.findings.push(finding);
            }
        }
        found.checkpointed = own.checkpointed;
        found.valid = found.valid && own.valid;
    }
    Ok(vec![found])
}

impl Means {
    /// Without any secret, and without anybody who remembers the run, a record that was written anew looks
    /// whole.
    fn suffice(&self) -> Result<(), CliError> {
        match self.keys.is_some() || self.checkpoints.is_some() {
            true => Ok(()),
            false => Err(CliError::Usage(
                "signatures can only be checked with the secrets that made them; set SLUICE_EVENT_SECRET, \
                 and former ones in SLUICE_RETIRED_EVENT_SECRETS, or give --checkpoints and --public-key"
                    .to_owned(),
            )),
        }
    }

    fn check(&self, record: &StoredRecord, is_file: bool) -> VerifyResponse {
        let id = record.workflow_id.as_str();
        let own: &[Checkpoint] = match &self.checkpoints {
            Some(all) => all.get(id).map_or(&[], Vec::as_slice),
            None => &[],
        };
        let heads: Vec<Head> = own.iter().map(Checkpoint::head).collect();
        let mut found = match is_file {
            true => {
                let verdict = verify::verify(id, &record.events, self.keys.as_ref(), &heads);
                let (workflow_id, valid) = (id.to_owned(), verdict.is_valid());
                VerifyResponse { workflow_id, valid, verdict, checkpointed: None }
            }
            false => record.verify(self.keys.as_ref(), &heads),
        };
        found.checkpointed = self
            .checkpoints
            .as_ref()
            .map(|_| heads.iter().map(|head| head.sequence).max().unwrap_or(0));
        if self.keys.is_none() && found.checkpointed == Some(0) {
            // Nobody vouches for anything.
            found.valid = false;
            found.verdict.findings.push(Finding {
                sequence: 1,
                event_id: None,
                damage: Damage::Unsigned,
                field: "signature".to_owned(),
                detail: "no checkpoint knows the run, and there is no secret to check its signatures with"
                    .to_owned(),
            });
        }
        found
    }
}

/// The checkpoints that were given, each signed with one of the keys that were given.
fn checkpoints(args: &VerifyArgs) -> Result<Option<BTreeMap<String, Vec<Checkpoint>>>, CliError> {
    let Some(file) = &args.checkpoints else { return Ok(None) };
    let text = |path: &PathBuf| std::fs::read_to_string(path).map_err(CliError::io("read", path));
    let key = |path: &PathBuf| {
        PublicKey::from_pem(&text(path)?)
            .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
    };
    let keys = args.public_key.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let all = Checkpoint::read_all(&text(file)?, &keys)
        .map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))?;
    let mut by_run: BTreeMap<String, Vec<Checkpoint>> = BTreeMap::new();
    for checkpoint in all {
        by_run.entry(checkpoint.workflow_id.to_string()).or_default().push(checkpoint);
    }
    Ok(Some(by_run))
}

async fn in_database(
    config: &Config,
    url: &str,
    only: Option<&str>,
    means: &Means,
) -> Result<Vec<VerifyResponse>, CliError> {
    let url = match url {
        "" => config.needed(key::DATABASE_URL, "looking into a database")?,
        url => url,
    };
    let store = RecordStore::open(url).await.map_err(failed)?;
    if let Some(id) = only {
        let record = store.read(id).await.map_err(failed)?;
        return match record.or_else(|| means.missing(id)) {
            Some(record) => Ok(vec![means.check(&record, false)]),
            None => Err(CliError::Failed(format!("the database has no run '{id}'"))),
        };
    }
    let (mut found, mut after) = (BTreeMap::new(), String::new());
    loop {
        let ids = store.ids(&after).await.map_err(failed)?;
        let Some(last) = ids.last() else { break };
        last.clone_into(&mut after);
        for id in ids {
            if let Some(record) = store.read(&id).await.map_err(failed)? {
                found.insert(id, means.check(&record, false));
            }
        }
    }
    // Runs of which nothing is left.
    for id in means.checkpoints.iter().flat_map(BTreeMap::keys) {
        if !found.contains_key(id)
            && let Some(record) = means.missing(id)
        {
            found.insert(id.clone(), means.check(&record, false));
        }
    }
    Ok(found.into_values().collect())
}

impl Means {
    /// A run that a checkpoint remembers, and nobody else.
    fn missing(&self, id: &str) -> Option<StoredRecord> {
        let known = self.checkpoints.as_ref()?.contains_key(id);
        known.then(|| StoredRecord {
            workflow_id: id.to_owned(),
            events: Vec::new(),
            strays: Vec::new(),
            head: None,
        })
    }
}

fn failed(error: StoreError) -> CliError {
    CliError::Failed(format!("the database cannot be looked into: {error}"))
}

fn show(run: &VerifyResponse) {
    let VerifyResponse { workflow_id, verdict, .. } = run;
    let events = verdict.events;
    if run.valid {
        output::line(format!("✓ {workflow_id}: {events} events as they were written"));
        let keys: Vec<&str> = verdict.key_ids.iter().map(String::as_str).collect();
        let signed = match verdict.signatures_checked {
            true => format!("signed by {}", keys.join(", ")),
            false => "signatures were not looked at, for want of their secret".to_owned(),
        };
        output::line(format!("  {signed}; last hash {}", verdict.last_hash));
    } else {
        let n = verdict.findings.len();
        output::line(format!("✗ {workflow_id}: TAMPERED WITH: {n} findings in {events} events"));
    }
    match run.checkpointed {
        Some(0) => output::line("  no checkpoint knows this run"),
        Some(last) if last < events => output::line(format!(
            "  checkpoints vouch for events 1 to {last}; none yet for those from {} to {events}",
            last + 1
        )),
        Some(last) => output::line(format!("  checkpoints vouch for events 1 to {last}")),
        None => {}
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
