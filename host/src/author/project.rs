//! A plugin project as described by its manifest: Rust's `Cargo.toml`, Python's `pyproject.toml`, JavaScript's
//! `package.json`, and a `plugin.toml` for languages whose own files contain no name and version.

mod cargo;
mod grants;

use super::language::Language;
pub use grants::{Grants, Http};
use millstream_base::error::{Error, Result};
use millstream_plugins::plugin::World;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// A plugin project.
#[derive(Clone, Debug)]
pub struct Project {
    /// The directory.
    pub dir: PathBuf,
    /// The facts in the manifest.
    pub about: ProjectFacts,
    /// The world that it implements. `None` in Rust, where the macro in the source determines it.
    pub world: Option<World>,
    /// Whether it migrates states of its other versions: world `update-migrating` in its manifest.
    pub migrates: bool,
    /// The permissions that it requests.
    pub grants: Grants,
    /// The location of its code.
    pub code: Code,
}

/// The facts about a plugin in its manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFacts {
    /// Words of a-z and 0-9, separated by `-`.
    pub name: String,
    /// A semantic version.
    pub version: String,
    /// One or two sentences, or empty.
    pub description: String,
    /// An SPDX expression, or empty.
    pub license: String,
    /// Names, optionally with addresses.
    pub authors: Vec<String>,
}

/// The location of a project's code, by language. Paths are relative to the project's directory unless noted.
#[derive(Clone, Debug)]
pub enum Code {
    /// A cargo package.
    Rust {
        /// The file name of the library, without its extension.
        library: String,
        /// Whether the manifest specifies only a component's module, and not also a Rust library.
        module_only: bool,
        /// The directory of its workspace, absolute. Its own directory if it has no workspace.
        workspace: PathBuf,
        /// Cargo's target directory, absolute.
        target: PathBuf,
    },
    /// A module.
    Python {
        /// The name.
        module: String,
        /// Directories with more modules, including the SDK's.
        paths: Vec<String>,
        /// Packages that it needs, as in the manifest.
        dependencies: Vec<String>,
    },
    /// A module.
    JavaScript {
        /// The file, `.ts` or `.js`.
        main: String,
    },
    /// The package in the project's directory.
    Go,
    /// The `.c` files in the project's directory, except those of tests.
    C {
        /// The SDK's directory.
        sdk: String,
    },
}

/// The world of `update` plugins that migrate states of their other versions.
const MIGRATING: &str = "update-migrating";

impl Project {
    /// Returns the name of its world in WIT. Empty if the manifest does not contain it.
    pub fn world_in_wit(&self) -> String {
        match self.world {
            _ if self.migrates => MIGRATING.to_owned(),
            world => world.map(|world| world.to_string()).unwrap_or_default(),
        }
    }

    /// Reads the manifest of a project.
    ///
    /// # Errors
    /// `Job`: the directory contains none, or it is incomplete. `Plugin`: cargo cannot read it. `Environment`: cargo
    /// cannot be run.
    pub fn read(dir: &Path) -> Result<Project> {
        type Reader = fn(&Path, &Path) -> Result<Project>;
        let manifests: [(&str, Reader); 4] = [
            ("Cargo.toml", cargo::project),
            ("pyproject.toml", python),
            ("package.json", javascript),
            ("plugin.toml", plugin_toml_project),
        ];
        let found = manifests.into_iter().find(|(name, _)| dir.join(name).is_file());
        let Some((name, read)) = found else {
            return Err(Error::job(format!(
                "{} is not a plugin project: it has no Cargo.toml, pyproject.toml, package.json or plugin.toml; create one with \
                 `millstream new`",
                dir.display()
            )));
        };
        let project = read(dir, &dir.join(name))?;
        project.about.check(&dir.join(name))?;
        project.grants.check().map_err(|what| invalid(&dir.join(name), &what))?;
        Ok(project)
    }

    /// Returns the language of the project.
    pub fn language(&self) -> Language {
        match self.code {
            Code::Rust { .. } => Language::Rust,
            Code::Python { .. } => Language::Python,
            Code::JavaScript { .. } => Language::JavaScript,
            Code::Go => Language::Go,
            Code::C { .. } => Language::C,
        }
    }
}

impl ProjectFacts {
    fn check(&self, manifest: &Path) -> Result<()> {
        let ProjectFacts { name, version, license, .. } = self;
        // The name becomes a file name, so it must not contain a path.
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_word) {
            return Err(invalid(manifest, &format!("`{name}` is not a valid plugin name; use a-z, 0-9 and `-`")));
        }
        if !is_semver(version) {
            let problem = "is not a semantic version; write three numbers, for example `1.0.0` or `1.0.0-beta.1`";
            return Err(invalid(manifest, &format!("`{version}` {problem}")));
        }
        if !license.is_empty() && !is_license(license) {
            let problem = "is not an SPDX expression; write for example `MIT OR Apache-2.0`, or `LicenseRef-` and a name for your own";
            return Err(invalid(manifest, &format!("the licence `{license}` {problem}")));
        }
        Ok(())
    }
}

/// Returns whether this is a semantic version: three numbers, optionally `-` and a pre-release, optionally `+` and a
/// build.
fn is_semver(version: &str) -> bool {
    let (version, build) = version.split_once('+').unwrap_or((version, "0"));
    let (numbers, before) = version.split_once('-').unwrap_or((version, "0"));
    let is_number = |part: &str| part.parse::<u64>().is_ok_and(|number| number.to_string() == part);
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_before = |part: &str| is_word(part) && (is_number(part) || part.bytes().any(|b| !b.is_ascii_digit()));
    numbers.split('.').count() == 3
        && numbers.split('.').all(is_number)
        && before.split('.').all(is_before)
        && build.split('.').all(is_word)
}

/// Returns whether a string has the form of an SPDX expression, without looking up its names. Component tools accept no
/// other licenses.
fn is_license(text: &str) -> bool {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let (mut depth, mut wants_name) = (0_usize, true);
    for word in spaced.split_whitespace() {
        match (word, wants_name) {
            ("(", true) => depth += 1,
            (")", false) if depth > 0 => depth -= 1,
            ("AND" | "OR" | "WITH", wants) if !wants => wants_name = true,
            ("AND" | "OR" | "WITH", _) => return false,
            (name, true) if name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+' | ':')) => {
                wants_name = false;
            }
            _ => return false,
        }
    }
    depth == 0 && !wants_name
}

/// Maximum bytes of a plugin's name.
const NAME_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
struct PyProject {
    project: PyPackage,
    tool: PyTools,
}

#[derive(Deserialize)]
struct PyPackage {
    name: String,
    version: String,
    #[serde(default)]
    description: String,
    license: Option<PyLicense>,
    #[serde(default)]
    authors: Vec<PyAuthor>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// A string since PEP 639, previously a table.
#[derive(Deserialize)]
#[serde(untagged)]
enum PyLicense {
    Expression(String),
    /// It may instead name a file, which is not used here.
    Table {
        #[serde(default)]
        text: String,
    },
}

#[derive(Deserialize)]
struct PyAuthor {
    name: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
struct PyTools {
    millstream: PyPlugin,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PyPlugin {
    world: String,
    module: Option<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    grants: Grants,
}

fn python(dir: &Path, manifest: &Path) -> Result<Project> {
    let PyProject { project, tool: PyTools { millstream: plugin } } = toml_file(manifest)?;
    let author = |author: PyAuthor| match (author.name, author.email) {
        (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
        (name, email) => name.or(email),
    };
    let license = project.license.map(|license| match license {
        PyLicense::Expression(text) | PyLicense::Table { text } => text,
    });
    let (world, migrates) = world(manifest, &plugin.world)?;
    Ok(Project {
        dir: dir.into(),
        world: Some(world),
        migrates,
        grants: plugin.grants,
        code: Code::Python {
            module: plugin.module.unwrap_or_else(|| project.name.replace('-', "_")),
            paths: plugin.paths,
            dependencies: project.dependencies,
        },
        about: ProjectFacts {
            name: project.name,
            version: project.version,
            description: project.description,
            license: license.unwrap_or_default(),
            authors: project.authors.into_iter().filter_map(author).collect(),
        },
    })
}

#[derive(Deserialize)]
struct PackageJson {
    name: String,
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    license: String,
    author: Option<PackageJsonAuthor>,
    #[serde(default)]
    contributors: Vec<PackageJsonAuthor>,
    main: Option<String>,
    millstream: JsPlugin,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PackageJsonAuthor {
    Text(String),
    Object { name: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsPlugin {
    world: String,
    #[serde(default)]
    grants: Grants,
}

fn javascript(dir: &Path, manifest: &Path) -> Result<Project> {
    let text = text_file(manifest)?;
    let package: PackageJson = serde_json::from_str(&text).map_err(|error| invalid(manifest, &error))?;
    let name = |person: PackageJsonAuthor| match person {
        PackageJsonAuthor::Text(name) | PackageJsonAuthor::Object { name } => name,
    };
    let main = package.main.unwrap_or_else(|| "src/index.ts".into());
    let (world, migrates) = world(manifest, &package.millstream.world)?;
    Ok(Project {
        dir: dir.into(),
        world: Some(world),
        migrates,
        grants: package.millstream.grants,
        code: Code::JavaScript { main },
        about: ProjectFacts {
            name: package.name,
            version: package.version,
            description: package.description,
            license: package.license,
            authors: package.author.into_iter().chain(package.contributors).map(name).collect(),
        },
    })
}

/// The content of `plugin.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginToml {
    language: String,
    world: String,
    name: String,
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    license: String,
    #[serde(default)]
    authors: Vec<String>,
    #[serde(default = "sdk")]
    sdk: String,
    #[serde(default)]
    grants: Grants,
}

fn sdk() -> String {
    "sdk".into()
}

fn plugin_toml_project(dir: &Path, manifest: &Path) -> Result<Project> {
    let plugin: PluginToml = toml_file(manifest)?;
    let code = match Language::parse(&plugin.language).map_err(|error| invalid(manifest, &error.message))? {
        Language::Go => Code::Go,
        Language::C => Code::C { sdk: plugin.sdk },
        other => {
            return Err(invalid(
                manifest,
                &format!("`language` must be \"go\" or \"c\"; {other} has its own manifest"),
            ));
        }
    };
    let (world, migrates) = world(manifest, &plugin.world)?;
    Ok(Project {
        dir: dir.into(),
        world: Some(world),
        migrates,
        grants: plugin.grants,
        code,
        about: ProjectFacts {
            name: plugin.name,
            version: plugin.version,
            description: plugin.description,
            license: plugin.license,
            authors: plugin.authors,
        },
    })
}

/// Returns the world with this name, and whether its plugins migrate states.
fn world(manifest: &Path, word: &str) -> Result<(World, bool)> {
    if word == MIGRATING {
        return Ok((World::Update, true));
    }
    let worlds = [World::Transform, World::Update, World::Aggregate, World::Cogroup, World::Source, World::Sink];
    worlds.into_iter().find(|world| world.to_string() == word).map(|world| (world, false)).ok_or_else(|| {
        let problem = format!(
            "unknown world `{word}`; worlds are transform, update, {MIGRATING}, aggregate, cogroup, source, sink"
        );
        invalid(manifest, &problem)
    })
}

fn toml_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    toml::from_str(&text_file(path)?).map_err(|error| invalid(path, &error.to_string().trim_end()))
}

fn text_file(path: &Path) -> Result<String> {
    millstream_base::regular::read_to_string(path)
        .map_err(|error| Error::job(format!("cannot read {}: {error}", path.display())))
}

fn invalid(manifest: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::job(format!("{}: {what}", manifest.display()))
}

#[cfg(test)]
mod tests;
