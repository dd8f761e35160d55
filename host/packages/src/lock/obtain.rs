//! From a reference to a package in the store: found, allowed, fetched, checked. Nothing is compiled or run.

use super::Pin;
use super::store::PackageStore;
use crate::package::facts::PackageFacts;
use crate::package::manifest;
use crate::registry::Registry;
use crate::registry::found::Fetched;
use crate::trust::policy::Policy;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::{PackageName, PackageRequest};
use semver::Version;
use std::path::PathBuf;

/// A package that may be used.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The pin for the lock file.
    pub pin: Pin,
    /// The facts of the package.
    pub facts: PackageFacts,
    /// The trusted signers.
    pub signers: Vec<String>,
}

/// Gets a package. `pinned` is the digest that it must have. If the version now has another digest, its tag was moved, which is an error.
/// Bytes in the store are not fetched again; if the package is pinned, the registry is not contacted at all.
pub fn obtain(
    registry: &Registry,
    wanted: &PackageRequest,
    pinned: Option<&Pin>,
    policy: &Policy,
    store: &PackageStore,
) -> Result<Obtained> {
    let within = |error: Error| error.within(format!("{wanted} of {registry}"));
    if let Some(pin) = pinned
        && let Some((component, signers)) = from_store(registry, pin, policy, store)?
    {
        let facts = facts(&component, &pin.name, &pin.version).map_err(within)?;
        return Ok(Obtained { pin: pin.clone(), facts, signers });
    }
    let text = registry.to_string();
    policy.allows(&text)?;
    let (version, digest) = registry.find(wanted)?;
    let name = &wanted.name;
    not_moved(&text, name, &version, pinned.map(|pin| pin.manifest), digest)?;
    not_moved(&text, name, &version, store.seen_digest(&text, name, &version)?, digest)?;
    // Check permission before anything large is fetched.
    let signatures = registry.signatures(name, &digest)?;
    let signers = policy.check(&text, name, &version, &digest, &signatures)?;
    let (manifest, component) = fetch_package(registry, name, &digest, store)?;
    let layer = Digest::compute(&component);
    if pinned.is_some_and(|pin| pin.layer != layer) {
        return Err(within(Error::job(format!(
            "the lock file pins the component {}, and its manifest names {layer}; remove its [[package]] from the lock file \
             and add it again",
            pinned.map(|pin| pin.layer.to_string()).unwrap_or_default()
        ))));
    }
    let facts = facts(&component, name, &version).map_err(within)?;
    store.put(&component)?;
    store.put(&manifest)?;
    store.keep_signatures(&digest, &signatures)?;
    // Last: it says that all the rest was there and was good.
    store.see(&text, name, &version, &digest)?;
    let pin = Pin { name: name.clone(), version, registry: text, manifest: digest, layer };
    Ok(Obtained { pin: pinned.cloned().unwrap_or(pin), facts, signers })
}

/// Returns the file of a pinned package that was fetched from this registry before and may be used now, and its trusted signers. Needs no
/// network. `None` if it is not in the store, or came from another registry.
pub fn find_in_store(
    registry: &Registry,
    pin: &Pin,
    policy: &Policy,
    store: &PackageStore,
) -> Result<Option<(PathBuf, Vec<String>)>> {
    let Some(signers) = signers_of_held(registry, pin, policy, store)? else { return Ok(None) };
    Ok(store.file(&pin.layer)?.map(|file| (file, signers)))
}

/// Like [`kept`], with the bytes of the package and its trusted signers.
fn from_store(
    registry: &Registry,
    pin: &Pin,
    policy: &Policy,
    store: &PackageStore,
) -> Result<Option<(Vec<u8>, Vec<String>)>> {
    let Some(signers) = signers_of_held(registry, pin, policy, store)? else { return Ok(None) };
    Ok(store.get(&pin.layer)?.map(|component| (component, signers)))
}

fn signers_of_held(
    registry: &Registry,
    pin: &Pin,
    policy: &Policy,
    store: &PackageStore,
) -> Result<Option<Vec<String>>> {
    let text = registry.to_string();
    policy.allows(&text)?;
    let Some(seen) = store.seen_digest(&text, &pin.name, &pin.version)? else { return Ok(None) };
    not_moved(&text, &pin.name, &pin.version, Some(pin.manifest), seen)?;
    let Some(manifest) = store.get(&pin.manifest)? else { return Ok(None) };
    let layout = manifest::read(&manifest, &format!("{}@{}", pin.name, pin.version))?;
    if layout.layer.digest != pin.layer {
        return Err(Error::job(format!(
            "{}@{}: the lock file pins the component {}, and its manifest {} names {}; remove its [[package]] from the lock \
             file and add it again",
            pin.name, pin.version, pin.layer, pin.manifest, layout.layer.digest
        )));
    }
    let signatures = store.signatures(&pin.manifest)?;
    let checked = policy.check(&text, &pin.name, &pin.version, &pin.manifest, &signatures);
    checked.map(Some).map_err(|error| Error {
        message: format!(
            "{}\n  To fetch signatures that were added since, run `millstream add {}@{}`.",
            error.message, pin.name, pin.version
        ),
        ..error
    })
}

/// Gets the manifest and the component, from the store or else from the registry.
fn fetch_package(
    registry: &Registry,
    name: &PackageName,
    digest: &Digest,
    store: &PackageStore,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let shown = format!("{name} of {registry}");
    // Damaged bytes are fetched again.
    if let Ok(Some(manifest)) = store.get(digest)
        && let Ok(Some(component)) = store.get(&manifest::read(&manifest, &shown)?.layer.digest)
    {
        return Ok((manifest, component));
    }
    let Fetched { manifest, component } = registry.fetch(name, digest)?;
    let layer = manifest::read(&manifest, &shown)?.layer;
    if Digest::compute(&manifest) != *digest
        || Digest::compute(&component) != layer.digest
        || component.len() as u64 != layer.bytes
    {
        return Err(Error::environment(format!(
            "{shown}: the registry sent content that does not match the digest {digest}; it is not used"
        )));
    }
    Ok((manifest, component))
}

/// Reads the facts of a component, which must have the requested name and version.
fn facts(component: &[u8], name: &PackageName, version: &Version) -> Result<PackageFacts> {
    let facts = PackageFacts::read(component, &format!("{name}@{version}"))?;
    if facts.name == name.as_str() && facts.version == version.to_string() {
        return Ok(facts);
    }
    let says = match (facts.name.as_str(), facts.version.as_str()) {
        ("", _) => "no name".to_owned(),
        (name, "") => format!("`{name}` without a version"),
        (name, version) => format!("`{name}@{version}`"),
    };
    Err(Error::job(format!("the component describes itself as {says}; it is not used")))
}

/// Checks that a version has the same manifest as before: a version never changes.
pub(super) fn not_moved(
    registry: &str,
    name: &PackageName,
    version: &Version,
    known: Option<Digest>,
    found: Digest,
) -> Result<()> {
    match known {
        Some(known) if known != found => Err(Error::environment(format!(
            "{name}@{version} of {registry} was moved: it was {known} and is now {found}. A version must never \
             change, so it is not used. Its publisher must publish a new version."
        ))),
        _ => Ok(()),
    }
}
