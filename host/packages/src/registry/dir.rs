//! A directory as a registry, which needs no network.
//!
//! `push` writes an OCI image layout for each name, in a directory of that name, with versions as tags; other tools read it too. Built
//! plugin directories and components also count as packages, so the `plugins/` of a checkout is a registry. Their manifests are computed
//! on request and equal those of pushed packages.

mod built;
mod layout;

use super::found::{Fetched, SearchHit};
use super::listing;
use crate::package::manifest::{self, EncodedPackage};
use built::BuiltPackage;
use layout::OciLayout;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::{PackageName, PackageRequest};
use semver::Version;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// See [`super::Registry::find`].
pub fn find(dir: &Path, wanted: &PackageRequest) -> Result<(Version, Digest)> {
    check_dir(dir)?;
    let there = match OciLayout::open(dir, &wanted.name) {
        Some(layout) => layout.versions()?,
        None => {
            let built = built::named(dir, &wanted.name)?;
            built.iter().map(|built| Ok((built.version.clone(), built.build()?.digest()))).collect::<Result<_>>()?
        }
    };
    let versions: Vec<Version> = there.iter().map(|(version, _)| version.clone()).collect();
    let version = listing::choose(wanted, &versions, &dir.display())?;
    let mut digests = there.iter().filter(|(other, _)| other == version).map(|(_, digest)| digest);
    match (digests.next(), digests.next()) {
        (Some(digest), None) => Ok((version.clone(), *digest)),
        _ => Err(Error::environment(format!(
            "{} has version {version} of `{}` more than once, with different bytes; remove all but one",
            dir.display(),
            wanted.name
        ))),
    }
}

/// See [`super::Registry::fetch`].
pub fn fetch(dir: &Path, name: &PackageName, digest: &Digest) -> Result<Fetched> {
    check_dir(dir)?;
    let Some(layout) = OciLayout::open(dir, name) else {
        for built in built::named(dir, name)? {
            let EncodedPackage { manifest, component, .. } = built.build()?;
            if Digest::compute(&manifest) == *digest {
                return Ok(Fetched { manifest, component });
            }
        }
        return Err(Error::environment(format!(
            "{} no longer has `{name}` with the manifest {digest}: it was rebuilt from other code. Change its \
             version, or, to pin the current build, remove its [[package]] from millstream.lock, run `millstream \
             gc` and add it again",
            dir.display()
        )));
    };
    let manifest = layout.manifest(digest)?;
    let shown = format!("`{name}` {digest} of {}", dir.display());
    let blob = manifest::read(&manifest, &shown)?.layer;
    Ok(Fetched { component: layout.blob(&blob)?, manifest })
}

/// See [`super::Registry::signatures`].
pub fn signatures(dir: &Path, name: &PackageName, manifest: &Digest) -> Result<Vec<Vec<u8>>> {
    OciLayout::open(dir, name).map_or(Ok(Vec::new()), |layout| layout.signatures(manifest))
}

/// See [`super::Registry::push`].
pub fn push(dir: &Path, name: &PackageName, version: &Version, made: &EncodedPackage) -> Result<()> {
    OciLayout::make(dir, name)?.push(version, made)
}

/// See [`super::Registry::attach`].
pub fn attach(dir: &Path, name: &PackageName, made: &EncodedPackage, signature: &[u8]) -> Result<()> {
    let layout = OciLayout::open(dir, name);
    let layout = layout.ok_or_else(|| {
        Error::job(format!("`{name}` was not pushed to {}; only pushed packages can be signed", dir.display()))
    })?;
    layout.attach(made, signature)
}

/// See [`super::Registry::search`].
pub fn search(dir: &Path, words: &[String]) -> Result<Vec<SearchHit>> {
    check_dir(dir)?;
    let mut hits = Vec::new();
    let mut built: Vec<BuiltPackage> = Vec::new();
    for path in built::entries(dir)? {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<PackageName>().ok());
        let layout = name.as_ref().and_then(|name| OciLayout::open(dir, name));
        match (layout, name) {
            (Some(layout), Some(name)) => {
                let there = layout.versions()?;
                let versions: Vec<Version> = there.iter().map(|(version, _)| version.clone()).collect();
                let shown = there.iter().find(|(version, _)| Some(version) == listing::shown(&versions));
                let manifest = shown.map(|(_, digest)| layout.manifest(digest)).transpose()?.unwrap_or_default();
                hits.extend(listing::hit(&name, versions, listing::description(&manifest, name.as_str()), words));
            }
            _ => built.extend(built::at(&path).ok().flatten()),
        }
    }
    built.sort_by(|a, b| a.name.cmp(&b.name));
    for same in built.chunk_by(|a, b| a.name == b.name) {
        // A layout of that name has precedence, as in `find`.
        let Some(first) = same.first().filter(|first| !hits.iter().any(|hit: &SearchHit| hit.name == first.name))
        else {
            continue;
        };
        let description =
            first.build().map(|made| listing::description(&made.manifest, first.name.as_str())).unwrap_or_default();
        let versions = same.iter().map(|built| built.version.clone()).collect();
        hits.extend(listing::hit(&first.name, versions, description, words));
    }
    hits.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(hits)
}

fn check_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    Err(Error::job(format!(
        "the registry {} is not an existing directory; write the path of one, or oci://HOST/PATH",
        dir.display()
    )))
}

/// Reads a regular file of at most `bytes_max` bytes; `None` if it does not exist. Pipes and devices are rejected, because reading one
/// could block forever.
fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::Error::other(format!("it has more than {bytes_max} bytes"))),
        false => Ok(Some(bytes)),
    }
}

/// The error of a registry's file.
fn failed(path: &Path, error: &io::Error) -> Error {
    Error::environment(format!("registry file {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
