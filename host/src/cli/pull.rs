//! `millstream pull`: gets a package into the store, checked as for a job, and says what it asks for.

use super::add::told;
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageRequest;
use millstream_packages::lock::obtain::obtain;
use millstream_packages::lock::place::registry;
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

/// Gets the package; what it is, in words.
pub fn pull(arguments: &PullArguments) -> Result<String> {
    let registry = registry(arguments.registry.as_deref())?;
    let store = PackageStore::of_user()?;
    let _held = store.hold()?;
    let obtained = obtain(&registry, &arguments.package, None, &Policy::load()?, &store)?;
    let mut text = told(&obtained);
    if let Some(file) = &arguments.output {
        let component = store.get(&obtained.pin.layer)?;
        let component = component.ok_or_else(|| Error::bug("the store does not have what it was just given"))?;
        fs::write(file, component).map_err(|error| Error::environment(format!("{}: {error}", file.display())))?;
        let _ = writeln!(text, "written to {}", file.display());
    }
    Ok(text)
}
