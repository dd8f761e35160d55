//! Sources and sinks of kind `plugin`: the plugin loader checks and opens them. This module has what the job language needs to know.

use super::{CUT, REJECTING, SinkDeclaration, SourceDeclaration};
use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{PluginSinkSpec, PluginSourceSpec, SinkConfig, SinkKind, SinkStart, SourceKind};
use crate::stage::plugin;
use crate::table::Reader;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_rows::batch::sink::Sink;

const KIND: &str = "plugin";
/// Keys of all plugins that are sources or sinks.
const PLUGIN: &[TableKey] = &[
    key("config", KeyShape::Any, "Settings passed to the plugin."),
    key("limits", KeyShape::Table(plugin::keys::LIMITS), "Limits of the plugin."),
    key(
        "grant",
        KeyShape::Table(plugin::keys::GRANT),
        "Permissions of the plugin: files, environment variables and servers.",
    ),
];

/// Sources of kind `plugin`.
pub const PLUGIN_SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "what your plugin reads",
    keys: &[key(
        "plugin",
        KeyShape::Text,
        "Plugin of world `source`: a component or plugin directory, relative to the job file, or a package pinned by \
         millstream.lock: name@version.",
    )
    .required()],
    shared: &[PLUGIN, CUT, REJECTING],
    read: |r| {
        r.need("plugin", "plugin = \"plugins/feed\"");
        SourceKind::Plugin(Box::new(PluginSourceSpec::new(plugin::read::bare(r))))
    },
};

/// Sinks of kind `plugin`.
pub const PLUGIN_SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "where your plugin writes them",
    keys: &[
        key(
            "plugin",
            KeyShape::Text,
            "Plugin of world `sink`: a component or plugin directory, relative to the job file, or a package pinned by \
             millstream.lock: name@version.",
        )
        .required(),
        key(
            "on_error",
            KeyShape::Word(&["stop", "reject"]),
            "What happens if the plugin rejects a row: the job stops (`stop`), or the row is logged and dropped (`reject`). `stop` \
             by default.",
        ),
        key(
            "wait",
            KeyShape::Time,
            "How long the job waits while the plugin cannot write, at startup and later, 1h by default.",
        ),
    ],
    shared: &[PLUGIN],
    read: |r| SinkKind::Plugin(Box::new(PluginSinkSpec::read(r))),
};

impl PluginSinkSpec {
    fn read(r: &Reader<'_>) -> PluginSinkSpec {
        r.need("plugin", "plugin = \"plugins/ledger\"");
        let usual = PluginSinkSpec::new(plugin::read::bare(r));
        PluginSinkSpec {
            wait: r.time("wait").unwrap_or(usual.wait),
            reject: r.choice("on_error", &[("stop", false), ("reject", true)], &["skip", "fail"]).unwrap_or(false),
            ..usual
        }
    }
}

impl SinkConfig for PluginSinkSpec {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        plugin::check::check_end(&self.plugin, part);
    }

    fn open(&self, start: SinkStart<'_>, _schema: &SchemaRef, _failure: &Failure) -> Result<Box<dyn Sink>> {
        Err(no_writer(start))
    }

    fn committed(&self, start: SinkStart<'_>, _job_id: &str) -> Result<Option<BatchId>> {
        Err(no_writer(start))
    }
}

fn no_writer(start: SinkStart<'_>) -> Error {
    Error::bug(format!("sink `{}` is a plugin, but no writer was set", start.spec.name))
}
