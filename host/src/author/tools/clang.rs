//! Clang is more than one program: it needs a linker, a C library and a library of its own for WASI, and not every system
//! calls it `clang`.

use super::output;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target's name in all versions of clang; newer ones call it `wasm32-wasip1` too.
pub const TARGET: &str = "--target=wasm32-wasi";

/// A part that clang needs.
#[derive(Clone, Copy, Debug)]
pub struct ClangPart {
    /// Its name.
    pub name: &'static str,
    /// What clang is asked for its place.
    question: &'static str,
    /// Debian's package; `{}` stands for clang's first number.
    pub package: &'static str,
}

/// All that clang needs beside itself.
pub const PARTS: [ClangPart; 3] = [
    ClangPart { name: "wasm-ld", question: "-print-prog-name=wasm-ld", package: "lld" },
    ClangPart { name: "wasi-libc", question: "-print-file-name=crt1-reactor.o", package: "wasi-libc" },
    ClangPart { name: "compiler-rt", question: "-print-libgcc-file-name", package: "libclang-rt-{}-dev-wasm32" },
];

impl ClangPart {
    /// Where it is.
    pub fn place(&self, clang: &Path) -> Option<PathBuf> {
        let place = output(Command::new(clang).args([TARGET, self.question])).ok()?;
        // What it does not find comes back as it was asked for.
        Some(PathBuf::from(place.trim())).filter(|path| path.is_absolute() && path.is_file())
    }
}

/// Whether a clang has all that it needs.
pub fn is_complete(clang: &Path) -> bool {
    PARTS.iter().all(|part| part.place(clang).is_some())
}

/// The clang of wasi-sdk, where the user says that there is one.
pub fn of_wasi_sdk() -> Option<PathBuf> {
    let kit = std::env::var_os("WASI_SDK_PATH").filter(|path| !path.is_empty())?;
    Some(Path::new(&kit).join("bin/clang"))
}

/// Those of the `PATH` with a version in their names, which some systems only have; the newest first.
pub fn with_versions() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::env::split_paths(&path).filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let version = |name: &OsStr| name.to_str()?.strip_prefix("clang-")?.parse::<u32>().ok();
    let mut found: Vec<_> = entries.filter_map(|entry| Some((version(&entry.file_name())?, entry.path()))).collect();
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, path)| path).collect()
}
