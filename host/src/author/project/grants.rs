//! The permissions that a plugin requests in its manifest: `grants` among Millstream's keys there.
//!
//! ```toml
//! [grants]
//! files = { lexicon = "one word and its score per line" }
//! env = { REGION = "where requests go" }
//! http = { hosts = ["api.example.com"], methods = ["GET"] }
//! ```
//!
//! These are requests. Only jobs grant permissions.

use millstream_job::spec::HttpGrant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The permissions that a plugin requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Files, by the name that it uses, with descriptions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Environment variables, with descriptions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// HTTP requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
}

/// HTTP requests that a plugin wants to make, as in `grant.http` of a job file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Hosts, for example `api.example.com` or `*.example.com`.
    pub hosts: Vec<String>,
    /// Methods. Without any, only the read-only ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

impl Grants {
    /// Checks that a job could grant this. The error says what is invalid.
    pub fn check(&self) -> Result<(), String> {
        let Some(http) = &self.http else { return Ok(()) };
        let mut grant = HttpGrant::to(&http.hosts);
        if !http.methods.is_empty() {
            grant = grant.methods(&http.methods);
        }
        millstream_plugins::plugin::check_http_grant(&grant).map_err(|message| format!("`grants`: {message}"))
    }
}
