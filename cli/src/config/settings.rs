//! Every setting there is: one line each.

use super::kind::Kind::{self, Address, Duration, List, Text, Token, Url};
use super::mask::Secrecy::{self, Open, PasswordInUrl, Secret};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in `sluice.yaml`.
    pub(crate) key: &'static str,
    /// Its names in the environment; the first one wins.
    pub(crate) variables: &'static [&'static str],
    pub(crate) default: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) secrecy: Secrecy,
}

macro_rules! settings {
    ($($name:ident = $key:literal, [$($variable:literal),+], $default:expr, $kind:expr, $secrecy:expr;)+) => {
        /// Names of settings.
        #[expect(dead_code, reason = "some settings are only shown so far")]
        pub(crate) mod key {
            $(pub(crate) const $name: &str = $key;)+
        }

        /// Every setting.
        pub(crate) const SETTINGS: &[Setting] = &[$(Setting {
            key: $key,
            variables: &[$($variable),+],
            default: $default,
            kind: $kind,
            secrecy: $secrecy,
        }),+];
    };
}

const HTTP: Kind = Url(&["http", "https"]);
const NATS: Kind = Url(&["nats"]);
const POSTGRES: Kind = Url(&["postgres", "postgresql"]);

settings! {
    NATS_URL = "nats_url", ["SLUICE_NATS_URL"], Some("nats://127.0.0.1:4222"), NATS, PasswordInUrl;
    NATS_PREFIX = "nats_prefix", ["SLUICE_NATS_PREFIX"], Some("sluice"), Token, Open;
    DATABASE_URL = "database_url", ["SLUICE_DATABASE_URL", "DATABASE_URL"], None, POSTGRES, PasswordInUrl;
    DATABASE_OWNER_URL = "database_owner_url", ["SLUICE_DATABASE_OWNER_URL"], None, POSTGRES, PasswordInUrl;
    EVENT_SECRET = "event_secret", ["SLUICE_EVENT_SECRET", "WORKFLOW_EVENT_SECRET_KEY"], None, Text, Secret;
    RETIRED_EVENT_SECRETS = "retired_event_secrets", ["SLUICE_RETIRED_EVENT_SECRETS"], None, List, Secret;
    CHECKPOINT_KEY_FILE = "checkpoint_key_file", ["SLUICE_CHECKPOINT_KEY_FILE"], None, Text, Open;
    CHECKPOINT_SINK = "checkpoint_sink", ["SLUICE_CHECKPOINT_SINK"], None, Text, PasswordInUrl;
    CHECKPOINT_INTERVAL = "checkpoint_interval", ["SLUICE_CHECKPOINT_INTERVAL"], Some("60s"), Duration, Open;
    LEASE = "lease", ["SLUICE_LEASE"], Some("10s"), Duration, Open;
    WORKFLOW_TTL_HOURS = "workflow_ttl_hours", ["SLUICE_WORKFLOW_TTL_HOURS", "WORKFLOW_TTL_HOURS"], Some("24"), Kind::Count, Open;
    TEMPLATES_DIR = "templates_dir", ["SLUICE_TEMPLATES_DIR"], None, Text, Open;
    AGENTS_FILE = "agents_file", ["SLUICE_AGENTS_FILE"], None, Text, Open;
    WORKER_NAME = "worker_name", ["SLUICE_WORKER_NAME"], None, Kind::Name, Open;
    GATEWAY_ADDR = "gateway_addr", ["SLUICE_GATEWAY_ADDR"], Some("127.0.0.1:8001"), Address, Open;
    STATE_ADDR = "state_addr", ["SLUICE_STATE_ADDR"], Some("127.0.0.1:8008"), Address, Open;
    PUBLIC_URL = "public_url", ["SLUICE_PUBLIC_URL"], None, HTTP, Open;
    ALLOWED_HOSTS = "allowed_hosts", ["SLUICE_ALLOWED_HOSTS"], None, List, Open;
    ALLOWED_ORIGINS = "allowed_origins", ["SLUICE_ALLOWED_ORIGINS"], None, List, Open;
    URL = "url", ["SLUICE_URL", "ORCHESTRATOR_URL"], Some("http://localhost:8001"), HTTP, PasswordInUrl;
    LLM_BASE_URL = "llm_base_url", ["SLUICE_LLM_BASE_URL"], None, HTTP, PasswordInUrl;
    LLM_API_KEY = "llm_api_key", ["SLUICE_LLM_API_KEY"], None, Text, Secret;
    LLM_MODEL = "llm_model", ["SLUICE_LLM_MODEL"], None, Text, Open;
    LINEAR_API_URL = "linear_api_url", ["LINEAR_API_URL"], Some("https://api.linear.app/graphql"), HTTP, Open;
    LINEAR_API_KEY = "linear_api_key", ["LINEAR_API_KEY"], None, Text, Secret;
    LINEAR_TEAM_ID = "linear_team_id", ["LINEAR_TEAM_ID"], None, Text, Open;
    LINEAR_HITL_PARENT_ISSUE = "linear_hitl_parent_issue", ["LINEAR_HITL_PARENT_ISSUE"], None, Text, Open;
    LINEAR_WEBHOOK_SIGNING_SECRET = "linear_webhook_signing_secret", ["LINEAR_WEBHOOK_SIGNING_SECRET"], None, Text, Secret;
    LANGSMITH_API_KEY = "langsmith_api_key", ["LANGSMITH_API_KEY"], None, Text, Secret;
    LANGSMITH_PROJECT = "langsmith_project", ["LANGSMITH_PROJECT"], Some("agents-workflows"), Text, Open;
    OTEL_ENDPOINT = "otel_exporter_otlp_endpoint", ["OTEL_EXPORTER_OTLP_ENDPOINT"], None, HTTP, PasswordInUrl;
    OTEL_HEADERS = "otel_exporter_otlp_headers", ["OTEL_EXPORTER_OTLP_HEADERS"], None, Text, Secret;
    OTEL_PROTOCOL = "otel_exporter_otlp_protocol", ["OTEL_EXPORTER_OTLP_PROTOCOL"], None, Text, Open;
    OTEL_SERVICE_NAME = "otel_service_name", ["OTEL_SERVICE_NAME"], Some("sluice"), Text, Open;
    OTEL_RESOURCE_ATTRIBUTES = "otel_resource_attributes", ["OTEL_RESOURCE_ATTRIBUTES"], None, Text, Open;
    AUDIT_DIR = "audit_dir", ["SLUICE_AUDIT_DIR"], Some("workflow-audits"), Text, Open;
    REPORT_TEMPLATE = "report_template", ["SLUICE_REPORT_TEMPLATE"], None, Text, Open;
    LOG = "log", ["SLUICE_LOG"], Some("info"), Text, Open;
}

/// Variables of ours that are no settings.
const OTHER_VARIABLES: [&str; 8] = [
    "SLUICE_BIN",
    "SLUICE_BLESS",
    "SLUICE_CACHE_DIR",
    "SLUICE_CONFIG",
    "SLUICE_NATS_SERVER",
    "SLUICE_OUTPUT",
    "SLUICE_PG_BIN",
    "SLUICE_STATE_URL",
];

/// Whether something of ours reads this variable.
pub(crate) fn is_known_variable(name: &str) -> bool {
    OTHER_VARIABLES.contains(&name)
        || SETTINGS.iter().any(|setting| setting.variables.contains(&name))
}
