//! What a component says of itself in its bytes, without being run: custom sections with name, version, licence,
//! documentation and language, by the names that the tools of components share (wasm-metadata, wkg), and sections of our own
//! with its schemas and what it should be granted.
//!
//! The bytes may be anybody's: nothing is believed, whatever cannot be read counts as not there, and texts are made safe to
//! print.

use crate::limits::PLUGIN_WORDS_BYTES_MAX;
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
    /// The whole README; no tool but ours reads it.
    pub const README: &str = "millstream:readme";
    /// What it said of its columns when it was built, as JSON; see [`Declarations`](super::Declared). Ours, as the next two.
    pub const SCHEMAS: &str = "millstream:schemas";
    /// The JSON Schema of its config.
    pub const CONFIG_SCHEMA: &str = "millstream:config-schema";
    /// What a job should grant it, as JSON.
    pub const GRANTS: &str = "millstream:grants";
    /// There, and empty, where its SDK can tell in which line a call stands. No text, so not among [`ALL`].
    pub const TRACES: &str = "millstream:traces";
    /// All of them.
    pub const ALL: [&str; 8] = [VERSION, DESCRIPTION, LICENSES, AUTHORS, README, SCHEMAS, CONFIG_SCHEMA, GRANTS];
}

/// How many answers about its columns a component may carry.
const ANSWERS_MAX: usize = 100;
/// How many producers of a kind are shown.
const PRODUCERS_MAX: usize = 50;

/// What a component says of itself. Texts are empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PackageSections {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A sentence or two.
    pub description: String,
    /// An SPDX expression.
    pub license: String,
    /// Names with commas between them.
    pub authors: String,
    /// What it is written in.
    pub language: Vec<Producer>,
    /// With which SDK.
    pub sdk: Vec<Producer>,
    /// What has made it and worked on it.
    pub made_by: Vec<Producer>,
    /// The README.
    pub readme: String,
}

/// A language or a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Producer {
    /// Its name.
    pub name: String,
    /// Its version; may be empty.
    pub version: String,
}

impl PackageSections {
    /// Reads the custom sections of a component; of those with the same name the last one counts. What is inside inner
    /// modules and components is not what the component says of itself.
    pub fn of(component: &[u8]) -> PackageSections {
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
        *field = text(PLUGIN_WORDS_BYTES_MAX).unwrap_or_default();
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
                let line = |text: &str| printable(text, PLUGIN_WORDS_BYTES_MAX).replace('\n', " ");
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

/// What a component's build wrote down of what it answers when it is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declarations {
    /// What it said of its columns, an object for each config and input that it was asked about; `None`: it was not asked.
    pub schemas: Option<Vec<Value>>,
    /// The JSON Schema of its config; null where it says none.
    pub config_schema: Value,
    /// What a job should grant it; an empty object where nothing.
    pub grants: Value,
}

impl Declarations {
    /// Reads the custom sections of a component, as [`PackageSections::of`] does.
    pub fn of(component: &[u8]) -> Declarations {
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

/// JSON that anybody may have written, safe to print.
fn json(data: &[u8]) -> Option<Value> {
    let value = (data.len() <= DECLARED_BYTES_MAX).then(|| serde_json::from_slice(data).ok())?;
    value.map(clean)
}

fn objects(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(entries) if entries.len() <= ANSWERS_MAX && entries.iter().all(Value::is_object) => Some(entries),
        _ => None,
    }
}

/// The same value with all its texts safe to print. As deep as the reader of JSON goes, which is not deep.
fn clean(value: Value) -> Value {
    let text = |text: &str| printable(text, usize::MAX);
    match value {
        Value::String(words) => Value::String(text(&words)),
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
        Ok(ComponentName::Component { name, .. }) => Some(printable(name, PLUGIN_WORDS_BYTES_MAX).replace('\n', " ")),
        _ => None,
    })
}

/// `Python (SDK 0.1.0)`, as a person reads it.
pub fn in_words(producers: &[Producer]) -> String {
    let words = producers.iter().map(|Producer { name, version }| match version.as_str() {
        "" => name.clone(),
        version => format!("{name} {version}"),
    });
    words.collect::<Vec<_>>().join(", ")
}
