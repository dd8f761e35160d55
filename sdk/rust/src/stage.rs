//! The stage that uses a plugin, and the context of a call.

use crate::bindings::transform::millstream::plugin::types::Context as WireContext;
use crate::{Error, Schema, Timestamp};
use serde::de::DeserializeOwned;

/// The stage that uses the plugin: its config, its input and its key.
#[derive(Clone, Debug)]
pub struct Stage {
    config: String,
    inputs: Option<Vec<Schema>>,
    key: Option<Schema>,
}

impl Stage {
    /// Returns the stage of a call. It requests the schemas from the host only when the plugin needs them.
    pub(crate) fn of_call(config: String) -> Stage {
        Stage { config, inputs: None, key: None }
    }

    /// Returns the stage for `describe`.
    pub(crate) fn described(config: String, inputs: Vec<Schema>) -> Stage {
        Stage { config, inputs: Some(inputs), key: None }
    }

    /// Returns a stage for tests.
    pub(crate) fn given(config: String, inputs: Vec<Schema>, key: Schema) -> Stage {
        Stage { config, inputs: Some(inputs), key: Some(key) }
    }

    /// Reads the stage's `config` as a type of the plugin.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Error> {
        serde_json::from_str(&self.config).map_err(Error::config)
    }

    /// Returns an error unless the stage's `config` is absent or empty.
    pub fn no_config(&self) -> Result<(), Error> {
        if matches!(self.config.trim(), "" | "{}" | "null") {
            return Ok(());
        }
        Err(Error::config("this plugin takes no config"))
    }

    /// Returns the columns of the input rows. In `describe`, these are all columns of the stage's input, later only those that the
    /// description selects. With several inputs, it returns the first one.
    pub fn input(&self) -> Schema {
        match &self.inputs {
            Some(inputs) => inputs.first().cloned().unwrap_or_else(|| Schema::new(Vec::new())),
            None => host::input(),
        }
    }

    /// Returns the columns of each input. Only world `cogroup` has several.
    pub fn inputs(&self) -> Vec<Schema> {
        self.inputs.clone().unwrap_or_else(host::inputs)
    }

    /// Returns the stage's key columns. Empty if the stage has no key.
    pub fn key(&self) -> Schema {
        self.key.clone().unwrap_or_else(host::key)
    }
}

/// Context of a call. A replay of the batch has the same context.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// ID of the batch: 1, 2, 3 … since the job's first start.
    pub batch: u64,
    /// Time of the batch: the end of its interval. A plugin has no other clock.
    pub time: Timestamp,
    /// Event time up to which input is considered complete.
    pub watermark: Option<Timestamp>,
    /// World `update`: whether this is the last call for a key that was idle for the stage's `timeout`. The key's state is removed
    /// afterwards, whatever the function returns.
    pub timed_out: bool,
}

impl Context {
    pub(crate) fn of(wire: &WireContext) -> Context {
        Context {
            batch: wire.batch,
            time: Timestamp(wire.time),
            watermark: wire.watermark.map(Timestamp),
            timed_out: false,
        }
    }
}

/// The import `stage`. Outside of a component, in tests, a [`Stage`] knows its schemas and never calls it.
mod host {
    use crate::Schema;

    #[cfg(target_arch = "wasm32")]
    pub fn input() -> Schema {
        crate::bindings::transform::millstream::plugin::stage::input()
    }

    #[cfg(target_arch = "wasm32")]
    pub fn inputs() -> Vec<Schema> {
        crate::bindings::transform::millstream::plugin::stage::inputs()
    }

    #[cfg(target_arch = "wasm32")]
    pub fn key() -> Schema {
        crate::bindings::transform::millstream::plugin::stage::key()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn input() -> Schema {
        Schema::new(Vec::new())
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn inputs() -> Vec<Schema> {
        Vec::new()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn key() -> Schema {
        Schema::new(Vec::new())
    }
}
