//! Generates the SDK's bindings of each world from the WIT files: run `cargo run` in this directory after a change of `wit/`.
//!
//! They are kept in the repository because building the generator and its dependencies takes minutes, which every plugin project
//! would spend again.

use anyhow::{Context, Result};
use std::path::Path;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_rust::{Opts, WithOption};

/// The first world's module holds what all worlds share; the others refer to it.
const WORLDS: [&str; 7] = ["transform", "update", "aggregate", "cogroup", "migrate", "source", "sink"];
const SHARED: [&str; 5] = ["types", "log", "metrics", "files", "stage"];
/// Those that worlds `source` and `sink` have, which are not stages.
const SHARED_BY_ENDS: [&str; 4] = ["types", "log", "metrics", "files"];
/// The interface that world `sink` shares with world `source`.
const SHARED_BY_SINK: &str = "net";

fn main() -> Result<()> {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(sdk.join("wit")).context("reading wit/")?;
    // A component's world is all that its parts export together: `#[update]` exports the rest of world `update-migrating`.
    let version = resolve.packages[package].name.version.clone().context("wit/ has no version")?;
    let migrate = format!("package millstream:sdk;\nworld migrate {{ export millstream:plugin/migrator@{version}; }}");
    let own = resolve.push_str("migrate.wit", &migrate)?;
    for world in WORLDS {
        let options = Opts {
            format: true,
            generate_all: true,
            pub_export_macro: true,
            export_macro_name: Some(format!("export_{world}")),
            default_bindings_module: Some(format!("::millstream_sdk::bindings::{world}")),
            additional_derive_attributes: vec!["PartialEq".into()],
            with: match world {
                "transform" => Vec::new(),
                "migrate" => vec![shared(WORLDS[0], SHARED[0], &version)],
                "source" => SHARED_BY_ENDS.iter().map(|name| shared(WORLDS[0], name, &version)).collect(),
                "sink" => {
                    let ends = SHARED_BY_ENDS.iter().map(|name| shared(WORLDS[0], name, &version));
                    ends.chain([shared("source", SHARED_BY_SINK, &version)]).collect()
                }
                _ => SHARED.iter().map(|name| shared(WORLDS[0], name, &version)).collect(),
            },
            ..Opts::default()
        };
        let id = resolve.select_world(&[if world == "migrate" { own } else { package }], Some(world))?;
        let mut files = Files::default();
        options.build().generate(&mut resolve, id, &mut files)?;
        let (_, source) = files.iter().next().context("nothing was generated")?;
        let path = sdk.join("src/bindings").join(format!("{world}.rs"));
        std::fs::write(&path, source).with_context(|| format!("writing {}", path.display()))?;
    }
    // The input of the bindings: a test of the SDK compares it with `wit/`.
    std::fs::write(sdk.join("src/bindings/made-of.wit"), wit_text(&sdk.join("wit"))?)?;
    Ok(())
}

/// Returns all WIT files, ordered by name and concatenated.
fn wit_text(dir: &Path) -> Result<String> {
    let mut paths = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wit"));
    paths.sort();
    paths.iter().map(|path| Ok(std::fs::read_to_string(path)?)).collect()
}

fn shared(world: &str, interface: &str, version: &impl std::fmt::Display) -> (String, WithOption) {
    let path = format!("crate::bindings::{world}::millstream::plugin::{interface}");
    (format!("millstream:plugin/{interface}@{version}"), WithOption::Path(path))
}
