//! Starting the roles from the configuration. Everything about the other crates' settings is here.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_bus::{Bus, BusConfig};
use sluice_coordinator::{
    CheckpointConfig, CheckpointSink, Coordinator, CoordinatorConfig, TemplateSource,
};
use sluice_gateway::{Gateway, GatewayConfig};
use sluice_proto::checkpoint::CheckpointKey;
use sluice_proto::ids::{AgentName, InvalidId, WorkerName};
use sluice_proto::seal::SigningKey;
use sluice_proto::verify::KeyRing;
use sluice_worker::{AgentsFile, LlmSettings, Naming, Worker, WorkerConfig};

use crate::config::{Config, key};
use crate::embedded;
use crate::error::CliError;

/// Where the databases of a coordinator are.
pub(crate) struct Databases {
    pub(crate) url: String,
    pub(crate) owner_url: Option<String>,
}

/// A connection to the NATS at `url`.
pub(crate) async fn connect(
    config: &Config,
    url: &str,
    role: &'static str,
) -> Result<Bus, CliError> {
    let mut settings = BusConfig::new(url, config.required(key::NATS_PREFIX), role);
    settings.streams.ack_wait = Some(config.duration(key::LEASE));
    Ok(Bus::connect(settings).await?)
}

/// The configured agents; none when no file is named.
pub(crate) fn agents(config: &Config) -> Result<AgentsFile, CliError> {
    match config.path(key::AGENTS_FILE) {
        Some(path) => Ok(AgentsFile::load(&path)?),
        None => Ok(AgentsFile::default()),
    }
}

/// The configured folder of templates, else the embedded ones.
pub(crate) fn templates(config: &Config) -> Result<TemplateSource, CliError> {
    let Some(folder) = config.path(key::TEMPLATES_DIR) else {
        return Ok(TemplateSource::Embedded(embedded::TEMPLATES));
    };
    match std::fs::read_dir(&folder) {
        Ok(_) => Ok(TemplateSource::Dir(folder)),
        Err(source) => {
            Err(CliError::Io { doing: "read the templates folder", path: folder, source })
        }
    }
}

/// The secret that signs events: long enough to sign anything, and none that others know as well.
pub(crate) fn event_secret(config: &Config) -> Result<Vec<u8>, CliError> {
    let secret = config.needed(key::EVENT_SECRET, "signing events")?;
    checked(config, key::EVENT_SECRET, secret)?;
    Ok(secret.as_bytes().to_vec())
}

/// Secrets that signed events before.
pub(crate) fn retired_event_secrets(config: &Config) -> Result<Vec<Vec<u8>>, CliError> {
    let secrets = config.list(key::RETIRED_EVENT_SECRETS).into_iter();
    let checked = |secret: String| {
        checked(config, key::RETIRED_EVENT_SECRETS, &secret).map(|()| secret.into_bytes())
    };
    secrets.map(checked).collect()
}

/// How checkpoints are made; none when nothing is configured. Half a configuration is an error.
fn checkpoints(config: &Config) -> Result<Option<CheckpointConfig>, CliError> {
    let needs_both = |set: &str, missing: &str| {
        CliError::Usage(format!("{set} is set and {missing} is not; checkpoints need both"))
    };
    let (file, sink) =
        match (config.path(key::CHECKPOINT_KEY_FILE), config.text(key::CHECKPOINT_SINK)) {
            (Some(file), Some(sink)) => (file, sink),
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return Err(needs_both("SLUICE_CHECKPOINT_KEY_FILE", "SLUICE_CHECKPOINT_SINK"));
            }
            (None, Some(_)) => {
                return Err(needs_both("SLUICE_CHECKPOINT_SINK", "SLUICE_CHECKPOINT_KEY_FILE"));
            }
        };
    let text = std::fs::read_to_string(&file).map_err(CliError::io("read", &file))?;
    let key = CheckpointKey::from_pem(&text)
        .map_err(|error| CliError::Usage(format!("{}: {error}", file.display())))?;
    let sink = match sink.starts_with("http://") || sink.starts_with("https://") {
        true => CheckpointSink::Http(sink.to_owned()),
        false => CheckpointSink::File(sink.into()),
    };
    let interval = config.duration(key::CHECKPOINT_INTERVAL).as_millis();
    let interval_ms = u64::try_from(interval).unwrap_or(u64::MAX);
    Ok(Some(CheckpointConfig { key, sink, interval_ms }))
}

/// Every configured key that may have signed an event; none when no secret is configured.
pub(crate) fn key_ring(config: &Config) -> Result<Option<KeyRing>, CliError> {
    if !config.is_chosen(key::EVENT_SECRET) && !config.is_chosen(key::RETIRED_EVENT_SECRETS) {
        return Ok(None);
    }
    let mut secrets = retired_event_secrets(config)?;
    if config.is_chosen(key::EVENT_SECRET) {
        secrets.push(event_secret(config)?);
    }
    Ok(Some(secrets.iter().filter_map(|secret| SigningKey::new(secret)).collect()))
}

/// Words of secrets that stand in examples.
const PLACEHOLDERS: [&str; 6] =
    ["changeme", "change-me", "change_me", "default", "example", "your-secret"];
/// A secret that was made by chance has more different characters than this.
const MIN_DIFFERENT_BYTES: usize = 8;

fn checked(config: &Config, key: &'static str, secret: &str) -> Result<(), CliError> {
    let origin = &config.entry(key).origin;
    let what = match key {
        key::EVENT_SECRET => "the event secret",
        _ => "a retired event secret",
    };
    if secret.len() < SigningKey::MIN_SECRET_BYTES {
        return Err(CliError::Usage(format!(
            "{origin}: {what} has {} bytes and needs at least 32; `openssl rand -hex 32` makes one",
            secret.len()
        )));
    }
    let lower = secret.to_ascii_lowercase();
    let different: std::collections::BTreeSet<u8> = secret.bytes().collect();
    if different.len() < MIN_DIFFERENT_BYTES || PLACEHOLDERS.iter().any(|word| lower.contains(word))
    {
        return Err(CliError::Usage(format!(
            "{origin}: {what} is one that anybody can guess; `openssl rand -hex 32` makes one"
        )));
    }
    Ok(())
}

pub(crate) async fn coordinator(
    config: &Config,
    bus: Bus,
    databases: Databases,
    agents: &AgentsFile,
    event_secret: Vec<u8>,
) -> Result<Coordinator, CliError> {
    let lease_ms = u64::try_from(config.duration(key::LEASE).as_millis()).unwrap_or(u64::MAX);
    let settings = CoordinatorConfig {
        bus,
        database_url: databases.url,
        database_owner_url: databases.owner_url,
        templates: templates(config)?,
        agents: agents.catalogue(),
        event_secret,
        retired_event_secrets: retired_event_secrets(config)?,
        checkpoints: checkpoints(config)?,
        lease_ms,
        workflow_ttl_ms: workflow_ttl_ms(config),
        instance: instance("coordinator"),
    };
    Ok(Box::pin(Coordinator::start(settings)).await?)
}

/// Hours; 0 means never.
fn workflow_ttl_ms(config: &Config) -> Option<u64> {
    let hours = config.text(key::WORKFLOW_TTL_HOURS).and_then(|hours| hours.parse::<u64>().ok());
    hours.filter(|hours| *hours > 0).map(|hours| hours.saturating_mul(3_600_000))
}

/// Attempts at the same time, and only of which agents; every one when absent.
pub(crate) struct Share {
    pub(crate) only: Option<Vec<AgentName>>,
    pub(crate) concurrency: usize,
}

pub(crate) async fn worker(
    config: &Config,
    bus: Bus,
    agents: AgentsFile,
    share: Share,
    naming: Naming,
) -> Result<Worker, CliError> {
    let Share { only, concurrency } = share;
    let llm = model(config)?;
    let worker_id = process_of(&naming);
    let functions = Vec::new();
    let settings =
        WorkerConfig { bus, agents, functions, only, concurrency, naming, worker_id, llm };
    Ok(Worker::start(settings).await?)
}

/// The configured name of a worker, else the host's.
pub(crate) fn naming(config: &Config) -> Result<Naming, CliError> {
    let invalid = |error: InvalidId| CliError::Usage(error.to_string());
    match config.text(key::WORKER_NAME) {
        Some(name) => Ok(Naming::Chosen(WorkerName::parse(name).map_err(invalid)?)),
        None => Ok(Naming::Numbered(WorkerName::parse(&host_token()).map_err(invalid)?)),
    }
}

/// The host's name as one token; `worker` where it has none.
fn host_token() -> String {
    let token = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let host: String = host().chars().map(token).take(60).collect();
    if host.is_empty() { "worker".to_owned() } else { host }
}

/// Names this process among all that ever had the name.
fn process_of(naming: &Naming) -> WorkerName {
    let (Naming::Chosen(name) | Naming::Numbered(name)) = naming;
    let name: String = name.as_str().chars().take(80).collect();
    WorkerName::parse(&format!("{name}-{}", process())).unwrap_or_else(|_| {
        unreachable!("a name of 80 and a suffix of at most 28 token characters")
    })
}

/// The configured model; none when nothing is configured. Half a configuration is an error, because
/// every gate would fail over it much later.
fn model(config: &Config) -> Result<Option<LlmSettings>, CliError> {
    let (base_url, model) = match (config.text(key::LLM_BASE_URL), config.text(key::LLM_MODEL)) {
        (Some(base_url), Some(model)) => (base_url, model),
        (None, None) => return Ok(None),
        (None, _) => return Err(half_a_model("SLUICE_LLM_MODEL", "SLUICE_LLM_BASE_URL")),
        (_, None) => return Err(half_a_model("SLUICE_LLM_BASE_URL", "SLUICE_LLM_MODEL")),
    };
    let origin = &config.entry(key::LLM_BASE_URL).origin;
    Ok(Some(LlmSettings {
        base_url: base_url
            .parse()
            .map_err(|error| CliError::Usage(format!("{origin}: llm_base_url: {error}")))?,
        api_key: config.text(key::LLM_API_KEY).unwrap_or_default().into(),
        model: model.to_owned(),
    }))
}

fn half_a_model(there: &str, missing: &str) -> CliError {
    CliError::Usage(format!("{there} is set and {missing} is not; a model needs both"))
}

pub(crate) async fn gateway(config: &Config, bus: Bus) -> Result<Gateway, CliError> {
    let settings = GatewayConfig {
        public_url: config.text(key::PUBLIC_URL).map(str::to_owned),
        allowed_hosts: config.list(key::ALLOWED_HOSTS),
        allowed_origins: config.list(key::ALLOWED_ORIGINS),
        report_template: report_template(config)?,
        ..GatewayConfig::new(bus, config.addr(key::GATEWAY_ADDR), config.addr(key::STATE_ADDR))
    };
    Ok(Gateway::start(settings).await?)
}

fn report_template(config: &Config) -> Result<Option<Arc<str>>, CliError> {
    let Some(file) = config.text(key::REPORT_TEMPLATE) else { return Ok(None) };
    let template = std::fs::read_to_string(file).map_err(CliError::io("read", file))?;
    sluice_report::check(&template).map_err(|error| CliError::Usage(format!("{file}: {error}")))?;
    Ok(Some(template.into()))
}

/// Names this process: role, host, process id.
pub(crate) fn instance(role: &str) -> String {
    format!("{role}-{}-{}", host(), process())
}

fn host() -> String {
    let host = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    host.trim().to_owned()
}

/// A container keeps its host name and its process id over a restart, and a claim of the former process
/// must not count as one of this.
fn process() -> String {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("{}-{started:x}", std::process::id())
}
