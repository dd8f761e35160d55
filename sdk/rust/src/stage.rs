//! What a plugin may know of the stage that uses it, and of the call.

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
    /// The stage of a call. The host is asked for the schemas only when the plugin wants them.
    pub(crate) fn of_call(config: String) -> Stage {
        Stage { config, inputs: None, key: None }
    }

    /// The stage as `describe` is told it.
    pub(crate) fn described(config: String, inputs: Vec<Schema>) -> Stage {
        Stage { config, inputs: Some(inputs), key: None }
    }

    /// A stage for tests.
    pub(crate) fn given(config: String, inputs: Vec<Schema>, key: Schema) -> Stage {
        Stage { config, inputs: Some(inputs), key: Some(key) }
    }

    /// The stage's `config` as a type of yours.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Error> {
        serde_json::from_str(&self.config).map_err(Error::config)
    }

    /// An error unless the stage's `config` is absent or empty.
    pub fn no_config(&self) -> Result<(), Error> {
        if matches!(self.config.trim(), "" | "{}" | "null") {
            return Ok(());
        }
        Err(Error::config("this plugin takes no config"))
    }

    /// The columns of the rows that calls pass: in `describe` all columns of the stage's input, later those that the
    /// description named. Of several inputs the first.
    pub fn input(&self) -> Schema {
        match &self.inputs {
            Some(inputs) => inputs.first().cloned().unwrap_or_else(|| Schema::new(Vec::new())),
            None => host::input(),
        }
    }

    /// The columns of each input: one, but in world `cogroup`.
    pub fn inputs(&self) -> Vec<Schema> {
        self.inputs.clone().unwrap_or_else(host::inputs)
    }

    /// The stage's key columns; none where it has no key.
    pub fn key(&self) -> Schema {
        self.key.clone().unwrap_or_else(host::key)
    }
}

/// What a call may know about the outside. A replay of the batch gives the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// The batch id: 1, 2, 3 … since the job's first start.
    pub batch: u64,
    /// The batch time: the end of the batch's interval. The only clock that a plugin has.
    pub time: Timestamp,
    /// Event time up to which input is considered complete.
    pub watermark: Option<Timestamp>,
    /// World `update`: whether this is the last call of a key that was idle for the stage's `timeout`. Its state is
    /// removed afterwards, whatever the function returns.
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

/// The import `stage`; outside of a component, in tests, a [`Stage`] knows its schemas and never asks.
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
