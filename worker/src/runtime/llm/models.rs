//! Which model is asked, where, and with whose key.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use reqwest::{Client, Url};
use secrecy::SecretString;
use sluice_proto::message::AgentError;

use crate::agents::Provider;
use crate::runtime::failure;

/// Endpoints remembered for taking no schema.
const MAX_REMEMBERED: usize = 100;

/// The model that is asked where nobody names one.
#[derive(Clone)]
pub struct LlmSettings {
    /// Base of an OpenAI-compatible API, for example `https://openrouter.ai/api/v1`.
    pub base_url: Url,
    /// Its key; empty when it needs none.
    pub api_key: SecretString,
    /// The model.
    pub model: String,
}

impl fmt::Debug for LlmSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmSettings").field("model", &self.model).finish_non_exhaustive()
    }
}

/// Every model that can be asked.
pub(crate) struct Models {
    pub(super) http: Client,
    default: Option<LlmSettings>,
    providers: BTreeMap<String, Provider>,
    plain: Mutex<HashSet<String>>,
}

/// One model at one provider.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) api_key: Option<SecretString>,
    pub(super) model: String,
}

impl Models {
    pub(crate) fn new(
        http: Client,
        default: Option<LlmSettings>,
        providers: BTreeMap<String, Provider>,
    ) -> Self {
        Self { http, default, providers, plain: Mutex::default() }
    }

    /// The model to ask: at a named provider, or the default one.
    pub(super) fn endpoint(
        &self,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> Result<Endpoint, AgentError> {
        let given = |text: Option<&str>| {
            text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let (base, api_key, own_model) = match (provider, &self.default) {
            (Some(name), _) => {
                let block = self
                    .providers
                    .get(name)
                    .ok_or_else(|| no_model(&format!("provider '{name}' is not set up")))?;
                (&block.base_url, block.api_key.clone(), block.model.as_deref())
            }
            (None, Some(settings)) => {
                (&settings.base_url, Some(settings.api_key.clone()), Some(settings.model.as_str()))
            }
            (None, None) => return Err(no_model("no model is configured")),
        };
        let model = given(model)
            .or_else(|| given(own_model))
            .ok_or_else(|| no_model("no model is named"))?;
        Ok(Endpoint {
            url: format!("{}/chat/completions", base.as_str().trim_end_matches('/')),
            api_key,
            model,
        })
    }

    /// Whether it refused a schema before.
    pub(super) fn takes_schema(&self, endpoint: &Endpoint) -> bool {
        !self.plain.lock().unwrap_or_else(PoisonError::into_inner).contains(&endpoint.key())
    }

    pub(super) fn remember_plain(&self, endpoint: &Endpoint) {
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if plain.len() < MAX_REMEMBERED {
            plain.insert(endpoint.key());
        }
    }
}

impl Endpoint {
    fn key(&self) -> String {
        format!("{} {}", self.url, self.model)
    }
}

fn no_model(what: &str) -> AgentError {
    failure(
        "no_model",
        false,
        format!(
            "{what}: set SLUICE_LLM_BASE_URL, SLUICE_LLM_API_KEY and SLUICE_LLM_MODEL, or a block under 'providers:' in agents.yaml"
        ),
    )
}
