//! `millstream push`: publishes a plugin as a package.

use crate::author::stale::stale;
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::package_name;
use millstream_base::package_name::PackageName;
use millstream_packages::lock::location::registry;
use millstream_packages::package::facts::PackageFacts;
use millstream_packages::package::manifest::EncodedPackage;
use millstream_packages::trust::key::SecretKey;
use millstream_packages::trust::signature;
use millstream_plugins::plugin::{component_file, read_component};
use std::path::PathBuf;

/// The arguments of `millstream push`.
#[derive(Args)]
pub struct PushArguments {
    /// Directory of a built plugin, or a component file
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// Registry: oci://HOST/PATH, or a directory
    ///
    /// Default: `registry` in config.toml.
    #[arg(long)]
    registry: Option<String>,
    /// Sign with this key (`millstream key new` creates one)
    #[arg(long, value_name = "KEY")]
    sign: Option<String>,
}

/// Publishes a plugin. Returns the output. A version that exists with other content is rejected. So is a component that
/// is older than its sources, since the package would not match its directory. An identical existing version may get
/// another signature.
pub fn push(arguments: &PushArguments) -> Result<String> {
    let registry = registry(arguments.registry.as_deref())?;
    let file = component_file(&arguments.plugin)?;
    let shown = file.display().to_string();
    if let Some(stale) = stale(&arguments.plugin) {
        return Err(Error::job(format!(
            "cannot push plugin {shown}: {stale}; a copy in another directory is pushed unchanged"
        )));
    }
    let component = read_component(&file)?;
    let facts = PackageFacts::read(&component, &shown)?;
    if facts.name.is_empty() || facts.version.is_empty() {
        return Err(Error::job(format!(
            "plugin {shown} has no name and version, which a package needs; `millstream build` adds them from the \
             manifest of its directory"
        )));
    }
    let within = |error: Error| error.within(format!("plugin {shown}"));
    let name: PackageName = facts.name.parse().map_err(within)?;
    let version = package_name::version(&facts.version).map_err(within)?;
    let made = EncodedPackage::pack(component, &facts)?;
    let digest = made.digest();
    // Without the key, nothing is pushed.
    let key = arguments.sign.as_deref().map(SecretKey::of_user).transpose()?;
    let signed = key.as_ref().map(|key| signature::sign(key, &name, &version, &digest)).transpose()?;
    registry.push(&name, &version, &made)?;
    let mut text = format!("pushed {name} {version} to {registry}\n  manifest {digest}\n");
    if let Some((signature, key)) = signed.zip(key) {
        registry.attach(&name, &made, &signature)?;
        text.push_str(&format!("  signed by {}\n", key.name));
    }
    Ok(text)
}
