//! Runs componentize-py. For projects with an SDK older than [`base`](super::base), each build creates a component of
//! CPython, the SDK and the plugin.

use super::parts::BaseParts;
use super::{sdk_error, write};
use crate::author::failed;
use crate::author::project::Project;
use crate::author::tools::{self, Tool};
use millstream_base::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::slice;

/// The module that defines the exports. Its name must not collide with one of a project.
const ENTRY: &str = "millstream_entry";
/// A library that componentize-py links to CPython. It finds only libraries with such names.
const STARTUP: &str = "millstream_startup.cpython-314-wasm32-wasi.so";

/// Creates the component of a plugin.
pub fn component(
    project: &Project,
    module: &str,
    parts: &BaseParts<'_>,
    modules: &[PathBuf],
    work: &Path,
) -> Result<Vec<u8>> {
    let tool = tools::find(Tool::ComponentizePy, parts.project)?;
    let about = &project.about;
    let about = serde_json::json!({ "name": about.name, "version": about.version, "doc": about.description });
    // A JSON string is a valid Python string.
    let module = serde_json::Value::from(module);
    let (world, class) = (parts.world, parts.class());
    let mut entry =
        format!("from millstream.glue import export, migrator\n\n{class} = export({module}, \"{world}\", {about})\n");
    if parts.migrates {
        entry.push_str(&format!("Migrator = migrator({module})\n"));
    }
    let (own, sdk) = (work.join("entry"), work.join("sdk"));
    write_entry(&entry, &own)?;
    super::copy(&parts.sdk.join("millstream"), &sdk.join("millstream"), &super::EXCLUDED)?;
    let (first, others) = modules.split_at(modules.len().min(1));
    let dirs = [slice::from_ref(&own), first, slice::from_ref(&sdk), others].concat();
    let component = work.join("plugin.wasm");
    componentize(&tool, work, parts, &dirs, &component)?;
    millstream_base::regular::read(&component).map_err(|error| failed("read", &component, &error))
}

/// Writes the modules that a component needs in addition to those of a plugin.
pub fn write_entry(entry: &str, to: &Path) -> Result<()> {
    let startup = wat::parse_str(include_str!("startup.wat"))
        .map_err(|error| Error::bug(format!("startup.wat does not parse: {error}")))?;
    write(&to.join(format!("{ENTRY}.py")), entry.as_bytes())?;
    write(&to.join(STARTUP), &startup)
}

/// Runs componentize-py. `modules` are Python's search path.
pub fn componentize(tool: &Path, work: &Path, parts: &BaseParts<'_>, modules: &[PathBuf], to: &Path) -> Result<()> {
    // componentize-py adds the packages of the machine's own Python, unless it gets an environment. This one is empty.
    let environment = work.join("environment");
    let packages = environment.join("lib/site-packages");
    fs::create_dir_all(&packages).map_err(|error| failed("create", &packages, &error))?;
    let mut command = Command::new(tool);
    command.current_dir(work).env("VIRTUAL_ENV", environment).env_remove("PYTHONPATH").stdin(Stdio::null());
    command.arg("--quiet").arg("--wit-path").arg(parts.wit_dir()).args(["--world", parts.wit, "componentize", ENTRY]);
    for dir in modules {
        command.arg("--python-path").arg(dir);
    }
    let output = command.arg("--output").arg(to).output().map_err(|error| failed("run", tool, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let output_text = [output.stdout, output.stderr].concat();
    Err(Error::plugin(format!(
        "its modules cannot be imported:\n{}",
        sdk_error(&String::from_utf8_lossy(&output_text))
    )))
}
