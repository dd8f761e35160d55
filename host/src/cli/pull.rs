//! `millstream pull`: downloads a package into the store, with the checks of a job, and prints the permissions it
//! requests.

use super::add::describe;
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageRequest;
use millstream_packages::lock::location::registry;
use millstream_packages::lock::obtain::obtain;
use millstream_packages::lock::store::PackageStore;
use millstream_packages::trust::policy::Policy;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// The arguments of `millstream pull`.
#[derive(Args)]
pub struct PullArguments {
    /// Package: `split-words` (newest version) or `split-words@0.2.0`
    package: PackageRequest,
    /// Registry: oci://HOST/PATH, or a directory
    ///
    /// Default: `registry` in config.toml.
    #[arg(long)]
    registry: Option<String>,
    /// Also write the component to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Downloads the package. Returns a description of it.
pub fn pull(arguments: &PullArguments) -> Result<String> {
    let registry = registry(arguments.registry.as_deref())?;
    let store = PackageStore::of_user()?;
    let _held = store.hold()?;
    let obtained = obtain(&registry, &arguments.package, None, &Policy::load()?, &store)?;
    let mut text = describe(&obtained);
    if let Some(file) = &arguments.output {
        let component = store.get(&obtained.pin.layer)?;
        let component =
            component.ok_or_else(|| Error::bug("the store does not have the package that was just stored"))?;
        fs::write(file, component).map_err(|error| Error::environment(format!("{}: {error}", file.display())))?;
        let _ = writeln!(text, "written to {}", file.display());
    }
    Ok(text)
}
