//! Creates a component from a core module that a compiler or a person has made. Such a module lacks the description of
//! its Millstream world.

use super::build::preview1;
use super::failed;
use include_dir::{Dir, include_dir};
use millstream_base::error::{Error, Result};
use std::path::Path;

/// The WIT files of the plugin interface.
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");

/// Creates a component from a core module with a world's exports, which have the names and types of the canonical ABI.
/// Its WASI 0.1 imports are adapted to those of the host.
///
/// # Errors
/// `Plugin`: the module lacks an export of the world, or has one with another type, or has an unknown import.
pub fn component(mut core: Vec<u8>, world: &str) -> Result<Vec<u8>> {
    let files = WIT.files().filter(|file| file.path().extension().is_some_and(|ending| ending == "wit"));
    let strings = files.filter_map(|file| Some((file.path().to_str()?, file.contents_utf8()?)));
    preview1::describe(&mut core, strings, world)?;
    preview1::component(&core)
}

/// Creates a component from a file with a core module, binary or as text (`.wat`), and writes it to another file.
///
/// # Errors
/// `Job`: the file does not exist. `Plugin`: it contains no core module, or none of a plugin of this world.
/// `Environment`: the component cannot be written.
pub fn file(module: &Path, world: &str, to: &Path) -> Result<()> {
    let shown = module.display();
    let bytes =
        millstream_base::regular::read(module).map_err(|error| Error::job(format!("cannot read {shown}: {error}")))?;
    let core = wat::parse_bytes(&bytes).map_err(|mut error| {
        error.set_path(module);
        Error::plugin(error)
    })?;
    if !wasmparser::Parser::is_core_wasm(&core) {
        return Err(Error::plugin(format!("{shown} is not a core WebAssembly module")));
    }
    let component = component(core.into_owned(), world).map_err(|error| error.within(shown))?;
    std::fs::write(to, component).map_err(|error| failed("write", to, &error))
}
