//! Go: the Go compiler creates a core module for WASI 0.1. It is started, its state is saved, and Millstream's adapter
//! is added.

use crate::author::componentize;
use crate::author::project::Project;
use crate::author::tools::{self, Tool};
use millstream_base::error::{Error, Result};
use millstream_base::hex;
use std::path::Path;
use std::process::{Command, Stdio};

/// The variable of the SDK with the facts in the manifest.
const ABOUT: &str = "millstream.dev/sdk.about";

/// Compiles a project to a component. `work` is an empty directory for intermediate files. Go's messages go to standard
/// error.
pub fn component(project: &Project, work: &Path) -> Result<Vec<u8>> {
    let world = project.world_in_wit();
    let module = work.join("core.wasm");
    let mut go = Command::new(tools::find(Tool::Go, &project.dir)?);
    go.current_dir(&project.dir)
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        // The same sources give the same bytes, in every directory and with every user configuration.
        .args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-tags"])
        .arg(format!("millstream_{}", world.replace('-', "_")))
        // The SDK seeds the random numbers of Go's runtime, which it reaches by linker names.
        .arg(format!("-ldflags=-w -checklinkname=0 -X {ABOUT}={}", about(project)))
        .arg("-o")
        .arg(&module)
        .arg(".")
        .stdin(Stdio::null());
    let status = tools::status(&mut go).map_err(|error| Error::environment(format!("cannot run go: {error}")))?;
    if !status.success() {
        return Err(Error::plugin("go failed; see its messages above"));
    }
    let core = millstream_base::regular::read(&module).map_err(|error| super::failed("read", &module, &error))?;
    // Go's runtime initializes its heap and packages their tables. That would be most of the cost of a new instance.
    componentize::component(millstream_plugins::plugin::started(&core)?, &world)
}

/// Returns name, version and description in hexadecimal: linker flags cannot quote every string.
fn about(project: &Project) -> String {
    let about = &project.about;
    let text = [&*about.name, &*about.version, &*about.description].join("\0");
    hex::encode(text.as_bytes())
}
