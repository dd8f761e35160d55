//! A plugin project as its manifest tells of it: Rust's `Cargo.toml`, Python's `pyproject.toml`, JavaScript's `package.json`,
//! and a `plugin.toml` in languages whose own files have no place for name and version.

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
    /// Its folder.
    pub folder: PathBuf,
    /// What it says of itself.
    pub about: ProjectFacts,
    /// The world that it implements; `None` in Rust, where the macro in the source tells.
    pub world: Option<World>,
    /// Whether it takes over states of its other versions: world `update-migrating` in its manifest.
    pub migrates: bool,
    /// What it wants to be granted.
    pub grants: Grants,
    /// Where its code is.
    pub code: Code,
}

/// What a plugin's manifest says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFacts {
    /// Words of a-z and 0-9 with `-` between them.
    pub name: String,
    /// Semver.
    pub version: String,
    /// A sentence or two; may be empty.
    pub description: String,
    /// An SPDX expression; may be empty.
    pub license: String,
    /// Names, with addresses if wanted.
    pub authors: Vec<String>,
}

/// Where the code of a project is, by language. Paths are relative to the project's folder if not said otherwise.
#[derive(Clone, Debug)]
pub enum Code {
    /// A package of cargo.
    Rust {
        /// The file name of the library, without its ending.
        library: String,
        /// Whether the manifest asks for a component's module only, and not for a Rust library as well.
        module_only: bool,
        /// The folder of its workspace, absolute; its own where it stands alone.
        workspace: PathBuf,
        /// Cargo's target folder, absolute.
        target: PathBuf,
    },
    /// A module.
    Python {
        /// Its name.
        module: String,
        /// Folders with more modules; the SDK's is among them.
        paths: Vec<String>,
        /// Packages that it needs, as the manifest writes them.
        dependencies: Vec<String>,
    },
    /// A module.
    JavaScript {
        /// Its file, `.ts` or `.js`.
        main: String,
    },
    /// The package in the project's folder.
    Go,
    /// The `.c` files in the project's folder but those of tests.
    C {
        /// The SDK's folder.
        sdk: String,
    },
}

/// The world of plugins of world `update` that take over states of their other versions.
const MIGRATING: &str = "update-migrating";

impl Project {
    /// The name of its world in WIT; empty where its manifest does not tell.
    pub fn world_in_wit(&self) -> String {
        match self.world {
            _ if self.migrates => MIGRATING.to_owned(),
            world => world.map(|world| world.to_string()).unwrap_or_default(),
        }
    }

    /// Reads the manifest of a project.
    ///
    /// # Errors
    /// `Job`: the folder holds none, or it says not enough. `Plugin`: cargo cannot read it. `Environment`: cargo cannot be
    /// run.
    pub fn read(folder: &Path) -> Result<Project> {
        type Reader = fn(&Path, &Path) -> Result<Project>;
        let manifests: [(&str, Reader); 4] = [
            ("Cargo.toml", cargo::project),
            ("pyproject.toml", python),
            ("package.json", javascript),
            ("plugin.toml", plain),
        ];
        let found = manifests.into_iter().find(|(name, _)| folder.join(name).is_file());
        let Some((name, read)) = found else {
            return Err(Error::job(format!(
                "{} is not a plugin project: it has no Cargo.toml, pyproject.toml, package.json or plugin.toml; create one with \
                 `millstream new`",
                folder.display()
            )));
        };
        let project = read(folder, &folder.join(name))?;
        project.about.check(&folder.join(name))?;
        project.grants.check().map_err(|what| wrong(&folder.join(name), &what))?;
        Ok(project)
    }

    /// What it is written in.
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
        // The name becomes a file's, so it must not lead elsewhere.
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_word) {
            return Err(wrong(manifest, &format!("`{name}` is not a valid plugin name; use a-z, 0-9 and `-`")));
        }
        if !is_semver(version) {
            let words = "is not a semantic version; write three numbers, for example `1.0.0` or `1.0.0-beta.1`";
            return Err(wrong(manifest, &format!("`{version}` {words}")));
        }
        if !license.is_empty() && !is_license(license) {
            let words = "is not an SPDX expression; write for example `MIT OR Apache-2.0`, or `LicenseRef-` and a name for your own";
            return Err(wrong(manifest, &format!("the licence `{license}` {words}")));
        }
        Ok(())
    }
}

/// Three numbers, perhaps `-` and words for what comes before a release, perhaps `+` and words for a build.
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

/// Whether a text has the form of an SPDX expression; the names in it are not looked up. Tools of components take no other
/// text for a licence.
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

/// Bytes of a plugin's name.
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

/// A text since PEP 639, a table before.
#[derive(Deserialize)]
#[serde(untagged)]
enum PyLicense {
    Expression(String),
    /// Or it names a file, which says nothing here.
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

fn python(folder: &Path, manifest: &Path) -> Result<Project> {
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
        folder: folder.into(),
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

fn javascript(folder: &Path, manifest: &Path) -> Result<Project> {
    let text = text_file(manifest)?;
    let package: PackageJson = serde_json::from_str(&text).map_err(|error| wrong(manifest, &error))?;
    let name = |person: PackageJsonAuthor| match person {
        PackageJsonAuthor::Text(name) | PackageJsonAuthor::Object { name } => name,
    };
    let main = package.main.unwrap_or_else(|| "src/index.ts".into());
    let (world, migrates) = world(manifest, &package.millstream.world)?;
    Ok(Project {
        folder: folder.into(),
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

/// `plugin.toml`.
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

fn plain(folder: &Path, manifest: &Path) -> Result<Project> {
    let plugin: PluginToml = toml_file(manifest)?;
    let code = match Language::parse(&plugin.language).map_err(|error| wrong(manifest, &error.message))? {
        Language::Go => Code::Go,
        Language::C => Code::C { sdk: plugin.sdk },
        other => {
            return Err(wrong(manifest, &format!("`language` must be \"go\" or \"c\"; {other} has its own manifest")));
        }
    };
    let (world, migrates) = world(manifest, &plugin.world)?;
    Ok(Project {
        folder: folder.into(),
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

/// The world of this name, and whether it is the one of plugins that take over states.
fn world(manifest: &Path, word: &str) -> Result<(World, bool)> {
    if word == MIGRATING {
        return Ok((World::Update, true));
    }
    let worlds = [World::Transform, World::Update, World::Aggregate, World::Cogroup, World::Source, World::Sink];
    worlds.into_iter().find(|world| world.to_string() == word).map(|world| (world, false)).ok_or_else(|| {
        let words = format!(
            "unknown world `{word}`; worlds are transform, update, {MIGRATING}, aggregate, cogroup, source, sink"
        );
        wrong(manifest, &words)
    })
}

fn toml_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    toml::from_str(&text_file(path)?).map_err(|error| wrong(path, &error.to_string().trim_end()))
}

fn text_file(path: &Path) -> Result<String> {
    millstream_base::regular::read_to_string(path)
        .map_err(|error| Error::job(format!("cannot read {}: {error}", path.display())))
}

fn wrong(manifest: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::job(format!("{}: {what}", manifest.display()))
}

#[cfg(test)]
mod tests;
