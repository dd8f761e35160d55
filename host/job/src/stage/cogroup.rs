//! `cogroup`: all groups of a key in one call of a plugin, one input each.

use super::plugin;
use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, PluginSpec, StageSpec, UpdateEmit};
use crate::table::Reader;
use toml::Value;

/// `cogroup` of a stage.
pub(super) const KEY: TableKey = key(
    "cogroup",
    KeyShape::Either(&[KeyShape::Flag, KeyShape::TextList]),
    "Further inputs, in addition to that in `from`, for a plugin of world cogroup, which receives the rows of a key from all \
     inputs in one call. If true, the inputs are those in `from`.",
);

impl StageSpec {
    /// Runs a plugin of world `cogroup`, which gets the rows of a key of all inputs in one call.
    pub fn cogroup<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        plugin: impl Into<PluginSpec>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Cogroup { with: Vec::new(), plugin: plugin.into() })
    }
}

/// Reads `cogroup = ["orders", "clicks"]`, or `cogroup = true` with all inputs in `from`.
pub(super) fn read(r: &Reader<'_>, emit: Option<UpdateEmit>) -> OperatorSpec {
    let with = match r.table.get("cogroup") {
        Some(Value::Boolean(true)) => None,
        Some(Value::Boolean(false)) => {
            r.wrong("cogroup", "`cogroup = false` does nothing; remove it, or write cogroup = \"orders\"");
            None
        }
        _ => r.strings("cogroup", "cogroup = \"orders\", or cogroup = true with all inputs in `from`"),
    };
    r.need("plugin", "plugin = \"…\" with a plugin of world cogroup");
    let plugin = if r.has("plugin") { plugin::read::plugin(r, emit) } else { PluginSpec::new("?") };
    OperatorSpec::Cogroup { with: with.unwrap_or_default(), plugin }
}

pub(super) fn check(spec: &StageSpec, part: &PartErrors<'_>) {
    if spec.key.is_empty() {
        part.wrong("key", "`cogroup` needs `key`; write key = \"user\" with a column that all inputs have");
    }
    let inputs = spec.reads().count();
    if inputs < 2 {
        let message = format!(
            "a cogroup has two or more inputs, but this one has {inputs}; write cogroup = [\"orders\", \"clicks\"] \
             in addition to `from`, or cogroup = true with all inputs in `from`"
        );
        part.wrong("cogroup", message);
    }
}
