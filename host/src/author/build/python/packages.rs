//! The packages that a project needs, put into a folder of it by pip.

use crate::author::failed;
use crate::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where they are kept, so that a build needs no network as long as the manifest names the same ones.
const KEPT: &str = ".millstream/packages";

/// Installs packages, as a manifest writes them, and gives their folder; none where none is needed. Only packages of pure
/// Python can be a part of a component. `tool` is componentize-py, whose own Python is asked for pip first.
pub fn install(folder: &Path, dependencies: &[String], tool: &Path) -> Result<Option<PathBuf>> {
    if dependencies.is_empty() {
        return Ok(None);
    }
    let kept = folder.join(KEPT);
    let (packages, list) = (kept.join("modules"), kept.join("installed.txt"));
    let wanted = dependencies.join("\n");
    if fs::read_to_string(&list).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(packages));
    }
    match fs::remove_dir_all(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("empty", &kept, &error)),
        _ => fs::create_dir_all(&packages).map_err(|error| failed("create", &packages, &error))?,
    }
    let python = super::beside(tool, "python3");
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--target"]);
    command.arg(&packages).stdin(Stdio::null());
    // The wheels that pip takes under these conditions hold no machine code.
    command.args(["--only-binary", ":all:", "--platform", "any", "--implementation", "py", "--abi", "none"]);
    command.args(["--python-version", "3.14"]).args(dependencies);
    let output = command.output().map_err(|error| failed("run", &python, &error))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Error::plugin(format!(
            "pip cannot install what pyproject.toml lists as `dependencies`; only wheels of pure Python (`py3-none-any`) can be \
             a part of a component\n{}",
            words.trim_end()
        )));
    }
    fs::write(&list, wanted).map_err(|error| failed("write", &list, &error))?;
    Ok(Some(packages))
}
