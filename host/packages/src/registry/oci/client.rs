//! Handles requests by calling a registry. Runs only in the process with limits, because some responses make the library panic.

use super::address::Address;
use super::login::Login;
use super::message::{FoundPackage, RegistryResponse};
use super::transport;
use super::upload::Uploader;
use crate::limits::{PACKAGE_MANIFEST_BYTES_MAX, REGISTRY_ENTRIES_MAX, REGISTRY_SEARCHED_MAX};
use crate::package::manifest;
use crate::registry::listing;
use http::HeaderValue;
use millstream_base::digest::Digest;
use millstream_base::package_name;
use oci_client::client::{CatalogResponse, TagResponse};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use semver::Version;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;

/// Number of list entries requested per page.
const PAGE: usize = 1000;
/// Maximum bytes of a tag.
const TAG_BYTES_MAX: usize = 128;

/// A value, or an error text that continues after the registry's address.
pub type ClientResult<T> = Result<T, String>;

/// A connection to a registry.
pub struct Client {
    pub(super) oci: oci_client::Client,
    auth: RegistryAuth,
    uploader: Uploader,
    address: Address,
    idle_max: Duration,
}

impl Client {
    /// Creates a client for this registry.
    pub async fn new(address: Address, login: Option<Login>, silence_seconds: u64) -> ClientResult<Client> {
        let idle_max = Duration::from_secs(silence_seconds);
        let config = transport::config(&address, idle_max).await?;
        let copy =
            login.as_ref().map(|Login { user, password }| Login { user: user.clone(), password: password.clone() });
        let uploader = Uploader::new(&config, copy, idle_max)?;
        let oci =
            oci_client::Client::try_from(config).map_err(|error| transport::describe(&error, &address, idle_max))?;
        let auth =
            login.map_or(RegistryAuth::Anonymous, |Login { user, password }| RegistryAuth::Basic(user, password));
        Ok(Client { oci, auth, uploader, address, idle_max })
    }

    pub async fn find(&self, name: &str, version: Option<String>) -> ClientResult<RegistryResponse> {
        let wanted = match version {
            Some(version) => Some(version),
            None => {
                let versions = self.versions(name).await?;
                let newest = versions.iter().filter(|version| version.pre.is_empty()).max();
                newest.map(ToString::to_string)
            }
        };
        if let Some(version) = wanted
            && let Some(manifest) = self.manifest(&self.by_tag(name, &version)?).await?
        {
            return Ok(RegistryResponse::Found { version, digest: Digest::compute(&manifest).to_string() });
        }
        // Only for the message: some registries cannot list.
        let versions = self.versions(name).await.unwrap_or_default();
        Ok(RegistryResponse::Missing { versions: versions.iter().map(ToString::to_string).collect() })
    }

    pub async fn fetch(&self, name: &str, digest: &str) -> ClientResult<Vec<Vec<u8>>> {
        let reference = self.by_digest(name, digest);
        let manifest = self.manifest(&reference).await?;
        let manifest = manifest.ok_or_else(|| format!("no longer has `{name}` with the manifest {digest}"))?;
        // The caller reads it again and reports what is wrong.
        let Ok(layout) = manifest::read(&manifest, name) else { return Ok(vec![manifest, Vec::new()]) };
        let manifest::Blob { digest, bytes } = layout.layer;
        let component = self.blob(&reference, &digest, bytes).await?;
        Ok(vec![manifest, component])
    }

    pub async fn push(&self, name: &str, version: &str, bytes: Vec<Vec<u8>>) -> ClientResult<RegistryResponse> {
        let reference = self.by_tag(name, version)?;
        let [manifest, config, component] =
            <[Vec<u8>; 3]>::try_from(bytes).map_err(|_| "has nothing to store".to_owned())?;
        self.log_in(&reference, RegistryOperation::Push).await?;
        if let Some(there) = self.manifest(&reference).await? {
            return Ok(if there == manifest { RegistryResponse::Bytes } else { RegistryResponse::Taken });
        }
        for content in [config, component] {
            self.put(&reference, content).await?;
        }
        self.put_manifest(&reference, manifest.clone(), OCI_IMAGE_MEDIA_TYPE).await?;
        // Two clients may push at the same time; a registry keeps the last push.
        match self.manifest(&reference).await? {
            Some(there) if there == manifest => Ok(RegistryResponse::Bytes),
            Some(_) => Ok(RegistryResponse::Taken),
            None => Err("does not have the package that was just pushed".into()),
        }
    }

    pub async fn list(&self) -> ClientResult<Vec<FoundPackage>> {
        let any = self.by_tag(if self.address.path.is_empty() { "any" } else { &self.address.path }, "latest")?;
        let unlisted = |cause| format!("does not list its packages ({cause}); `millstream show NAME` works anyway");
        let repositories = self.pages(Lists::Repositories, &any).await.map_err(unlisted)?;
        let names: Vec<_> = repositories.iter().filter_map(|name| self.address.package(name)).collect();
        if names.len() > REGISTRY_SEARCHED_MAX {
            return Err(format!("has more than {REGISTRY_SEARCHED_MAX} packages here; name a longer path"));
        }
        let mut found = Vec::new();
        for name in names {
            let versions = self.versions(name.as_str()).await?;
            let Some(shown) = listing::shown(&versions) else { continue };
            let manifest = self.manifest(&self.by_tag(name.as_str(), &shown.to_string())?).await?;
            found.push(FoundPackage {
                name: name.to_string(),
                versions: versions.iter().map(ToString::to_string).collect(),
                description: manifest
                    .map(|manifest| listing::description(&manifest, name.as_str()))
                    .unwrap_or_default(),
            });
        }
        Ok(found)
    }

    /// Returns the versions of a package; other tags are ignored.
    async fn versions(&self, name: &str) -> ClientResult<Vec<Version>> {
        let tags = self.pages(Lists::Tags, &self.by_tag(name, "latest")?).await?;
        Ok(tags.iter().filter_map(|tag| package_name::version(tag).ok()).collect())
    }

    /// Fetches a complete list. Some registries ignore the page size and return everything in one page.
    async fn pages(&self, of: Lists, reference: &Reference) -> ClientResult<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let last = all.last().cloned();
            let (oci, auth, last) = (&self.oci, &self.auth, last.as_deref());
            let page = match of {
                Lists::Tags => {
                    oci.list_tags(reference, auth, Some(PAGE), last).await.map(|TagResponse { tags, .. }| tags)
                }
                Lists::Repositories => oci
                    .catalog(reference, auth, Some(PAGE), last)
                    .await
                    .map(|CatalogResponse { repositories }| repositories),
            };
            let page = match page {
                Err(error) if is_missing(&error) && of == Lists::Tags => return Ok(all),
                page => page.map_err(|error| self.describe(&error))?,
            };
            let is_full = page.len() >= PAGE;
            let before = all.len();
            all.extend(page);
            all.sort();
            all.dedup();
            if all.len() > REGISTRY_ENTRIES_MAX {
                return Err(format!("lists more than {REGISTRY_ENTRIES_MAX} entries"));
            }
            if !is_full || all.len() == before {
                return Ok(all);
            }
        }
    }

    /// Fetches the bytes of a manifest or an index; `None` if it does not exist.
    pub async fn manifest(&self, reference: &Reference) -> ClientResult<Option<Vec<u8>>> {
        let accepted = [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE];
        match self.oci.pull_manifest_raw(reference, &self.auth, &accepted).await {
            Ok((manifest, _)) if manifest.len() > PACKAGE_MANIFEST_BYTES_MAX => {
                Err(format!("sent a manifest of more than {PACKAGE_MANIFEST_BYTES_MAX} bytes"))
            }
            Ok((manifest, _)) => Ok(Some(manifest.into())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.describe(&error)),
        }
    }

    /// Fetches a blob, up to its declared length.
    pub async fn blob(&self, reference: &Reference, digest: &Digest, bytes: u64) -> ClientResult<Vec<u8>> {
        let mut bounded = LimitedBuffer { bytes: Vec::new(), bytes_max: bytes };
        let digest = digest.to_string();
        let pulled = self.oci.pull_blob(reference, digest.as_str(), &mut bounded).await;
        pulled.map_err(|error| self.describe(&error))?;
        match bounded.bytes.len() as u64 == bytes {
            true => Ok(bounded.bytes),
            false => Err(format!("sent {} bytes of {digest}, but its manifest says {bytes}", bounded.bytes.len())),
        }
    }

    /// Makes sure that the registry has these bytes.
    pub async fn put(&self, reference: &Reference, content: Vec<u8>) -> ClientResult<()> {
        let digest = Digest::compute(&content).to_string();
        if self.oci.blob_exists(reference, &digest).await.map_err(|error| self.describe(&error))? {
            return Ok(());
        }
        let token = self.oci.auth(reference, &self.auth, RegistryOperation::Push).await;
        let token = token.map_err(|error| self.describe(&error))?;
        self.uploader.send(reference, &digest, content, token.as_deref()).await
    }

    /// Makes sure that the registry has this manifest or index.
    pub async fn put_manifest(
        &self,
        reference: &Reference,
        content: Vec<u8>,
        media_type: &'static str,
    ) -> ClientResult<()> {
        let put = self.oci.push_manifest_raw(reference, content, HeaderValue::from_static(media_type)).await;
        put.map(drop).map_err(|error| self.describe(&error))
    }

    /// Logs in first, so that a rejected login gets its own error.
    pub async fn log_in(&self, reference: &Reference, operation: RegistryOperation) -> ClientResult<()> {
        self.oci.auth(reference, &self.auth, operation).await.map(drop).map_err(|error| self.describe(&error))
    }

    /// Returns the reference of a version of a package.
    pub fn by_tag(&self, name: &str, tag: &str) -> ClientResult<Reference> {
        if tag.len() > TAG_BYTES_MAX {
            return Err(format!("cannot hold the version {tag}, which has more than {TAG_BYTES_MAX} characters"));
        }
        Ok(Reference::with_tag(self.address.host.clone(), self.address.repository(name), tag.to_owned()))
    }

    pub fn by_digest(&self, name: &str, digest: &str) -> Reference {
        Reference::with_digest(self.address.host.clone(), self.address.repository(name), digest.to_owned())
    }

    pub(super) fn describe(&self, error: &OciDistributionError) -> String {
        transport::describe(error, &self.address, self.idle_max)
    }
}

/// The lists of a registry.
#[derive(Clone, Copy, PartialEq)]
enum Lists {
    Tags,
    Repositories,
}

/// Whether an error means "not found".
fn is_missing(error: &OciDistributionError) -> bool {
    use OciErrorCode::{ManifestUnknown, NameUnknown, NotFound};
    match error {
        OciDistributionError::ServerError { code, .. } => *code == 404,
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|error| matches!(error.code, ManifestUnknown | NameUnknown | NotFound))
        }
        _ => false,
    }
}

/// A buffer that fails beyond its limit, so that an endless response is not read to its end.
struct LimitedBuffer {
    bytes: Vec<u8>,
    bytes_max: u64,
}

impl AsyncWrite for LimitedBuffer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len() as u64 + bytes.len() as u64 > self.bytes_max {
            let message = format!("sent more than the {} bytes that its manifest says", self.bytes_max);
            return Poll::Ready(Err(io::Error::other(message)));
        }
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
