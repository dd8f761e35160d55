//! `millstream show`: describes a package and its requested permissions before it is used. Nothing of it is run or
//! stored.

use crate::author::inspect;
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageRequest;
use millstream_packages::lock::location::registry;
use millstream_packages::package::facts::PackageFacts;
use millstream_packages::registry::Registry;
use millstream_packages::trust::policy::Policy;
use std::fmt::Write as _;

/// The arguments of `millstream show`.
#[derive(Args)]
pub struct ShowArguments {
    /// Package: `split-words` (newest version) or `split-words@0.2.0`
    package: PackageRequest,
    /// Registry: oci://HOST/PATH, or a directory
    ///
    /// Default: `registry` in config.toml.
    #[arg(long)]
    registry: Option<String>,
    /// Show only its README
    #[arg(long)]
    readme: bool,
}

/// Returns a description of the package.
pub fn show(arguments: &ShowArguments) -> Result<String> {
    let ShowArguments { package: wanted, registry: given, readme } = arguments;
    let registry = registry(given.as_deref())?;
    let policy = Policy::load()?;
    policy.allows(&registry.to_string())?;
    let (version, digest) = registry.find(wanted)?;
    let fetched = registry.fetch(&wanted.name, &digest)?;
    let reference = format!("{}@{version}", wanted.name);
    let facts = PackageFacts::read(&fetched.component, &reference)?;
    if facts.name != wanted.name.as_str() || facts.version != version.to_string() {
        return Err(Error::environment(format!(
            "{reference} of {registry} describes itself as `{}@{}`; do not use it",
            facts.name, facts.version
        )));
    }
    if *readme {
        return match facts.metadata.readme.trim_end() {
            "" => Err(Error::job(format!("{reference} has no README"))),
            text => Ok(format!("{text}\n")),
        };
    }
    let mut text = inspect::component(&fetched.component, &reference)?;
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{:<15}{value}", format!("{name}:"));
    };
    let location = if matches!(registry, Registry::Dir(_)) { "directory" } else { "registry" };
    line(location, &registry.to_string());
    line("manifest", &digest.to_string());
    let signatures = registry.signatures(&wanted.name, &digest)?;
    match policy.check(&registry.to_string(), &wanted.name, &version, &digest, &signatures) {
        Ok(signers) if signers.is_empty() => line("signed by", "no trusted key"),
        Ok(signers) => line("signed by", &signers.join(", ")),
        Err(untrusted) => line("refused", &untrusted.message.replace('\n', "\n               ")),
    }
    Ok(text)
}
