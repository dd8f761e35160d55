//! What a stage gives the plugin that it uses: its config, its limits, and what it grants.

use super::secured::TlsClient;
use crate::limits::GRANTED_FILE_BYTES_MAX;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{GrantSpec, HttpGrant, InstanceSpec, OnError, PluginLimits};
use millstream_base::regular;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a stage gives a plugin: everything but the batches.
#[derive(Clone, Debug)]
pub struct StageUse {
    /// The stage's name, for messages.
    pub stage: String,
    /// The stage's config as JSON text.
    pub config: String,
    /// The stage's key columns; none where it has no key.
    pub key: SchemaRef,
    /// How long an instance lives.
    pub instance: InstanceSpec,
    /// What it may use up.
    pub limits: PluginLimits,
    /// What it may use beyond its input.
    pub grant: Granted,
    /// What a failing call does.
    pub on_error: OnError,
    /// Whether calls on rows as they come in have the same ones on any number of workers.
    pub calls_are_fixed: bool,
}

impl StageUse {
    /// Of a stage that says nothing.
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

/// What a plugin may know of the stage that uses it.
#[derive(Debug)]
pub struct Stage {
    /// The columns of the rows that a call passes, by input.
    pub inputs: Vec<SchemaRef>,
    /// The stage's key columns.
    pub key: SchemaRef,
    /// What it may use beyond its input.
    pub grant: Granted,
}

/// What a plugin may use beyond its input.
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
    /// With which of them the host speaks TLS for it, and how.
    pub tls: Option<TlsClient>,
    /// Addresses at which it may take datagrams, and to which it may send some, as `host:port`.
    pub udp: Vec<String>,
}

impl Granted {
    /// Files, which are read from this folder, variables and requests, as a stage may grant them. Connections are for ends of a job.
    pub fn of_stage(grant: &GrantSpec, folder: &Path) -> Result<Granted> {
        let mut files = BTreeMap::new();
        for (name, path) in &grant.files {
            let path = folder.join(path);
            let bytes = regular::read_at_most(&path, GRANTED_FILE_BYTES_MAX)
                .map_err(|e| Error::job(format!("granted file `{name}`: cannot read {}: {e}", path.display())))?;
            files.insert(name.clone(), bytes.into());
        }
        Ok(Granted { files, env: grant.env.clone(), http: grant.http.clone(), ..Granted::default() })
    }
}
