//! C: clang compiles a project and the SDK to a core module for WASI. If necessary, Millstream's adapter is added.

use super::failed;
use crate::author::componentize;
use crate::author::project::{Code, Project, ProjectFacts};
use crate::author::tools::{self, Tool, clang};
use millstream_base::error::{Error, Result};
use millstream_base::terminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wasm_metadata::{AddMetadata, AddMetadataField};

/// The dialect also used for the tests of a project, see its Makefile. Vectors split text several times faster, and
/// every component runtime supports them. Function names are kept for backtraces, other debug information is not.
const FLAGS: [&str; 7] =
    ["-std=gnu17", "-O3", "-msimd128", "-Wall", "-Wextra", "-mexec-model=reactor", "-Wl,--strip-debug"];

const INSTALL: &str = "clang cannot build for WebAssembly: its linker, C library or runtime is missing. Install \
    them:\n  on Debian:  apt-get install --no-install-recommends clang lld wasi-libc libclang-rt-14-dev-wasm32\n  \
    elsewhere:  unpack wasi-sdk, and set WASI_SDK_PATH to its directory";

/// Compiles a project to a component. `work` is an empty directory for intermediate files. clang's messages go to
/// standard error.
pub fn component(project: &Project, work: &Path) -> Result<Vec<u8>> {
    let Code::C { sdk } = &project.code else { return Err(Error::bug("no project in C")) };
    let world = project.world_in_wit();
    let module = work.join("core.wasm");
    let program = tools::find(Tool::Clang, &project.dir)?;
    let mut clang = Command::new(&program);
    clang
        // Paths in messages, and in the component, are relative to this directory.
        .current_dir(&project.dir)
        .arg(clang::TARGET)
        .args(FLAGS)
        .args(defines(&project.about))
        .arg(format!("-I{sdk}/include"))
        .arg(format!("-I{sdk}/generated/{world}"))
        .arg("-o")
        .arg(&module)
        .args(own_sources(&project.dir)?)
        .args(sdk_sources(project, sdk, &world)?)
        .stdin(Stdio::null());
    if terminal::draws() && terminal::has_colours() {
        // clang would not detect the terminal.
        clang.arg("-fcolor-diagnostics");
    }
    let status = tools::status(&mut clang)
        .map_err(|error| Error::environment(format!("cannot run {}: {error}", program.display())))?;
    if !status.success() {
        return Err(if clang::is_complete(&program) {
            Error::plugin("clang failed; see its messages above")
        } else {
            Error::environment(INSTALL)
        });
    }
    let core = millstream_base::regular::read(&module).map_err(|error| failed("read", &module, &error))?;
    componentize::component(add_name(&core, &project.about.name)?, &world)
}

/// Adds the plugin's name to a core module. Backtraces show it before function names.
fn add_name(core: &[u8], name: &str) -> Result<Vec<u8>> {
    let mut added = AddMetadata::default();
    added.name = AddMetadataField::Set(name.into());
    added.to_wasm(core).map_err(|error| Error::plugin(format!("its name cannot be added: {error:#}")))
}

/// Returns the facts in the manifest as macros for the SDK.
fn defines(about: &ProjectFacts) -> [String; 3] {
    [("NAME", &about.name), ("VERSION", &about.version), ("DOC", &about.description)]
        .map(|(what, text)| format!("-DMS_PLUGIN_{what}={}", literal(text)))
}

/// Returns a string literal in C.
fn literal(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'.' | b',' | b'-' => char::from(byte).to_string(),
        // Always three digits, so that a following digit does not belong to it.
        other => format!("\\{other:03o}"),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// Returns the `.c` files of the project and of its `src`, except those of tests, sorted by name. Relative to the
/// project's directory.
fn own_sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = c_files(dir, "")?;
    if dir.join("src").is_dir() {
        sources.extend(c_files(dir, "src")?);
    }
    let is_test = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem == "test" || stem.starts_with("test_") || stem.ends_with("_test")
    };
    sources.retain(|path| !is_test(path));
    if sources.is_empty() {
        return Err(Error::job(format!("{} has no .c file except tests", dir.display())));
    }
    Ok(sources)
}

/// Returns the files of the SDK for a world.
fn sdk_sources(project: &Project, sdk: &str, world: &str) -> Result<Vec<PathBuf>> {
    let source = Path::new(sdk).join("src");
    let mut sources = c_files(&project.dir, &source.to_string_lossy()).map_err(|error| {
        let advice = "Is `sdk` in plugin.toml the directory of Millstream's SDK for C?";
        Error { message: format!("{}\n{advice}", error.message), ..error }
    })?;
    sources.extend([source.join("wasm/wire.c"), source.join(format!("wasm/{world}.c"))]);
    sources.push(Path::new(sdk).join(format!("generated/{world}/wire.c")));
    Ok(sources)
}

/// Returns the `.c` files in a subdirectory, sorted by name.
fn c_files(base: &Path, dir: &str) -> Result<Vec<PathBuf>> {
    let inside = base.join(dir);
    let entries = std::fs::read_dir(&inside).map_err(|error| failed("read", &inside, &error))?;
    let names = entries.flatten().map(|entry| Path::new(dir).join(entry.file_name()));
    let mut files: Vec<PathBuf> = names.filter(|name| name.extension().is_some_and(|ending| ending == "c")).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_so_that_no_compiler_takes_them_apart() {
        assert_eq!(literal("Adds 1, twice."), "\"Adds 1, twice.\"");
        assert_eq!(literal("a\"b\\c\n1"), "\"a\\042b\\134c\\0121\"");
        assert_eq!(literal("ü"), "\"\\303\\274\"");
    }

    #[test]
    fn tests_are_no_sources_of_a_plugin() {
        let dir = tempfile::tempdir().expect("a directory");
        let touch = |name: &str| std::fs::write(dir.path().join(name), "").expect(name);
        ["test_plugin.c", "plugin_test.c", "test.c", "notes.txt"].into_iter().for_each(touch);
        let nothing = own_sources(dir.path()).expect_err("no source");
        assert!(nothing.message.contains("no .c file"), "{nothing}");
        std::fs::create_dir(dir.path().join("src")).expect("a directory");
        ["plugin.c", "contest.c", "src/more.c"].into_iter().for_each(touch);
        let names = ["contest.c", "plugin.c", "src/more.c"].map(PathBuf::from);
        assert_eq!(own_sources(dir.path()).expect("sources"), names);
    }
}
