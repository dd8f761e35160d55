//! A signature as an artifact that refers to its package, as in the OCI specification since 1.1.

use crate::package::manifest::{Blob, EncodedPackage};
use crate::package::oci::{ImageIndexEntry, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use crate::trust::signature::{BYTES_MAX, MEDIA_TYPE};
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};

/// The config type of an artifact without a config, from the specification.
const EMPTY_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The content of that config.
pub const EMPTY: &[u8] = b"{}";

/// Builds the manifest of a signature of this package.
pub fn manifest(package: &EncodedPackage, signature: &[u8]) -> Result<Vec<u8>> {
    let manifest = OciImageManifest {
        media_type: Some(OCI_IMAGE_MEDIA_TYPE.into()),
        artifact_type: Some(MEDIA_TYPE.into()),
        config: descriptor(EMPTY_MEDIA_TYPE, EMPTY),
        layers: vec![descriptor(MEDIA_TYPE, signature)],
        subject: Some(descriptor(OCI_IMAGE_MEDIA_TYPE, &package.manifest)),
        ..OciImageManifest::default()
    };
    serde_json::to_vec(&manifest).map_err(Error::bug)
}

/// Builds the entry of a manifest in an index. `artifact_type` is set for signatures.
pub fn entry(manifest: &[u8], artifact_type: Option<&str>) -> ImageIndexEntry {
    let OciDescriptor { media_type, digest, size, .. } = descriptor(OCI_IMAGE_MEDIA_TYPE, manifest);
    let artifact_type = artifact_type.map(str::to_owned);
    ImageIndexEntry { media_type, digest, size, platform: None, annotations: None, artifact_type }
}

/// Parses the untrusted manifest of a signature, and returns where its bytes are; `None` if it is not a signature of the package with
/// this digest.
pub fn read(manifest: &[u8], package: &Digest) -> Option<Blob> {
    let manifest: OciImageManifest = serde_json::from_slice(manifest).ok()?;
    let subject = manifest.subject?;
    let [layer] = &manifest.layers[..] else { return None };
    let fits = manifest.artifact_type.as_deref() == Some(MEDIA_TYPE) && layer.media_type == MEDIA_TYPE;
    let bytes = u64::try_from(layer.size).ok().filter(|bytes| *bytes <= BYTES_MAX as u64)?;
    (fits && subject.digest == package.to_string()).then_some(Blob { digest: layer.digest.parse().ok()?, bytes })
}

fn descriptor(media_type: &str, content: &[u8]) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.into(),
        digest: Digest::compute(content).to_string(),
        size: i64::try_from(content.len()).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    }
}
