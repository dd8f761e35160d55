//! Metadata in the bytes of a component, read without running it. Custom sections have name, version, license, documentation and
//! language, with the names that component tools share (wasm-metadata, wkg). Sections of our own have its schemas and requested grants.
//!
//! The bytes are untrusted: what cannot be read counts as missing, and strings are made safe to print.

use crate::limits::PLUGIN_MESSAGE_BYTES_MAX;
use millstream_base::limits::{DECLARED_BYTES_MAX, README_BYTES_MAX};
use millstream_base::shown::printable;
use serde::Serialize;
use serde_json::{Map, Value};
use wasmparser::{BinaryReader, ComponentName, ComponentNameSectionReader, Parser, Payload, ProducersSectionReader};

/// The sections of one text each.
pub mod section {
    /// The version, as semver has it.
    pub const VERSION: &str = "version";
    /// A sentence or two.
    pub const DESCRIPTION: &str = "description";
    /// An SPDX expression.
    pub const LICENSES: &str = "licenses";
    /// Names with commas between them.
    pub const AUTHORS: &str = "authors";
    /// The complete README; no other tool reads it.
    pub const README: &str = "millstream:readme";
    /// Its columns as recorded by the build, as JSON; see [`Declarations`](super::Declared). Ours, like the next two.
    pub const SCHEMAS: &str = "millstream:schemas";
    /// The JSON Schema of its config.
    pub const CONFIG_SCHEMA: &str = "millstream:config-schema";
    /// The grants that it requests, as JSON.
    pub const GRANTS: &str = "millstream:grants";
    /// Present and empty if its SDK can report the source line of a running call. Not text, so not in [`ALL`].
    pub const TRACES: &str = "millstream:traces";
    /// All sections with text.
    pub const ALL: [&str; 8] = [VERSION, DESCRIPTION, LICENSES, AUTHORS, README, SCHEMAS, CONFIG_SCHEMA, GRANTS];
}

/// Maximum recorded descriptions per component.
const RESPONSES_MAX: usize = 100;
/// Maximum producers of a kind that are shown.
const PRODUCERS_MAX: usize = 50;

/// The metadata of a component. Missing strings are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PackageSections {
    /// Name of the plugin.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// A sentence or two.
    pub description: String,
    /// An SPDX expression.
    pub license: String,
    /// Names with commas between them.
    pub authors: String,
    /// Source languages.
    pub language: Vec<Producer>,
    /// With which SDK.
    pub sdk: Vec<Producer>,
    /// Tools that built and processed it.
    pub made_by: Vec<Producer>,
    /// The README.
    pub readme: String,
}

/// A language or a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Producer {
    /// Name of the producer.
    pub name: String,
    /// Version of the producer; may be empty.
    pub version: String,
}

impl PackageSections {
    /// Reads the custom sections of a component; of several with the same name, the last one wins. Sections of inner modules and components
    /// are ignored.
    pub fn parse(component: &[u8]) -> PackageSections {
        let mut package = PackageSections::default();
        each_section(component, |name, data, offset| package.read(name, data, offset));
        package
    }

    fn read(&mut self, name: &str, data: &[u8], offset: usize) {
        let text = |bytes_max: usize| std::str::from_utf8(data).ok().map(|text| printable(text, bytes_max));
        let field = match name {
            section::VERSION => &mut self.version,
            section::DESCRIPTION => &mut self.description,
            section::LICENSES => &mut self.license,
            section::AUTHORS => &mut self.authors,
            section::README => {
                self.readme = text(README_BYTES_MAX).unwrap_or_default();
                return;
            }
            "component-name" => {
                self.name = component_name(data, offset).unwrap_or_default();
                return;
            }
            "producers" => {
                // What cannot be read to its end counts as far as it can be read.
                let _ = self.producers(data, offset);
                return;
            }
            _ => return,
        };
        *field = text(PLUGIN_MESSAGE_BYTES_MAX).unwrap_or_default();
    }

    fn producers(&mut self, data: &[u8], offset: usize) -> wasmparser::Result<()> {
        for field in ProducersSectionReader::new(BinaryReader::new(data, offset))? {
            let field = field?;
            let producers = match field.name {
                "language" => &mut self.language,
                "sdk" => &mut self.sdk,
                "processed-by" => &mut self.made_by,
                _ => continue,
            };
            producers.clear();
            for value in field.values.into_iter().take(PRODUCERS_MAX) {
                let value = value?;
                let line = |text: &str| printable(text, PLUGIN_MESSAGE_BYTES_MAX).replace('\n', " ");
                producers.push(Producer { name: line(value.name), version: line(value.version) });
            }
        }
        Ok(())
    }
}

/// Whether a component has a section of this name.
pub fn has_section(component: &[u8], wanted: &str) -> bool {
    let mut found = false;
    each_section(component, |name, _, _| found |= name == wanted);
    found
}

/// The descriptions that a component's build recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declarations {
    /// Its columns, one object per recorded config and input; `None` if nothing was recorded.
    pub schemas: Option<Vec<Value>>,
    /// The JSON Schema of its config; null if it has none.
    pub config_schema: Value,
    /// The grants that it requests; an empty object if none.
    pub grants: Value,
}

impl Declarations {
    /// Reads the custom sections of a component, as [`PackageSections::parse`] does.
    pub fn parse(component: &[u8]) -> Declarations {
        let mut declared = Declarations { grants: Value::Object(Map::new()), ..Declarations::default() };
        each_section(component, |name, data, _| match name {
            section::SCHEMAS => declared.schemas = json(data).and_then(objects),
            section::CONFIG_SCHEMA => declared.config_schema = json(data).unwrap_or_default(),
            section::GRANTS => {
                declared.grants = json(data).filter(Value::is_object).unwrap_or_else(|| Map::new().into())
            }
            _ => {}
        });
        declared
    }
}

/// Parses untrusted JSON, and makes it safe to print.
fn json(data: &[u8]) -> Option<Value> {
    let value = (data.len() <= DECLARED_BYTES_MAX).then(|| serde_json::from_slice(data).ok())?;
    value.map(clean)
}

fn objects(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(entries) if entries.len() <= RESPONSES_MAX && entries.iter().all(Value::is_object) => {
            Some(entries)
        }
        _ => None,
    }
}

/// Makes all strings of a value safe to print. The recursion is bounded by the depth that the JSON parser accepts.
fn clean(value: Value) -> Value {
    let text = |text: &str| printable(text, usize::MAX);
    match value {
        Value::String(list) => Value::String(text(&list)),
        Value::Array(values) => values.into_iter().map(clean).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (text(&key), clean(value))).collect(),
        other => other,
    }
}

/// Visits the custom sections of a component itself, not those of what is inside it, as far as it can be read.
fn each_section(component: &[u8], mut visit: impl FnMut(&str, &[u8], usize)) {
    let mut depth = 0_u64;
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::CustomSection(section)) if depth == 0 => {
                visit(section.name(), section.data(), section.data_offset());
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
}

fn component_name(data: &[u8], offset: usize) -> Option<String> {
    let mut names = ComponentNameSectionReader::new(BinaryReader::new(data, offset));
    names.find_map(|name| match name {
        Ok(ComponentName::Component { name, .. }) => Some(printable(name, PLUGIN_MESSAGE_BYTES_MAX).replace('\n', " ")),
        _ => None,
    })
}

/// `Python (SDK 0.1.0)`, as a person reads it.
pub fn list_producers(producers: &[Producer]) -> String {
    let list = producers.iter().map(|Producer { name, version }| match version.as_str() {
        "" => name.clone(),
        version => format!("{name} {version}"),
    });
    list.collect::<Vec<_>>().join(", ")
}
