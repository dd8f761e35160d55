//! Signatures in a registry: artifacts that refer to the package. For registries without support for referrers, the specification lists
//! them under a tag derived from the package's digest.

use super::client::{Client, ClientResult};
use crate::limits::PACKAGE_SIGNATURES_MAX;
use crate::package::oci::{ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciImageIndex};
use crate::registry::referrer;
use crate::trust::signature::MEDIA_TYPE;
use millstream_base::digest::Digest;
use oci_client::manifest::ImageIndexEntry as ListedEntry;
use oci_client::{Reference, RegistryOperation};

/// Fetches the signatures of a package.
pub async fn signatures(client: &Client, package: &Reference) -> ClientResult<Vec<Vec<u8>>> {
    let digest = package_digest(package)?;
    let mut signatures = Vec::new();
    for entry in listed(client, package).await? {
        // A registry may list entries that it does not have (any longer).
        let Some(manifest) = client.manifest(&package.clone_with_digest(entry.digest)).await? else { continue };
        let Some(blob) = referrer::read(&manifest, &digest) else { continue };
        signatures.push(client.blob(package, &blob.digest, blob.bytes).await?);
    }
    Ok(signatures)
}

/// Attaches a signature and its manifest to a package.
pub async fn attach(client: &Client, package: &Reference, bytes: Vec<Vec<u8>>) -> ClientResult<()> {
    let [manifest, signature] = <[Vec<u8>; 2]>::try_from(bytes).map_err(|_| "has nothing to store".to_owned())?;
    client.log_in(package, RegistryOperation::Push).await?;
    for content in [signature, referrer::EMPTY.to_vec()] {
        client.put(package, content).await?;
    }
    let entry = referrer::entry(&manifest, Some(MEDIA_TYPE));
    client.put_manifest(&package.clone_with_digest(entry.digest.clone()), manifest, OCI_IMAGE_MEDIA_TYPE).await?;
    if listed(client, package).await?.iter().any(|other| other.digest == entry.digest) {
        return Ok(());
    }
    list_under_tag(client, package, entry).await
}

/// Returns the entries of signatures that the registry lists, through its API or under the tag.
async fn listed(client: &Client, package: &Reference) -> ClientResult<Vec<ListedEntry>> {
    client.log_in(package, RegistryOperation::Pull).await?;
    let index = client.oci.pull_referrers(package, Some(MEDIA_TYPE)).await.map_err(|error| client.describe(&error))?;
    // Some registries ignore the requested type.
    let is_signature = |entry: &ListedEntry| entry.artifact_type.as_deref() == Some(MEDIA_TYPE);
    let entries: Vec<ListedEntry> = index.manifests.into_iter().filter(is_signature).collect();
    match entries.len() > PACKAGE_SIGNATURES_MAX {
        true => Err(format!("lists more than {PACKAGE_SIGNATURES_MAX} signatures of one package")),
        // The digest becomes part of a URL, so it must be valid.
        false => Ok(entries.into_iter().filter(|entry| entry.digest.parse::<Digest>().is_ok()).collect()),
    }
}

async fn list_under_tag(client: &Client, package: &Reference, entry: ImageIndexEntry) -> ClientResult<()> {
    let tag = package_digest(package)?.to_string().replace(':', "-");
    let tag = Reference::with_tag(package.registry().to_owned(), package.repository().to_owned(), tag);
    let mut index = match client.manifest(&tag).await? {
        Some(index) => serde_json::from_slice(&index)
            .map_err(|error| format!("has no valid list of signatures under {tag}: {error}"))?,
        None => OciImageIndex {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_INDEX_MEDIA_TYPE.into()),
            manifests: Vec::new(),
            artifact_type: None,
            annotations: None,
        },
    };
    index.manifests.push(entry);
    let index = serde_json::to_vec(&index).map_err(|error| error.to_string())?;
    client.put_manifest(&tag, index, OCI_IMAGE_INDEX_MEDIA_TYPE).await
}

fn package_digest(package: &Reference) -> ClientResult<Digest> {
    let digest = package.digest().and_then(|digest| digest.parse().ok());
    digest.ok_or_else(|| "was queried for a package without its digest".into())
}
