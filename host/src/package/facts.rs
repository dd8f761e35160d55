//! What a package is, read from its bytes without running it.

use crate::error::{Error, Result};
use crate::plugin::World;
use serde_json::Value;

/// What a component is and says of itself. Texts come from its author and are made safe to print.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name; empty where it says none.
    pub name: String,
    /// Its version; empty where it says none.
    pub version: String,
    /// The version of `millstream:plugin` that it was built for.
    pub interface: String,
    /// The world that it implements.
    pub world: World,
    /// Whether it can take over states of other versions of itself.
    pub migrates: bool,
    /// Names of the interfaces that it imports, as `millstream:plugin/log@0.1.1`.
    pub imports: Vec<String>,
    /// The same in words for people, a phrase for each kind.
    pub asks: Vec<String>,
    /// What it said of its columns when it was built, an object for each config and input that it was asked about: `config`,
    /// `inputs`, `output`, `state`, `key`.
    pub schemas: Vec<Value>,
    /// The JSON Schema of its config; null where it says none.
    pub config_schema: Value,
    /// What a job should grant it, as in `grant` of a job file; an empty object where nothing.
    pub grants: Value,
}

impl Facts {
    /// Reads a component. `shown` names it in messages. An error where this host could not run it.
    pub fn of(component: &[u8], shown: &str) -> Result<Facts> {
        let _ = component;
        Err(Error::bug(format!("{shown}: facts are not read yet")))
    }
}
