//! What a plugin wants to be granted, as its manifest says: `grants` beside what else is Millstream's there.
//!
//! ```toml
//! [grants]
//! files = { lexicon = "a word and its score a line" }
//! env = { REGION = "where requests go" }
//! http = { hosts = ["api.example.com"], methods = ["GET"] }
//! ```
//!
//! It asks, and grants nothing: that is up to jobs.

use millstream_base::job::spec::HttpGrant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a plugin wants to be granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Files, by the name it knows them by, and what each is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Variables of its environment, and what each is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Requests over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
}

/// Requests that a plugin wants to make, as in `grant.http` of a job file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Hosts, as `api.example.com` or `*.example.com`.
    pub hosts: Vec<String>,
    /// Methods; those that only read where it says none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

impl Grants {
    /// Whether a job could grant it. The error says what not.
    pub fn check(&self) -> Result<(), String> {
        let Some(http) = &self.http else { return Ok(()) };
        let mut grant = HttpGrant::to(&http.hosts);
        if !http.methods.is_empty() {
            grant = grant.methods(&http.methods);
        }
        millstream_plugins::plugin::check_http_grant(&grant).map_err(|words| format!("`grants`: {words}"))
    }
}
