//! What a package is, read from its bytes without running it.

use millstream_base::error::Result;
use millstream_plugins::plugin::{Outline, World};
use millstream_plugins::sections::{Declarations, PackageSections};
use serde_json::Value;
use std::path::Path;

/// What a component is and says of itself. Texts come from its author and are made safe to print.
#[derive(Clone, Debug)]
pub struct PackageFacts {
    /// Its name; empty where it says none.
    pub name: String,
    /// Its version; empty where it says none.
    pub version: String,
    /// What else it says of itself: licence, authors, description, language, README.
    pub said: PackageSections,
    /// The version of `millstream:plugin` that it was built for.
    pub interface: String,
    /// The world that it implements.
    pub world: World,
    /// Whether it can take over states of other versions of itself.
    pub migrates: bool,
    /// Names of the interfaces that it imports, as `millstream:plugin/log@0.1.1`.
    pub imports: Vec<String>,
    /// Names of the interfaces that it exports.
    pub exports: Vec<String>,
    /// The same as `imports` in words for people, a phrase for each kind.
    pub asks: Vec<String>,
    /// Whether it was asked about its columns when it was built; otherwise only running it can tell.
    pub is_described: bool,
    /// What it said of its columns when it was built, an object for each config and input that it was asked about: `config`,
    /// `given` (the columns of each input that it was asked about; none: about no columns), `by` (those of the key), and what
    /// it answered: `inputs` (the columns of each that it reads), `output`, `state`, `key` (null: any), `inverse`, `doc`.
    pub schemas: Vec<Value>,
    /// The JSON Schema of its config; null where it says none.
    pub config_schema: Value,
    /// What a job should grant it, as in `grant` of a job file; an empty object where nothing.
    pub grants: Value,
    /// Its functions with a body, and core modules.
    pub functions_and_modules: (u64, u64),
}

impl PackageFacts {
    /// Reads a component. `shown` names it in messages. An error where this host could not run it.
    pub fn of(component: &[u8], shown: &str) -> Result<PackageFacts> {
        let outline = Outline::of(Path::new(shown), component)?;
        let said = PackageSections::of(component);
        let declared = Declarations::of(component);
        Ok(PackageFacts {
            name: said.name.clone(),
            version: said.version.clone(),
            said,
            interface: outline.version().to_owned(),
            world: outline.world,
            migrates: outline.migrates,
            asks: outline.asks_in_words().into_iter().map(String::from).collect(),
            is_described: declared.schemas.is_some(),
            schemas: declared.schemas.unwrap_or_default(),
            config_schema: declared.config_schema,
            grants: declared.grants,
            functions_and_modules: (outline.needs.size.functions, outline.needs.size.modules),
            imports: outline.needs.imports,
            exports: outline.needs.exports,
        })
    }
}
