//! What a stage passes to its plugin: config, limits and permissions.

use super::secured::TlsClient;
use crate::limits::GRANTED_FILE_BYTES_MAX;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::regular;
use millstream_job::spec::{GrantSpec, HttpGrant, InstanceSpec, OnError, PluginLimits};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a stage passes to a plugin, except batches.
#[derive(Clone, Debug)]
pub struct StageUse {
    /// The stage's name, for messages.
    pub stage: String,
    /// The stage's config as JSON text.
    pub config: String,
    /// The stage's key columns; none if it has no key.
    pub key: SchemaRef,
    /// The lifetime of an instance.
    pub instance: InstanceSpec,
    /// The resource limits.
    pub limits: PluginLimits,
    /// The granted permissions.
    pub grant: Granted,
    /// The effect of a failing call.
    pub on_error: OnError,
    /// Whether calls on rows in arrival order get the same rows with any number of workers.
    pub calls_are_fixed: bool,
}

impl StageUse {
    /// Creates a stage with all defaults.
    pub fn new(stage: &str) -> StageUse {
        StageUse {
            stage: stage.to_owned(),
            config: "{}".to_owned(),
            key: Arc::new(Schema::empty()),
            instance: InstanceSpec::default(),
            limits: PluginLimits::default(),
            grant: Granted::default(),
            on_error: OnError::default(),
            calls_are_fixed: true,
        }
    }
}

/// What a plugin can read about the stage that uses it.
#[derive(Debug)]
pub struct Stage {
    /// The columns of the rows that a call passes, by input.
    pub inputs: Vec<SchemaRef>,
    /// The stage's key columns.
    pub key: SchemaRef,
    /// The granted permissions.
    pub grant: Granted,
}

/// Permissions of a plugin beyond its input.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// Contents of files, by name.
    pub files: BTreeMap<String, bytes::Bytes>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Requests over HTTP.
    pub http: Option<HttpGrant>,
    /// Servers that it may connect to over TCP, as `host:port`.
    pub tcp: Vec<String>,
    /// The servers among them with TLS, and its settings.
    pub tls: Option<TlsClient>,
    /// Addresses at which it may receive datagrams, and to which it may send them, as `host:port`.
    pub udp: Vec<String>,
}

impl Granted {
    /// Resolves the grants of a stage: files, read from this directory, variables and requests. Connections are for sources and sinks.
    pub fn of_stage(grant: &GrantSpec, dir: &Path) -> Result<Granted> {
        let mut files = BTreeMap::new();
        for (name, path) in &grant.files {
            let path = dir.join(path);
            let bytes = regular::read_at_most(&path, GRANTED_FILE_BYTES_MAX)
                .map_err(|e| Error::job(format!("granted file `{name}`: cannot read {}: {e}", path.display())))?;
            files.insert(name.clone(), bytes.into());
        }
        Ok(Granted { files, env: grant.env.clone(), http: grant.http.clone(), ..Granted::default() })
    }
}
