//! Go: Go's own compiler makes a core module for WASI 0.1, which is started, kept as it is then, and gets our adapter.

use crate::author::componentize;
use crate::author::project::Project;
use crate::author::tools::{self, Tool};
use millstream_base::error::{Error, Result};
use millstream_base::hex;
use std::path::Path;
use std::process::{Command, Stdio};

/// The variable of the SDK that holds what the manifest says.
const ABOUT: &str = "millstream.dev/sdk.about";

/// Compiles a project to a component; `work` is an empty folder for what is made on the way. Go's messages go to standard
/// error.
pub fn component(project: &Project, work: &Path) -> Result<Vec<u8>> {
    let world = project.world_in_wit();
    let module = work.join("core.wasm");
    let mut go = Command::new(tools::find(Tool::Go, &project.folder)?);
    go.current_dir(&project.folder)
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        // The same sources give the same bytes, wherever they are and whatever else the user has set.
        .args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-tags"])
        .arg(format!("millstream_{}", world.replace('-', "_")))
        // The SDK seeds the random numbers of Go's runtime, which it reaches by the names of its functions.
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
    // Go's runtime prepares its heap and packages their tables, which would be most of what a new instance costs.
    componentize::component(millstream_plugins::plugin::started(&core)?, &world)
}

/// Name, version and description, as hexadecimal digits: the linker's flags have no way to quote all texts.
fn about(project: &Project) -> String {
    let about = &project.about;
    let text = [&*about.name, &*about.version, &*about.description].join("\0");
    hex::encode(text.as_bytes())
}
