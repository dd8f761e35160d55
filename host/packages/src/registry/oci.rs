//! A registry of the OCI distribution specification.
//!
//! `oci-client` talks to it in a separate process with limits (`obey`): the library reads responses without a bound and trusts some of
//! them, but registries are hostile. The results are checked against their digests again.

mod address;
mod exchange;
mod client;
mod login;
mod message;
mod obey;
mod referrers;
mod transport;
mod upload;

pub use address::Address;
pub use obey::{RegistryArguments, obey};
pub use transport::choose_tls;

use super::found::{self, Fetched, SearchHit};
use super::listing;
use crate::package::manifest::{self, EncodedPackage};
use exchange::exchange;
use message::{FoundPackage, RegistryQuestion, RegistryResponse};
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name;
use millstream_base::package_name::{PackageName, PackageRequest};
use semver::Version;

/// See [`super::Registry::find`].
pub fn find(address: &Address, wanted: &PackageRequest) -> Result<(Version, Digest)> {
    let version = wanted.version.as_ref().map(ToString::to_string);
    let question = RegistryQuestion::Find { name: wanted.name.to_string(), version };
    match exchange(address, question, &[])? {
        (RegistryResponse::Found { version, digest }, _) => Ok((package_name::version(&version)?, digest.parse()?)),
        (RegistryResponse::Missing { versions }, _) => {
            let there: Vec<Version> = versions.iter().filter_map(|text| package_name::version(text).ok()).collect();
            Err(listing::missing(wanted, &there, &format_args!("oci://{address}")))
        }
        _ => Err(unexpected()),
    }
}

/// See [`super::Registry::fetch`].
pub fn fetch(address: &Address, name: &PackageName, digest: &Digest) -> Result<Fetched> {
    let question = RegistryQuestion::Fetch { name: name.to_string(), digest: digest.to_string() };
    let (RegistryResponse::Bytes, bytes) = exchange(address, question, &[])? else { return Err(unexpected()) };
    let Ok([manifest, component]) = <[Vec<u8>; 2]>::try_from(bytes) else { return Err(unexpected()) };
    let shown = format!("`{name}` {digest} of oci://{address}");
    let layer = manifest::read(&manifest, &shown)?.layer;
    let fits = Digest::compute(&manifest) == *digest && Digest::compute(&component) == layer.digest;
    if !fits || component.len() as u64 != layer.bytes {
        return Err(unexpected());
    }
    Ok(Fetched { manifest, component })
}

/// See [`super::Registry::signatures`].
pub fn signatures(address: &Address, name: &PackageName, manifest: &Digest) -> Result<Vec<Vec<u8>>> {
    let question = RegistryQuestion::Signatures { name: name.to_string(), digest: manifest.to_string() };
    match exchange(address, question, &[])? {
        (RegistryResponse::Bytes, signatures) => Ok(signatures),
        _ => Err(unexpected()),
    }
}

/// See [`super::Registry::push`].
pub fn push(address: &Address, name: &PackageName, version: &Version, made: &EncodedPackage) -> Result<()> {
    let question = RegistryQuestion::Push { name: name.to_string(), version: version.to_string() };
    match exchange(address, question, &[&made.manifest, &made.config, &made.component])? {
        (RegistryResponse::Bytes, _) => Ok(()),
        (RegistryResponse::Taken, _) => Err(found::version_exists(&format!("oci://{address} `{name}`:"), version)),
        _ => Err(unexpected()),
    }
}

/// See [`super::Registry::attach`].
pub fn attach(address: &Address, name: &PackageName, made: &EncodedPackage, signature: &[u8]) -> Result<()> {
    let question = RegistryQuestion::Attach { name: name.to_string(), digest: made.digest().to_string() };
    let manifest = super::referrer::manifest(made, signature)?;
    match exchange(address, question, &[&manifest, signature])? {
        (RegistryResponse::Bytes, _) => Ok(()),
        _ => Err(unexpected()),
    }
}

/// See [`super::Registry::search`].
pub fn search(address: &Address, words: &[String]) -> Result<Vec<SearchHit>> {
    let (RegistryResponse::Hits(found), _) = exchange(address, RegistryQuestion::List, &[])? else {
        return Err(unexpected());
    };
    let hit = |FoundPackage { name, versions, description }: FoundPackage| {
        let versions = versions.iter().filter_map(|text| package_name::version(text).ok()).collect();
        listing::hit(&name.parse().ok()?, versions, description, words)
    };
    let mut hits: Vec<SearchHit> = found.into_iter().filter_map(hit).collect();
    hits.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(hits)
}

fn unexpected() -> Error {
    Error::bug("the registry client process sent an unexpected reply")
}
