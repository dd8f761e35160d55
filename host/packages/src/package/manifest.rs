//! The manifest of a package in a registry. It has the CNCF's layout for WebAssembly artifacts, which other tools also read.
//!
//! It has a config of type `application/vnd.wasm.config.v0+json` and exactly one layer of type `application/wasm`. The same component
//! always gives the same manifest, so its digest names the package.

use super::facts::PackageFacts;
use super::oci::{OciDescriptor, OciImageManifest};
use crate::limits::PACKAGE_MANIFEST_BYTES_MAX;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::limits::COMPONENT_BYTES_MAX;
use millstream_base::package_name;
use millstream_base::package_name::PackageName;
use millstream_base::shown::printable;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_MEDIA_TYPE: &str = "application/vnd.wasm.config.v0+json";
const LAYER_MEDIA_TYPE: &str = "application/wasm";

/// The config of a WebAssembly artifact in the CNCF's layout.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    created: &'static str,
    author: Option<String>,
    architecture: &'static str,
    os: &'static str,
    layer_digests: Vec<String>,
    component: Component,
}

/// The description of a component in a config.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    exports: Vec<String>,
    imports: Vec<String>,
    target: Option<String>,
}

/// Annotations that registries show, with the names of the OCI image specification.
pub mod annotation {
    /// The name of the file, for tools that write one.
    pub const TITLE: &str = "org.opencontainers.image.title";
    /// The version.
    pub const VERSION: &str = "org.opencontainers.image.version";
    /// An SPDX expression.
    pub const LICENSES: &str = "org.opencontainers.image.licenses";
    /// A sentence or two.
    pub const DESCRIPTION: &str = "org.opencontainers.image.description";
    /// Names with commas between them.
    pub const AUTHORS: &str = "org.opencontainers.image.authors";
}

/// Maximum bytes of an annotation that is shown.
const SHOWN_BYTES_MAX: usize = 200;

/// A package ready to be pushed: manifest, config and component.
#[derive(Clone, Debug)]
pub struct EncodedPackage {
    /// The manifest, as JSON.
    pub manifest: Vec<u8>,
    /// The config, as JSON.
    pub config: Vec<u8>,
    /// The component.
    pub component: Vec<u8>,
}

/// The content of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestBlobs {
    /// The config.
    pub config: Blob,
    /// The component.
    pub layer: Blob,
    /// The description in its annotation, safe to print; empty if missing.
    pub description: String,
}

/// A reference to bytes in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub bytes: u64,
}

impl EncodedPackage {
    /// Packs a component. Fails if its name or version is not valid in a registry.
    pub fn pack(component: Vec<u8>, facts: &PackageFacts) -> Result<EncodedPackage> {
        let wants = |error: Error| error.within("a package needs a name and a version that registries accept");
        let name: PackageName = facts.name.parse().map_err(wants)?;
        let version = package_name::version(&facts.version).map_err(wants)?;
        let layer = Digest::compute(&component);
        let migrating = if facts.migrates { "-migrating" } else { "" };
        let config = Config {
            // A fixed time: the build time must not change the digest.
            created: "1970-01-01T00:00:00Z",
            author: Some(facts.metadata.authors.clone()).filter(|authors| !authors.is_empty()),
            architecture: "wasm",
            os: "wasip2",
            layer_digests: vec![layer.to_string()],
            component: Component {
                exports: facts.exports.clone(),
                imports: facts.imports.clone(),
                target: Some(format!("millstream:plugin/{}{migrating}@{}", facts.world, facts.interface)),
            },
        };
        let config = serde_json::to_vec(&config).map_err(Error::bug)?;
        let metadata = &facts.metadata;
        let title = format!("{name}-{version}.wasm");
        // Tools that write files, such as `oras pull`, read the name from the layer.
        let layer = OciDescriptor {
            annotations: Some(BTreeMap::from([(annotation::TITLE.to_owned(), title.clone())])),
            ..descriptor(LAYER_MEDIA_TYPE, &layer, component.len())
        };
        let annotations = [
            (annotation::TITLE, title),
            (annotation::VERSION, version.to_string()),
            (annotation::LICENSES, metadata.license.clone()),
            (annotation::DESCRIPTION, metadata.description.clone()),
            (annotation::AUTHORS, metadata.authors.clone()),
        ];
        let annotations = annotations.into_iter().filter(|(_, text)| !text.is_empty());
        let annotations: BTreeMap<String, String> = annotations.map(|(key, text)| (key.to_owned(), text)).collect();
        let manifest = OciImageManifest {
            schema_version: 2,
            media_type: Some(MANIFEST_MEDIA_TYPE.into()),
            config: descriptor(CONFIG_MEDIA_TYPE, &Digest::compute(&config), config.len()),
            layers: vec![layer],
            subject: None,
            artifact_type: None,
            annotations: Some(annotations),
        };
        let manifest = serde_json::to_vec(&manifest).map_err(Error::bug)?;
        let bytes = manifest.len().max(config.len());
        if bytes > PACKAGE_MANIFEST_BYTES_MAX {
            return Err(Error::job(format!(
                "package {name} {version}: its metadata takes {bytes} bytes of the manifest; at most \
                 {PACKAGE_MANIFEST_BYTES_MAX} are allowed"
            )));
        }
        Ok(EncodedPackage { manifest, config, component })
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::compute(&self.manifest)
    }
}

fn descriptor(media_type: &str, digest: &Digest, bytes: usize) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.into(),
        digest: digest.to_string(),
        // Files are far smaller.
        size: i64::try_from(bytes).unwrap_or(i64::MAX),
        urls: None,
        annotations: None,
        artifact_type: None,
    }
}

/// The fields that show the kind of a manifest before it is parsed as a package.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestKind {
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
}

/// Parses an untrusted manifest. `shown` names the package in messages.
///
/// # Errors
/// `Environment`: it is not the manifest of a package.
pub fn read(manifest: &[u8], shown: &str) -> Result<ManifestBlobs> {
    let wrong = |what: &str| Error::environment(format!("{shown}: this is not a package: {what}"));
    let unreadable = |error: serde_json::Error| {
        wrong(&format!("its manifest cannot be read ({})", printable(&error.to_string(), SHOWN_BYTES_MAX)))
    };
    if manifest.len() > PACKAGE_MANIFEST_BYTES_MAX {
        return Err(wrong(&format!("its manifest has more than {PACKAGE_MANIFEST_BYTES_MAX} bytes")));
    }
    let kind: ManifestKind = serde_json::from_slice(manifest).map_err(unreadable)?;
    if kind.manifests.is_some() {
        return Err(wrong("it is a list of manifests; a package has one"));
    }
    if let Some(other) = kind.media_type.filter(|media_type| media_type != MANIFEST_MEDIA_TYPE) {
        return Err(wrong(&format!("its manifest has the type {}", quoted(&other))));
    }
    let manifest: OciImageManifest = serde_json::from_slice(manifest).map_err(unreadable)?;
    if manifest.schema_version != 2 {
        return Err(wrong(&format!("its manifest is of schema version {}, not 2", manifest.schema_version)));
    }
    let [layer] = manifest.layers.as_slice() else {
        return Err(wrong(&format!("it has {} layers; a package has one", manifest.layers.len())));
    };
    let annotations = manifest.annotations.unwrap_or_default();
    for annotations in [Some(&annotations), layer.annotations.as_ref()].into_iter().flatten() {
        check_title(annotations).map_err(|what| wrong(&what))?;
    }
    let description = annotations.get(annotation::DESCRIPTION).map(String::as_str).unwrap_or_default();
    Ok(ManifestBlobs {
        config: blob(&manifest.config, CONFIG_MEDIA_TYPE, PACKAGE_MANIFEST_BYTES_MAX as u64)
            .map_err(|what| wrong(&format!("its config {what}")))?,
        layer: blob(layer, LAYER_MEDIA_TYPE, COMPONENT_BYTES_MAX)
            .map_err(|what| wrong(&format!("its layer {what}")))?,
        description: printable(description, SHOWN_BYTES_MAX).replace('\n', " "),
    })
}

/// Checks the title, which some tools use as a file name: a path that leads elsewhere is an attack.
fn check_title(annotations: &BTreeMap<String, String>) -> Result<(), String> {
    let Some(title) = annotations.get(annotation::TITLE) else { return Ok(()) };
    let leads_elsewhere = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    if title.is_empty() || title.contains(leads_elsewhere) || matches!(title.as_str(), "." | "..") {
        return Err(format!("its title {} is not a file name", quoted(title)));
    }
    Ok(())
}

/// Checks a descriptor. The error continues a sentence that begins with the descriptor's name.
fn blob(descriptor: &OciDescriptor, media_type: &str, bytes_max: u64) -> Result<Blob, String> {
    if descriptor.media_type != media_type {
        return Err(format!("is of type {}, not {media_type}", quoted(&descriptor.media_type)));
    }
    if descriptor.urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
        return Err("is stored elsewhere (`urls`)".into());
    }
    let Ok(digest) = descriptor.digest.parse() else {
        return Err(format!("has the digest {}, which is not SHA-256", quoted(&descriptor.digest)));
    };
    match u64::try_from(descriptor.size) {
        Ok(bytes) if bytes <= bytes_max => Ok(Blob { digest, bytes }),
        _ => Err(format!("claims to have {} bytes; at most {bytes_max} are allowed", descriptor.size)),
    }
}

fn quoted(text: &str) -> String {
    format!("`{}`", printable(text, SHOWN_BYTES_MAX).replace('\n', " "))
}

#[cfg(test)]
mod tests;
