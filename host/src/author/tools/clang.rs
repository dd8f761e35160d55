//! Clang needs more than one program: a linker, a C library and its own library for WASI. Not every system calls it
//! `clang`.

use super::output;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target's name in all versions of clang. Newer ones also call it `wasm32-wasip1`.
pub const TARGET: &str = "--target=wasm32-wasi";

/// A part that clang needs.
#[derive(Clone, Copy, Debug)]
pub struct ClangPart {
    /// The name.
    pub name: &'static str,
    /// The option that prints its path.
    question: &'static str,
    /// The Debian package. `{}` is replaced by clang's major version.
    pub package: &'static str,
}

/// All parts that clang needs.
pub const PARTS: [ClangPart; 3] = [
    ClangPart { name: "wasm-ld", question: "-print-prog-name=wasm-ld", package: "lld" },
    ClangPart { name: "wasi-libc", question: "-print-file-name=crt1-reactor.o", package: "wasi-libc" },
    ClangPart { name: "compiler-rt", question: "-print-libgcc-file-name", package: "libclang-rt-{}-dev-wasm32" },
];

impl ClangPart {
    /// Returns the path of the part.
    pub fn path(&self, clang: &Path) -> Option<PathBuf> {
        let path = output(Command::new(clang).args([TARGET, self.question])).ok()?;
        // For a missing part, clang prints the name unchanged.
        Some(PathBuf::from(path.trim())).filter(|path| path.is_absolute() && path.is_file())
    }
}

/// Returns whether a clang has all parts.
pub fn is_complete(clang: &Path) -> bool {
    PARTS.iter().all(|part| part.path(clang).is_some())
}

/// Returns the clang of wasi-sdk, if the user has configured one.
pub fn of_wasi_sdk() -> Option<PathBuf> {
    let kit = std::env::var_os("WASI_SDK_PATH").filter(|path| !path.is_empty())?;
    Some(Path::new(&kit).join("bin/clang"))
}

/// Returns the clangs on the `PATH` with a version in their names, as some systems have only these. The newest comes
/// first.
pub fn with_versions() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::env::split_paths(&path).filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let version = |name: &OsStr| name.to_str()?.strip_prefix("clang-")?.parse::<u32>().ok();
    let mut found: Vec<_> = entries.filter_map(|entry| Some((version(&entry.file_name())?, entry.path()))).collect();
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, path)| path).collect()
}
