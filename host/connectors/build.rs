//! Links OpenSSL statically if its static libraries exist, as in Debian's libssl-dev. The program then needs no OpenSSL on the
//! target machine. The linker uses the first library it finds, so a directory that contains only these comes first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Libraries of this machine do not fit another one; a cross build sets its own OpenSSL (scripts/cross.sh).
    if env::var_os("TARGET") != env::var_os("HOST") {
        return;
    }
    let Some(dir) = env::var_os("OUT_DIR").map(|out| Path::new(&out).join("static")) else { return };
    let found = ["libssl.a", "libcrypto.a"].map(|name| Some((name, library(name)?)));
    // One of them without the other would mix two versions.
    let [Some(ssl), Some(crypto)] = found else { return };
    let linked = fs::create_dir_all(&dir).and_then(|()| {
        for (name, library) in [ssl, crypto] {
            let link = dir.join(name);
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(library, link)?;
        }
        Ok(())
    });
    if linked.is_ok() {
        println!("cargo:rustc-link-search=native={}", dir.display());
    }
}

/// Returns the path at which the linker would find a library. It prints a name without a directory if it finds none.
fn library(name: &str) -> Option<PathBuf> {
    let compiler_output = Command::new("cc").arg(format!("-print-file-name={name}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(compiler_output.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}
