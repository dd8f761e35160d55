//! Calls componentize-py. Projects with an SDK from before [`base`](super::base) get a component of CPython, the SDK and the
//! plugin in each build.

use super::parts::BaseParts;
use super::{told, write};
use crate::author::failed;
use crate::author::project::Project;
use crate::author::tools::{self, Tool};
use millstream_base::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::slice;

/// The module that makes the exports. Its name must not be one that a project may have.
const ENTRY: &str = "millstream_entry";
/// A library that componentize-py links to CPython; only by such a name does it find one.
const STARTUP: &str = "millstream_startup.cpython-314-wasm32-wasi.so";

/// Makes the component of a plugin.
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
    // A text of JSON is one of Python.
    let module = serde_json::Value::from(module);
    let (world, class) = (parts.world, parts.class());
    let mut entry =
        format!("from millstream.glue import export, migrator\n\n{class} = export({module}, \"{world}\", {about})\n");
    if parts.migrates {
        entry.push_str(&format!("Migrator = migrator({module})\n"));
    }
    let (own, sdk) = (work.join("entry"), work.join("sdk"));
    write_entry(&entry, &own)?;
    super::copy(&parts.sdk.join("millstream"), &sdk.join("millstream"), &super::LEFT_OUT)?;
    let (first, others) = modules.split_at(modules.len().min(1));
    let folders = [slice::from_ref(&own), first, slice::from_ref(&sdk), others].concat();
    let component = work.join("plugin.wasm");
    componentize(&tool, work, parts, &folders, &component)?;
    millstream_base::regular::read(&component).map_err(|error| failed("read", &component, &error))
}

/// Writes the modules that a component is made of, beside those of a plugin.
pub fn write_entry(entry: &str, to: &Path) -> Result<()> {
    let startup = wat::parse_str(include_str!("startup.wat"))
        .map_err(|error| Error::bug(format!("startup.wat does not parse: {error}")))?;
    write(&to.join(format!("{ENTRY}.py")), entry.as_bytes())?;
    write(&to.join(STARTUP), &startup)
}

/// Calls componentize-py. `modules` are the folders that Python looks for modules in.
pub fn componentize(tool: &Path, work: &Path, parts: &BaseParts<'_>, modules: &[PathBuf], to: &Path) -> Result<()> {
    // componentize-py adds the packages of the machine's own Python, unless it is told of an environment; this one has none.
    let environment = work.join("environment");
    let packages = environment.join("lib/site-packages");
    fs::create_dir_all(&packages).map_err(|error| failed("create", &packages, &error))?;
    let mut command = Command::new(tool);
    command.current_dir(work).env("VIRTUAL_ENV", environment).env_remove("PYTHONPATH").stdin(Stdio::null());
    command.arg("--quiet").arg("--wit-path").arg(parts.wit_folder()).args([
        "--world",
        parts.wit,
        "componentize",
        ENTRY,
    ]);
    for folder in modules {
        command.arg("--python-path").arg(folder);
    }
    let output = command.arg("--output").arg(to).output().map_err(|error| failed("run", tool, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    Err(Error::plugin(format!("its modules cannot be imported:\n{}", told(&String::from_utf8_lossy(&words)))))
}
