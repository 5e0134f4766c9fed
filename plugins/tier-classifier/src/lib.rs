//! Says whose a request is, and which class it has: by its host, a header field, an API key or a
//! claim of its token, in the order the operator lists them.
//!
//! ```toml
//! [policies.classify.config]
//! sources = ["claim", "api-key", "host", "header"]     # the first that gives a tenant wins
//! host_suffix = ".example.com"                         # host: acme.example.com is tenant acme
//! api_keys = { "k-123" = "acme" }                      # api-key: the field x-api-key
//! classes = { acme = "enterprise" }                    # a claim's own `tier` goes before these
//! default_class = "free"                               # without it: the tenant's own class
//! ```
//!
//! An API key that is not listed is refused rather than ignored: nobody gets in by a weaker source
//! with a wrong key. `header` believes whoever sets `x-tenant`: list it where a proxy sets it.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_policy_sdk::{
    Classification, Classifier, ErrorCode, Input, Policy, PolicyError, Request, config, export_policy,
};

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    Host,
    Header,
    ApiKey,
    Claim,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierClassifier {
    sources: Vec<Source>,
    host_suffix: Option<String>,
    api_keys: Option<BTreeMap<String, String>>,
    #[serde(default)]
    classes: BTreeMap<String, String>,
    default_class: Option<String>,
}

/// Positions of the declared inputs.
const HOST: usize = 0;
const X_TENANT: usize = 1;
const X_API_KEY: usize = 2;
const CLAIM_TENANT: usize = 3;
const CLAIM_TIER: usize = 4;

impl Policy for TierClassifier {
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "sources": {
                "type": "array",
                "items": {"enum": ["host", "header", "api-key", "claim"]},
                "minItems": 1,
                "uniqueItems": true
            },
            "host_suffix": {"type": "string", "minLength": 1},
            "api_keys": {"type": "object", "additionalProperties": {"type": "string"}},
            "classes": {"type": "object", "additionalProperties": {"type": "string"}},
            "default_class": {"type": "string"}
        },
        "required": ["sources"],
        "additionalProperties": false
    }"#;

    fn configure(json: &str) -> Result<Self, PolicyError> {
        let mut classifier: Self = config::parse(json)?;
        let sources = &classifier.sources;
        if sources.is_empty() {
            return Err(PolicyError::config("config: sources must name at least one of host, header, api-key, claim"));
        }
        if (1..sources.len()).any(|at| sources[..at].contains(&sources[at])) {
            return Err(PolicyError::config("config: sources names one twice"));
        }
        if sources.contains(&Source::Host) && classifier.host_suffix.is_none() {
            return Err(PolicyError::config("config: the source host needs host_suffix, as \".example.com\""));
        }
        if sources.contains(&Source::ApiKey) && classifier.api_keys.is_none() {
            return Err(PolicyError::config("config: the source api-key needs api_keys, as {\"KEY\": \"TENANT\"}"));
        }
        if let Some(suffix) = &mut classifier.host_suffix {
            *suffix = suffix.to_ascii_lowercase();
        }
        Ok(classifier)
    }

    fn self_test(&self) -> Result<u32, PolicyError> {
        let nobody = Request::read([None; 5]);
        match self.classify(&nobody) {
            Err(PolicyError { code: ErrorCode::NoMatch, .. }) => Ok(1),
            _ => Err(PolicyError::config("a request without any of its sources belongs to nobody")),
        }
    }
}

impl Classifier for TierClassifier {
    fn inputs() -> Vec<Input> {
        vec![
            Input::header("host"),
            Input::header("x-tenant"),
            Input::header("x-api-key"),
            Input::claim("tenant"),
            Input::claim("tier"),
        ]
    }

    fn secret() -> Vec<Input> {
        vec![Input::header("x-api-key")]
    }

    fn classify(&self, request: &Request) -> Result<Classification, PolicyError> {
        for source in &self.sources {
            let Some(tenant) = self.tenant(*source, request)? else { continue };
            let tier = request.input(CLAIM_TIER).filter(|_| *source == Source::Claim);
            let listed = || self.classes.get(&tenant).or(self.default_class.as_ref());
            let class = tier.map(str::to_owned).or_else(|| listed().cloned());
            return Ok(Classification { tenant, class });
        }
        Err(PolicyError::no_match("none of the sources names a tenant"))
    }
}

impl TierClassifier {
    /// The tenant a source gives, if it gives one.
    fn tenant(&self, source: Source, request: &Request) -> Result<Option<String>, PolicyError> {
        let tenant = match source {
            Source::Host => request.input(HOST).and_then(|host| self.tenant_of_host(host)),
            Source::Header => request.input(X_TENANT).map(str::to_owned),
            Source::ApiKey => request.input(X_API_KEY).map(|key| self.tenant_of_key(key)).transpose()?,
            Source::Claim => request.input(CLAIM_TENANT).map(str::to_owned),
        };
        Ok(tenant.filter(|tenant| !tenant.is_empty()))
    }

    fn tenant_of_host(&self, host: &str) -> Option<String> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        name.to_ascii_lowercase().strip_suffix(self.host_suffix.as_deref()?).map(str::to_owned)
    }

    fn tenant_of_key(&self, key: &str) -> Result<String, PolicyError> {
        let known = self.api_keys.as_ref().and_then(|keys| keys.get(key));
        known.cloned().ok_or_else(|| PolicyError::no_match("the API key is not a listed one"))
    }
}

export_policy!(TierClassifier: Classifier);
