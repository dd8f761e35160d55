//! Finds a Rust toolchain that compiles for wasm32, or says what to install.
//!
//! Usually this is the user's own with rustup's target. If rustup cannot download anything, Debian's rustc works: it
//! includes the sources of its standard library, which is built once for wasm32 and cached.

use crate::author::failed;
use crate::author::tools::{self, cache_dir};
use millstream_base::error::{Error, Result};
use millstream_base::progress;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The compilation target of plugins.
pub const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Vectors of 128 bits: the SDK splits text with them, and every component runtime supports them.
const FEATURES: &str = "-Ctarget-feature=+simd128";

/// The SDK's crate. It captures printed output with an unstable feature of the standard library.
const CAPTURES: &str = "millstream_sdk";
/// The compiler flag that tells the crate that the toolchain has the feature.
const CFG_CAPTURES: &str = "--cfg=millstream_captures";
/// A program that tests the feature.
const CAPTURE: &str = "#![feature(internal_output_capture)]
    pub fn f() { std::io::set_output_capture(Some(std::sync::Arc::new(std::sync::Mutex::new(Vec::new())))); }";

/// The version of how a standard library is built. One cached by an older Millstream is not used.
const SYSROOT_RECIPE: u32 = 1;

/// What to do if there is no toolchain.
pub const HOW_TO_INSTALL: &str = "with rustup:  rustup target add wasm32-unknown-unknown\n  \
    on Debian:    apt-get install rustc-web cargo-web rust-web-src && apt-get install --no-install-recommends lld-22";

/// A cargo and a rustc that compile for [`TARGET`].
#[derive(Clone, Debug)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// The flags that rustc needs for [`TARGET`].
    flags: Vec<String>,
}

/// Finds a toolchain. The first use of Debian's builds a standard library, which takes about a minute.
///
/// # Errors
/// `Environment`: there is none, with what to install; or its standard library cannot be built.
pub fn find() -> Result<Toolchain> {
    if let Some(toolchain) = user_toolchain() {
        return Ok(toolchain);
    }
    let linker = debian().ok_or_else(missing_error)?;
    let (cargo, rustc) = (PathBuf::from(DEBIAN_CARGO), PathBuf::from(DEBIAN_RUSTC));
    let sysroot = cached_sysroot(&cargo, &rustc)?;
    let linker = format!("-Clinker={}", read_text(&linker)?);
    let flags = ["--sysroot", &read_text(&sysroot)?, &linker, "-Clinker-flavor=wasm-ld", FEATURES];
    Ok(Toolchain { cargo, rustc, flags: flags.map(str::to_owned).into() })
}

fn missing_error() -> Error {
    let what = "no Rust toolchain that compiles for wasm32 was found. Install one";
    Error::environment(format!("{what}:\n  {HOW_TO_INSTALL}"))
}

/// Returns the linker to use with Debian's toolchain, if that is complete.
fn debian() -> Option<PathBuf> {
    let sources = sysroot_of(Path::new(DEBIAN_RUSTC))?.join("lib/rustlib/src/rust/library/std");
    (Path::new(DEBIAN_CARGO).exists() && sources.exists()).then(wasm_linker)?
}

/// Returns, without building anything, the cargo that would be used, its version as text, and the origin of its code
/// for wasm32. `None` if no toolchain is usable; [`HOW_TO_INSTALL`] says what to install.
pub fn describe() -> Option<(PathBuf, String, String)> {
    let (cargo, with) = match user_toolchain() {
        Some(toolchain) => (toolchain.cargo, format!("{TARGET} of this toolchain")),
        None => (DEBIAN_CARGO.into(), format!("Debian's sources of the standard library, {}", debian()?.display())),
    };
    let version = output(Command::new(&cargo).arg("--version"))?;
    // A bare name is looked up on the `PATH`.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let full_path = std::env::split_paths(&path).map(|dir| dir.join(&cargo)).find(|file| file.is_file());
    Some((full_path.unwrap_or(cargo), version, with))
}

impl Toolchain {
    /// Returns a cargo command that compiles a plugin, whose SDK logs printed output. A toolchain without that feature
    /// also works, but printed output is lost, as usual on [`TARGET`].
    pub fn compile(&self) -> Command {
        let mut command = self.cargo();
        if !self.can_capture().unwrap_or(false) {
            eprintln!(
                "note: with this version of Rust, what `println!` prints in a plugin is not logged; `log::info` is"
            );
            return command;
        }
        let flags = self.flags.iter().map(String::as_str).chain([CFG_CAPTURES]).collect::<Vec<_>>().join("\x1f");
        command.env("CARGO_ENCODED_RUSTFLAGS", flags);
        match std::env::var("RUSTC_BOOTSTRAP") {
            // Either everything is allowed, or this list is extended.
            Ok(all) if all == "1" => {}
            Ok(others) if others != "-1" => drop(command.env("RUSTC_BOOTSTRAP", format!("{others},{CAPTURES}"))),
            _ => drop(command.env("RUSTC_BOOTSTRAP", CAPTURES)),
        }
        command
    }

    /// Returns whether the standard library can capture printed output. Compiles two lines, which takes a tenth of a
    /// second.
    fn can_capture(&self) -> Option<bool> {
        let work = tempfile::tempdir().ok()?;
        let source = work.path().join("capture.rs");
        std::fs::write(&source, CAPTURE).ok()?;
        let mut command = Command::new(&self.rustc);
        command.args(["--crate-name", CAPTURES, "--crate-type", "rlib", "--emit", "metadata", "--target", TARGET]);
        command.args(&self.flags).arg("--out-dir").arg(work.path()).arg(&source).env("RUSTC_BOOTSTRAP", CAPTURES);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        Some(status.ok()?.success())
    }

    /// Returns a cargo command of this toolchain. Flags for native programs from the caller's environment are removed.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command
            .env("RUSTC", &self.rustc)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags.join("\x1f"))
            .env_remove("RUSTFLAGS");
        command
    }
}

/// Returns the user's own toolchain, if it has the target.
fn user_toolchain() -> Option<Toolchain> {
    let program = |variable: &str, name: &str| PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| name.into()));
    let (cargo, rustc) = (program("CARGO", "cargo"), program("RUSTC", "rustc"));
    let library = sysroot_of(&rustc)?.join("lib/rustlib").join(TARGET).join("lib");
    let mut entries = std::fs::read_dir(library).ok()?.flatten();
    let has_std = entries.any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"));
    has_std.then(|| Toolchain { cargo, rustc, flags: vec![FEATURES.to_owned()] })
}

fn sysroot_of(rustc: &Path) -> Option<PathBuf> {
    output(Command::new(rustc).args(["--print", "sysroot"])).map(|line| PathBuf::from(line.trim()))
}

/// Returns a linker for wasm32: LLVM's of the highest version, or that of a rustup toolchain.
fn wasm_linker() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/usr/bin").ok()?.flatten().map(|entry| entry.file_name());
    let version = |name: &OsStr| match name.to_str()?.strip_prefix("wasm-ld")? {
        "" => Some(0),
        versioned => versioned.strip_prefix('-')?.parse::<u32>().ok(),
    };
    let newest = entries.filter_map(|name| Some((version(&name)?, name))).max();
    if let Some((_, name)) = newest {
        return Some(Path::new("/usr/bin").join(name));
    }
    let rustc = PathBuf::from("rustc");
    let host = output(Command::new(&rustc).arg("-vV"))?
        .lines()
        .find_map(|line| Some(line.strip_prefix("host: ")?.to_owned()))?;
    let linker = sysroot_of(&rustc)?.join("lib/rustlib").join(host).join("bin/gcc-ld/wasm-ld");
    linker.exists().then_some(linker)
}

/// Returns the sysroot with a standard library for wasm32 of this rustc. Builds it if it does not exist.
fn cached_sysroot(cargo: &Path, rustc: &Path) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let version = output(Command::new(rustc).arg("-vV")).ok_or_else(missing_error)?;
    let part = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").trim();
    let commit: String = part("commit-hash:").chars().take(9).collect();
    let kept = cache.join(format!("sysroot-{}-{commit}-{SYSROOT_RECIPE}", part("release:")));
    if !kept.is_dir() {
        eprintln!("Building Rust's standard library for wasm32 with {}; once, about a minute.", rustc.display());
        build_sysroot(cargo, rustc, &cache, &kept)?;
    }
    Ok(kept)
}

fn build_sysroot(cargo: &Path, rustc: &Path, cache: &Path, kept: &Path) -> Result<()> {
    let work = tempfile::tempdir_in(cache).map_err(|error| failed("write to", cache, &error))?;
    let write = |name: &str, content: &str| {
        let path = work.path().join(name);
        std::fs::write(&path, content).map_err(|error| failed("write", &path, &error))
    };
    write("Cargo.toml", SYSROOT_PROJECT)?;
    write("lib.rs", "")?;
    let target = work.path().join("target");
    let mut building = Command::new(cargo);
    building
        .current_dir(work.path())
        .args(["build", "--quiet", "--release", "-Zbuild-std=std,panic_abort", "--target", TARGET, "--target-dir"])
        .arg(&target)
        // `build-std` is unstable, and this enables it in a stable toolchain.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", rustc)
        .env_remove("RUSTFLAGS")
        // Same as rustup's: without bitcode a plugin cannot be optimized together with the standard library.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Cembed-bitcode=yes");
    let _shown = progress::start("building Rust's standard library");
    let status = tools::status(&mut building).map_err(|error| failed("run", cargo, &error))?;
    if !status.success() {
        let message = "cargo could not build the standard library for wasm32; its messages are above. It needs the \
                       crates registry, and the packages rustc-web, cargo-web and rust-web-src of one version.";
        return Err(Error::environment(message));
    }
    let sysroot = work.path().join("sysroot");
    copy_libraries(&target.join(TARGET).join("release/deps"), &sysroot.join("lib/rustlib").join(TARGET).join("lib"))?;
    match std::fs::rename(&sysroot, kept) {
        // Another process finished at the same time, and its result is equivalent.
        Err(_) if kept.is_dir() => Ok(()),
        other => other.map_err(|error| failed("create", kept, &error)),
    }
}

const SYSROOT_PROJECT: &str = r#"[package]
name = "sysroot-project"
version = "0.0.0"
edition = "2021"
[lib]
path = "lib.rs"
[profile.release]
panic = "abort"
[workspace]
"#;

fn copy_libraries(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|error| failed("create", to, &error))?;
    for entry in std::fs::read_dir(from).map_err(|error| failed("read", from, &error))? {
        let entry = entry.map_err(|error| failed("read", from, &error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".rlib") && !name.starts_with("libsysroot_project") {
            std::fs::copy(entry.path(), to.join(&*name)).map_err(|error| failed("copy", &entry.path(), &error))?;
        }
    }
    Ok(())
}

/// Returns what a program prints. `None` if it cannot be run or fails.
fn output(command: &mut Command) -> Option<String> {
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn read_text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::environment(format!("the path {} is not UTF-8, which cargo needs", path.display())))
}
