//! What a component says of itself in its bytes, without being run: custom sections with name, version, licence,
//! documentation and language, by the names that the tools of components share (wasm-metadata, wkg).
//!
//! The bytes may be anybody's: nothing is believed, whatever cannot be read counts as not there, and texts are made safe to
//! print.

use crate::limits::{PLUGIN_WORDS_BYTES_MAX, README_BYTES_MAX};
use crate::plugin::printable;
use serde::Serialize;
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
    /// All of them.
    pub const ALL: [&str; 5] = [VERSION, DESCRIPTION, LICENSES, AUTHORS, README];
}

/// How many producers of a kind are shown.
const PRODUCERS_MAX: usize = 50;

/// What a component says of itself. Texts are empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Package {
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

impl Package {
    /// Reads the custom sections of a component; of those with the same name the last one counts. What is inside inner
    /// modules and components is not what the component says of itself.
    pub fn of(component: &[u8]) -> Package {
        let mut package = Package::default();
        let mut depth = 0_u64;
        for payload in Parser::new(0).parse_all(component) {
            match payload {
                Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
                Ok(Payload::CustomSection(section)) if depth == 0 => {
                    package.read(section.name(), section.data(), section.data_offset());
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
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
