//! Creates plugin projects.
//!
//! The templates and the SDKs are embedded in this program. The SDK is copied into each project, so a project builds
//! anywhere, with the SDK that it was created with.

mod names;

use super::failed;
use super::language::Language;
use include_dir::{Dir, File, include_dir};
use millstream_base::error::{Error, Result};
use std::path::{Path, PathBuf};

/// `<language>/<world>/`, collected from `sdk/` by the build script.
static TEMPLATES: Dir<'_> = include_dir!("$OUT_DIR/template");
/// `<language>/`, collected in the same way.
static SDKS: Dir<'_> = include_dir!("$OUT_DIR/sdk");

/// The file in a project with the version of Millstream whose SDK it contains.
pub const SDK_VERSION: &str = "sdk/VERSION";

/// Atomically creates the project `parent/name` for a world (`transform`, `update`, `aggregate`, `cogroup`, `source` or
/// `sink`). Returns its directory.
///
/// # Errors
/// `Job`: the name, world or language is wrong, or the directory already exists. `Environment`: it cannot be written.
pub fn create(parent: &Path, name: &str, world: &str, language: Language) -> Result<PathBuf> {
    names::check(name, language)?;
    let word = language.keyword();
    let missing = || Error::job(format!("this build of Millstream has no SDK for {language}"));
    let templates = TEMPLATES.get_dir(word).ok_or_else(missing)?;
    let sdk = SDKS.get_dir(word).ok_or_else(missing)?;
    let template =
        templates.get_dir(templates.path().join(world)).ok_or_else(|| unknown_world_error(templates, world))?;
    // The template's name is replaced by the project's everywhere.
    if name != TEMPLATE_NAME && declares(template, name) {
        return Err(Error::job(format!("the example uses the name `{name}`; choose another name")));
    }
    let dir = parent.join(name);
    if dir.symlink_metadata().is_ok() {
        return Err(Error::job(format!("{} already exists; choose another name or remove it", dir.display())));
    }
    let work = tempfile::tempdir_in(parent).map_err(|error| failed("write to", parent, &error))?;
    let project = work.path().join(name);
    write_dir(template, template.path(), &project, &|text| without_description(&fill_in(text, name)))?;
    write_dir(sdk, sdk.path(), &project.join("sdk"), &without_workspace_keys)?;
    write(&project.join(SDK_VERSION), concat!(env!("CARGO_PKG_VERSION"), "\n").as_bytes())?;
    std::fs::rename(&project, &dir).map_err(|error| failed("create", &dir, &error))?;
    Ok(dir)
}

fn unknown_world_error(templates: &Dir<'_>, world: &str) -> Error {
    let worlds = templates.dirs().filter_map(|dir| dir.path().file_name()?.to_str());
    Error::job(format!("unknown world `{world}`; worlds are {}", worlds.collect::<Vec<_>>().join(", ")))
}

/// The name that templates use.
const TEMPLATE_NAME: &str = "my-plugin";

/// Returns a name in the forms that templates use: `my_plugin`, `MyPlugin` and `myPlugin`.
fn forms(name: &str) -> [String; 3] {
    let capitalized = |word: &str| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
    let type_name: String = name.split('-').map(capitalized).collect();
    let first = type_name.get(..1).unwrap_or_default().to_lowercase();
    let function_name = first + type_name.get(1..).unwrap_or_default();
    [name.replace('-', "_"), type_name, function_name]
}

/// Returns whether the code of a template declares this name, in one of its forms.
fn declares(template: &Dir<'_>, name: &str) -> bool {
    let forms = forms(name);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let has = |text: &str| {
        ["struct ", "fn ", "MS_ROW(", "class ", "def ", "type ", "func ", "const ", "static void "].iter().any(
            |before| {
                let names =
                    text.split(before).skip(1).map(|rest| rest.split(|c| !is_word(c)).next().unwrap_or_default());
                names.into_iter().any(|name| forms.iter().any(|form| form == name))
            },
        )
    };
    let is_code = |file: &&File<'_>| file.path().extension().is_some_and(|ending| ending != "md" && ending != "toml");
    template.files().filter(is_code).filter_map(File::contents_utf8).any(has)
        || template.dirs().any(|dir| declares(dir, name))
}

/// Replaces the names and paths in a template. A template is itself a project, named `my-plugin`, with the SDK two
/// directories above.
fn fill_in(text: &str, name: &str) -> String {
    let [snake, type_name, function_name] = forms(name);
    let text = text.replace(TEMPLATE_NAME, name).replace("my_plugin", &snake);
    let text = text.replace("MyPlugin", &type_name).replace("myPlugin", &function_name);
    // In a directory of the project, the SDK is next to that directory. Elsewhere a path that could be a package's name
    // begins with a dot.
    let text = text.replace("../../..", "../sdk").replace("\"../..\"", "\"sdk\"").replace("file:../..", "file:sdk");
    text.replace("../..", "./sdk")
}

/// Removes the description of the example from a manifest, since a package of another plugin would be found by it.
/// Other strings have no such line.
fn without_description(text: &str) -> String {
    let line = |line: &str| {
        let toml = line.starts_with("description = \"").then(|| "description = \"\"\n".to_owned());
        let json = line.starts_with("  \"description\": \"").then(|| "  \"description\": \"\",\n".to_owned());
        toml.or(json).unwrap_or_else(|| line.to_owned())
    };
    text.split_inclusive('\n').map(line).collect()
}

/// Removes the references to Millstream's workspace from a manifest.
fn without_workspace_keys(text: &str) -> String {
    text.replace("\n[lints]\nworkspace = true\n", "")
}

fn write_dir(dir: &Dir<'_>, base: &Path, to: &Path, change: &dyn Fn(&str) -> String) -> Result<()> {
    for file in dir.files() {
        let inside = file.path().strip_prefix(base).unwrap_or(file.path());
        let path = to.join(change(&inside.to_string_lossy()));
        match file.contents_utf8() {
            Some(text) => write(&path, change(text).as_bytes())?,
            None => write(&path, file.contents())?,
        }
    }
    dir.dirs().try_for_each(|dir| write_dir(dir, base, to, change))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|error| failed("create", dir, &error))?;
    }
    std::fs::write(path, content).map_err(|error| failed("write", path, &error))
}

#[cfg(test)]
mod tests;
