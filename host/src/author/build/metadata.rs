//! Embeds a project's metadata into its component, see [`Package`](millstream_plugins::sections::PackageSections).

use super::described::DescribedPlugin;
use crate::author::new::SDK_VERSION;
use crate::author::project::{Grants, Project};
use millstream_base::error::{Error, Result};
use millstream_base::limits::{DECLARED_BYTES_MAX, README_BYTES_MAX};
use millstream_plugins::sections::section;
use serde_json::Value;
use wasm_encoder::{ComponentSection, CustomSection};
use wasm_metadata::{AddMetadata, AddMetadataField};
use wasmparser::BinaryReader;

/// Embeds the facts about a project, and the responses of its plugin if it was queried, into its component. The same
/// project gives the same bytes.
pub fn embed(component: &[u8], project: &Project, description: &DescribedPlugin) -> Result<Vec<u8>> {
    let about = &project.about;
    let invalid =
        |error: &dyn std::fmt::Display| Error::plugin(format!("cannot add metadata to the component: {error}"));
    let component = without_own_sections(component).map_err(|error| invalid(&error))?;
    let mut added = AddMetadata::default();
    added.name = AddMetadataField::Set(about.name.clone());
    added.language = vec![(project.language().to_string(), String::new())];
    added.processed_by = vec![("millstream".into(), env!("CARGO_PKG_VERSION").into())];
    added.sdk = sdk(project).into_iter().collect();
    let mut component = added.to_wasm(&component).map_err(|error| invalid(&format_args!("{error:#}")))?;
    let (authors, readme) = (about.authors.join(", "), readme(project));
    let (schemas, config_schema, grants) = declarations(project, description)?;
    let strings = [
        (section::VERSION, &about.version),
        (section::DESCRIPTION, &about.description),
        (section::LICENSES, &about.license),
        (section::AUTHORS, &authors),
        (section::README, &readme),
        (section::SCHEMAS, &schemas),
        (section::CONFIG_SCHEMA, &config_schema),
        (section::GRANTS, &grants),
    ];
    for (name, text) in strings.into_iter().filter(|(_, text)| !text.is_empty()) {
        CustomSection { name: name.into(), data: text.as_bytes().into() }.append_to_component(&mut component);
    }
    Ok(component)
}

/// Appends a section without content to a component.
pub fn with_section(component: &mut Vec<u8>, name: &str) {
    CustomSection { name: name.into(), data: [].as_slice().into() }.append_to_component(component);
}

/// Returns the plugin's responses and requested permissions as JSON. Empty if there are none.
fn declarations(project: &Project, description: &DescribedPlugin) -> Result<(String, String, String)> {
    let schemas = description.schemas.as_ref().map(serde_json::to_string).transpose().map_err(Error::bug)?;
    let config_schema: Option<Value> = serde_json::from_str(&description.config_schema).ok();
    let config_schema = config_schema.map(|schema| schema.to_string()).unwrap_or_default();
    let wants = project.grants != Grants::default();
    let grants = if wants { serde_json::to_string(&project.grants).map_err(Error::bug)? } else { String::new() };
    for (what, text) in [("the schema of its config", &config_schema), ("`grants` of its manifest", &grants)] {
        if text.len() > DECLARED_BYTES_MAX {
            let bytes = text.len();
            return Err(Error::plugin(format!("{what} has {bytes} bytes; at most {DECLARED_BYTES_MAX} fit")));
        }
    }
    Ok((schemas.unwrap_or_default(), config_schema, grants))
}

/// Returns the SDK in the project and its version, if `millstream new` put it there.
pub(super) fn sdk(project: &Project) -> Option<(String, String)> {
    let version = millstream_base::regular::read_to_string(project.dir.join(SDK_VERSION)).ok()?;
    Some((format!("millstream {}", project.language()), version.trim().to_owned()))
}

fn readme(project: &Project) -> String {
    let text = millstream_base::regular::read_to_string(project.dir.join("README.md")).unwrap_or_default();
    if text.len() > README_BYTES_MAX {
        tracing::warn!(
            "README.md has {} bytes and is not stored in the component; at most {README_BYTES_MAX} fit",
            text.len()
        );
        return String::new();
    }
    text
}

/// Removes the sections of these strings that another tool has embedded: readers may use either of two sections with the
/// same name.
fn without_own_sections(component: &[u8]) -> wasmparser::Result<Vec<u8>> {
    let mut reader = BinaryReader::new(component, 0);
    let mut kept = reader.read_bytes(8)?.to_vec();
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()? as usize;
        let mut content = BinaryReader::new(reader.read_bytes(size)?, 0);
        if id != 0 || !section::ALL.contains(&content.read_string()?) {
            kept.extend(component.get(start..reader.original_position()).unwrap_or_default());
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
