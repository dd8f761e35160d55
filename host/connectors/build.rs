//! OpenSSL becomes part of the program where its static libraries are there, as Debian's libssl-dev has them: whoever gets the
//! program then needs no OpenSSL. The linker takes what it finds first, so a folder that holds these alone comes first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // For another machine, what is here fits nothing: who compiles for one says where its OpenSSL is (scripts/cross.sh).
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

/// Where the linker would find a library; a name without a folder is its answer where it does not.
fn library(name: &str) -> Option<PathBuf> {
    let told = Command::new("cc").arg(format!("-print-file-name={name}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(told.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}
