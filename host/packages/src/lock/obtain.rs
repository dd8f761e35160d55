//! From a reference to a package in the store: found, allowed, fetched, checked. Nothing is compiled or run for it.

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
    /// What a lock file says of it.
    pub pin: Pin,
    /// What it is.
    pub facts: PackageFacts,
    /// Those who signed it and are trusted.
    pub signers: Vec<String>,
}

/// Gets a package. `pinned`: the digest that it must have. A version that has another one by now is an error: its tag was
/// moved. What is in the store already is not fetched again; where it is pinned, the registry is not even asked.
pub fn obtain(
    registry: &Registry,
    wanted: &PackageRequest,
    pinned: Option<&Pin>,
    policy: &Policy,
    store: &PackageStore,
) -> Result<Obtained> {
    let within = |error: Error| error.within(format!("{wanted} of {registry}"));
    if let Some(pin) = pinned
        && let Some((component, signers)) = held(registry, pin, policy, store)?
    {
        let facts = facts(&component, &pin.name, &pin.version).map_err(within)?;
        return Ok(Obtained { pin: pin.clone(), facts, signers });
    }
    let text = registry.to_string();
    policy.allows(&text)?;
    let (version, digest) = registry.find(wanted)?;
    let name = &wanted.name;
    not_moved(&text, name, &version, pinned.map(|pin| pin.manifest), digest)?;
    not_moved(&text, name, &version, store.seen(&text, name, &version)?, digest)?;
    // Whether it may be used is known before anything large is fetched.
    let signatures = registry.signatures(name, &digest)?;
    let signers = policy.check(&text, name, &version, &digest, &signatures)?;
    let (manifest, component) = fetched(registry, name, &digest, store)?;
    let layer = Digest::of(&component);
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

/// The file of a pinned package that was fetched from this registry before, as it may be used now, and those who signed it and
/// are trusted; no network is needed. `None`: it is not in the store, or came from somewhere else.
pub fn kept(
    registry: &Registry,
    pin: &Pin,
    policy: &Policy,
    store: &PackageStore,
) -> Result<Option<(PathBuf, Vec<String>)>> {
    let Some(signers) = signers_of_held(registry, pin, policy, store)? else { return Ok(None) };
    Ok(store.file(&pin.layer)?.map(|file| (file, signers)))
}

/// The same with its bytes, and with those who signed it and are trusted.
fn held(
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
    let Some(seen) = store.seen(&text, &pin.name, &pin.version)? else { return Ok(None) };
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

/// The manifest and the component: from the store, else from the registry.
fn fetched(
    registry: &Registry,
    name: &PackageName,
    digest: &Digest,
    store: &PackageStore,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let shown = format!("{name} of {registry}");
    // What is damaged there is fetched again.
    if let Ok(Some(manifest)) = store.get(digest)
        && let Ok(Some(component)) = store.get(&manifest::read(&manifest, &shown)?.layer.digest)
    {
        return Ok((manifest, component));
    }
    let Fetched { manifest, component } = registry.fetch(name, digest)?;
    let layer = manifest::read(&manifest, &shown)?.layer;
    if Digest::of(&manifest) != *digest
        || Digest::of(&component) != layer.digest
        || component.len() as u64 != layer.bytes
    {
        return Err(Error::environment(format!(
            "{shown}: what the registry sent does not have the digest {digest}; it is not used"
        )));
    }
    Ok((manifest, component))
}

/// What a component is, which must be what it was asked for as.
fn facts(component: &[u8], name: &PackageName, version: &Version) -> Result<PackageFacts> {
    let facts = PackageFacts::of(component, &format!("{name}@{version}"))?;
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

/// A version has the same manifest for ever.
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
             change, so it is not used; ask its publisher for a new version."
        ))),
        _ => Ok(()),
    }
}
