//! Makes plugin projects.
//!
//! The template and the sources of the SDK are part of this program, and the SDK is copied into each project, so that
//! a project builds anywhere, with the SDK that it was made with.

use super::toolchain::failed;
use crate::error::{Error, Result};
use include_dir::{Dir, include_dir};
use std::path::{Path, PathBuf};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/rust/template");
static SDK_SOURCES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/rust/src");
static SDK_MACROS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/rust/macros");
const SDK_MANIFEST: &str = include_str!("../../../sdk/rust/Cargo.toml");
const SDK_README: &str = include_str!("../../../sdk/rust/README.md");

/// Names that cargo or Rust keep for themselves.
const RESERVED: [&str; 50] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "match",
    "millstream-sdk",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "type",
    "use",
    "while",
];
/// Bytes of a project's name.
const NAME_BYTES_MAX: usize = 64;

/// Makes the project `parent/name` of a world (`transform`, `update`, `aggregate` or `cogroup`), whole or not at all, and returns
/// its folder.
///
/// # Errors
/// `Job`: the name, world or language is wrong, or the folder is there already. `Environment`: it cannot be written.
pub fn create(parent: &Path, name: &str, world: &str, lang: &str) -> Result<PathBuf> {
    check_name(name)?;
    if lang != "rust" {
        return Err(Error::job(format!("there is no SDK for `{lang}` yet; write --lang rust")));
    }
    let template = TEMPLATES.get_dir(world).ok_or_else(|| {
        let worlds: Vec<_> = TEMPLATES.dirs().filter_map(|dir| dir.path().to_str()).collect();
        Error::job(format!("there is no world `{world}`; worlds are {}", worlds.join(", ")))
    })?;
    let folder = parent.join(name);
    if folder.symlink_metadata().is_ok() {
        return Err(Error::job(format!("{} is there already; choose another name or remove it", folder.display())));
    }
    let work = tempfile::tempdir_in(parent).map_err(|error| failed("write to", parent, &error))?;
    let project = work.path().join(name);
    write_dir(template, template.path(), &project, &|text| fill_in(text, name))?;
    let sdk = project.join("sdk");
    write_dir(&SDK_SOURCES, Path::new(""), &sdk.join("src"), &str::to_owned)?;
    write_dir(&SDK_MACROS, Path::new(""), &sdk.join("macros"), &alone)?;
    write(&sdk.join("Cargo.toml"), &alone(SDK_MANIFEST))?;
    write(&sdk.join("README.md"), SDK_README)?;
    std::fs::rename(&project, &folder).map_err(|error| failed("create", &folder, &error))?;
    Ok(folder)
}

/// A name is that of a package, a folder and, with underscores, a function.
fn check_name(name: &str) -> Result<()> {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(is_word);
    if !fits {
        let message = "is no name for a plugin: write words of a-z and 0-9 with `-` between them, as in `split-words`";
        return Err(Error::job(format!("`{name}` {message}")));
    }
    if RESERVED.contains(&name) {
        return Err(Error::job(format!("`{name}` is a word of Rust or cargo; choose another name")));
    }
    Ok(())
}

/// A template is itself a project, named `my-plugin`, that uses the SDK two folders above.
fn fill_in(text: &str, name: &str) -> String {
    let capitalized = |word: &str| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
    let type_name: String = name.split('-').map(capitalized).collect();
    let text = text.replace("my-plugin", name).replace("my_plugin", &name.replace('-', "_"));
    text.replace("MyPlugin", &type_name).replace("\"../..\"", "\"sdk\"")
}

/// A manifest of ours without what it takes from our workspace.
fn alone(manifest: &str) -> String {
    manifest.replace("\n[lints]\nworkspace = true\n", "")
}

fn write_dir(dir: &Dir<'_>, base: &Path, to: &Path, change: &dyn Fn(&str) -> String) -> Result<()> {
    for file in dir.files() {
        let path = to.join(file.path().strip_prefix(base).unwrap_or(file.path()));
        let text = file.contents_utf8().ok_or_else(|| Error::bug(format!("{} is not text", file.path().display())))?;
        write(&path, &change(text))?;
    }
    dir.dirs().try_for_each(|dir| write_dir(dir, base, to, change))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed("create", folder, &error))?;
    }
    std::fs::write(path, text).map_err(|error| failed("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_stands_alone_and_bears_its_name() {
        let parent = tempfile::tempdir().expect("a folder");
        for world in ["transform", "update", "aggregate", "cogroup"] {
            let name = format!("tally-{world}");
            let folder = create(parent.path(), &name, world, "rust").expect("a project");
            let read = |file: &str| std::fs::read_to_string(folder.join(file)).expect(file);
            assert!(read("Cargo.toml").contains(&format!("name = \"{name}\"")));
            assert!(read("Cargo.toml").contains("path = \"sdk\""));
            assert!(read("src/lib.rs").contains(&format!("#[{world}]")));
            assert!(read("cases/example/expected.jsonl").starts_with("{\"batch\":1"));
            assert!(read(".gitignore").contains("*.wasm"));
            for manifest in ["sdk/Cargo.toml", "sdk/macros/Cargo.toml"] {
                assert!(!read(manifest).contains("workspace"), "{manifest} leans on our workspace");
            }
            read("sdk/src/bindings/update.rs");
            for file in ["Cargo.toml", "README.md", "src/lib.rs"] {
                let text = read(file).to_lowercase();
                assert!(
                    !text.contains("my-plugin") && !text.contains("my_plugin") && !text.contains("myplugin"),
                    "{file}"
                );
            }
            let again = create(parent.path(), &name, world, "rust").expect_err("it is there already");
            assert!(again.message.contains("is there already"), "{again}");
        }
        assert_eq!(std::fs::read_dir(parent.path()).expect("entries").count(), 4, "nothing else is left behind");
    }

    #[test]
    fn wrong_names_worlds_and_languages_are_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let refused = |name: &str, world: &str, lang: &str| {
            create(parent.path(), name, world, lang).expect_err("must be refused").message
        };
        for name in ["", "Split", "split_words", "-a", "a-", "a--b", "1st", "../up", "ü", "fn", "core", &"a".repeat(65)]
        {
            let message = refused(name, "transform", "rust");
            assert!(message.contains("is no name") || message.contains("is a word of"), "{name}: {message}");
        }
        assert!(refused("a", "transfrom", "rust").contains("worlds are aggregate, cogroup, transform, update"));
        assert!(refused("a", "transform", "cobol").contains("`cobol`"));
        assert_eq!(std::fs::read_dir(parent.path()).expect("entries").count(), 0);
    }
}
