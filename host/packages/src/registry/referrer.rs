//! A signature as an artifact that refers to the package it is of, as the OCI specification has it since 1.1.

use crate::package::manifest::{Blob, PackedPackage};
use crate::package::oci::{ImageIndexEntry, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use crate::trust::signature::{BYTES_MAX, MEDIA_TYPE};
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};

/// The config of an artifact that has none, as the specification names it.
const EMPTY_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Its content.
pub const EMPTY: &[u8] = b"{}";

/// The manifest of a signature of this package.
pub fn manifest(package: &PackedPackage, signature: &[u8]) -> Result<Vec<u8>> {
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

/// The entry of a manifest in an index. `artifact_type`: of what is no package.
pub fn entry(manifest: &[u8], artifact_type: Option<&str>) -> ImageIndexEntry {
    let OciDescriptor { media_type, digest, size, .. } = descriptor(OCI_IMAGE_MEDIA_TYPE, manifest);
    let artifact_type = artifact_type.map(str::to_owned);
    ImageIndexEntry { media_type, digest, size, platform: None, annotations: None, artifact_type }
}

/// Where the bytes of the signature are, by a manifest that anybody may have written; `None` where it is no signature of
/// the package with this digest.
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
        digest: Digest::of(content).to_string(),
        size: i64::try_from(content.len()).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    }
}
