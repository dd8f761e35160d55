//! The facts of a package, read from its bytes without running it.

use millstream_base::error::Result;
use millstream_plugins::plugin::{Outline, World};
use millstream_plugins::sections::{Declarations, PackageSections};
use serde_json::Value;
use std::path::Path;

/// The facts of a component. Strings come from its author and are made safe to print.
#[derive(Clone, Debug)]
pub struct PackageFacts {
    /// The name; empty if the component has none.
    pub name: String,
    /// The version; empty if the component has none.
    pub version: String,
    /// Other metadata: license, authors, description, language, README.
    pub metadata: PackageSections,
    /// The version of `millstream:plugin` that it was built for.
    pub interface: String,
    /// The world that it implements.
    pub world: World,
    /// Whether it can migrate state of other versions of itself.
    pub migrates: bool,
    /// Names of its imported interfaces, for example `millstream:plugin/log@0.1.1`.
    pub imports: Vec<String>,
    /// Names of its exported interfaces.
    pub exports: Vec<String>,
    /// `imports` as phrases for people, one per kind.
    pub permissions: Vec<String>,
    /// Whether its columns were recorded when it was built; otherwise only running it shows them.
    pub is_described: bool,
    /// The columns recorded when it was built, one object for each config and input: `config`, `given` (the columns of each input; empty
    /// if the input had none), `by` (those of the key), and the result: `inputs` (the columns of each that it reads), `output`, `state`,
    /// `key` (null: any), `inverse`, `doc`.
    pub schemas: Vec<Value>,
    /// The JSON Schema of its config; null if it has none.
    pub config_schema: Value,
    /// The grants that it needs, as in `grant` of a job file; an empty object if none.
    pub grants: Value,
    /// Number of its functions with a body, and of its core modules.
    pub functions_and_modules: (u64, u64),
}

impl PackageFacts {
    /// Reads the facts of a component. `shown` names it in messages. Fails if this host could not run it.
    pub fn read(component: &[u8], shown: &str) -> Result<PackageFacts> {
        let outline = Outline::read(Path::new(shown), component)?;
        let metadata = PackageSections::parse(component);
        let declared = Declarations::parse(component);
        Ok(PackageFacts {
            name: metadata.name.clone(),
            version: metadata.version.clone(),
            metadata,
            interface: outline.version().to_owned(),
            world: outline.world,
            migrates: outline.migrates,
            permissions: outline.permissions().into_iter().map(String::from).collect(),
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
