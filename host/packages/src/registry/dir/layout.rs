//! The versions of one package in a directory, as an OCI image layout: `oci-layout`, `index.json` and `blobs/sha256/`.

use super::{failed, read};
use crate::limits::{
    PACKAGE_MANIFEST_BYTES_MAX, PACKAGE_SIGNATURES_MAX, REGISTRY_ENTRIES_MAX, REGISTRY_INDEX_BYTES_MAX,
};
use crate::package::manifest::{Blob, EncodedPackage};
use crate::package::oci::{ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE, OciImageIndex};
use crate::registry::{found, referrer};
use crate::trust::signature::MEDIA_TYPE;
use millstream_base::digest::Digest;
use millstream_base::durable;
use millstream_base::error::{Error, Result};
use millstream_base::package_name;
use millstream_base::package_name::PackageName;
use semver::Version;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The file that marks a directory as a layout.
const MARK: &str = "oci-layout";
const MARK_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "index.json";
/// The annotation of a tag.
const TAG: &str = "org.opencontainers.image.ref.name";

/// The layout of one package.
pub struct OciLayout {
    dir: PathBuf,
}

impl OciLayout {
    /// Opens the layout of a package, if it exists.
    pub fn open(registry: &Path, name: &PackageName) -> Option<OciLayout> {
        let dir = registry.join(name.as_str());
        dir.join(MARK).is_file().then_some(OciLayout { dir })
    }

    /// Opens or creates the layout of a package.
    pub fn make(registry: &Path, name: &PackageName) -> Result<OciLayout> {
        let dir = registry.join(name.as_str());
        let layout = OciLayout { dir };
        let OciLayout { dir } = &layout;
        if dir.join(MARK).is_file() {
            return Ok(layout);
        }
        let blobs = dir.join("blobs/sha256");
        let is_other = fs::read_dir(dir).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(is_not_ours)));
        if is_other {
            return Err(Error::job(format!(
                "{} holds other data, so `{name}` cannot be pushed there; choose another directory as the registry",
                dir.display()
            )));
        }
        fs::create_dir_all(&blobs).map_err(|error| failed(&blobs, &error))?;
        layout.write(MARK, MARK_CONTENT)?;
        Ok(layout)
    }

    /// Returns the versions with the digests of their manifests.
    pub fn versions(&self) -> Result<Vec<(Version, Digest)>> {
        let index = self.index()?;
        // Other tools may store tags that are not versions, or other kinds of digests.
        let version = |entry: &ImageIndexEntry| {
            let tag = entry.annotations.as_ref()?.get(TAG)?;
            Some((package_name::version(tag).ok()?, entry.digest.parse().ok()?))
        };
        Ok(index.manifests.iter().filter_map(version).collect())
    }

    /// Reads the manifest with this digest.
    pub fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        let there = self.read_blob(digest, PACKAGE_MANIFEST_BYTES_MAX as u64)?;
        there.ok_or_else(|| Error::environment(format!("{} has no manifest {digest}", self.dir.display())))
    }

    /// Reads the bytes of a blob.
    pub fn blob(&self, blob: &Blob) -> Result<Vec<u8>> {
        let Blob { digest, bytes } = blob;
        match self.read_blob(digest, *bytes)? {
            Some(content) if content.len() as u64 == *bytes => Ok(content),
            Some(content) => Err(Error::environment(format!(
                "registry file {} has {} bytes, but {bytes} according to its manifest; push it again",
                self.path(digest).display(),
                content.len()
            ))),
            None => Err(Error::environment(format!("{} has no {digest}", self.dir.display()))),
        }
    }

    fn read_blob(&self, digest: &Digest, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let path = self.path(digest);
        let content = read(&path, bytes_max).map_err(|error| failed(&path, &error))?;
        match content {
            Some(content) if Digest::compute(&content) != *digest => Err(Error::environment(format!(
                "registry file {} is damaged: its content has another digest; remove it and push the package again",
                path.display()
            ))),
            content => Ok(content),
        }
    }

    /// Reads the signatures of the package with this manifest.
    pub fn signatures(&self, package: &Digest) -> Result<Vec<Vec<u8>>> {
        let index = self.index()?;
        let mut signatures = Vec::new();
        for entry in index.manifests.iter().filter(|entry| entry.artifact_type.as_deref() == Some(MEDIA_TYPE)) {
            let Ok(digest) = entry.digest.parse() else { continue };
            let Some(blob) = referrer::read(&self.manifest(&digest)?, package) else { continue };
            signatures.push(self.blob(&blob)?);
            if signatures.len() > PACKAGE_SIGNATURES_MAX {
                let message =
                    format!("{}: {package} has more than {PACKAGE_SIGNATURES_MAX} signatures", self.dir.display());
                return Err(Error::environment(message));
            }
        }
        Ok(signatures)
    }

    /// See [`crate::registry::Registry::push`].
    pub fn push(&self, version: &Version, made: &EncodedPackage) -> Result<()> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let digest = made.digest();
        if let Some((_, other)) = self.versions()?.iter().find(|(other, _)| other == version) {
            return if *other == digest { Ok(()) } else { Err(version_exists(&self.dir, version)) };
        }
        for content in [&made.component, &made.config, &made.manifest] {
            self.put(content)?;
        }
        let annotations = BTreeMap::from([(TAG.to_owned(), version.to_string())]);
        index
            .manifests
            .push(ImageIndexEntry { annotations: Some(annotations), ..referrer::entry(&made.manifest, None) });
        self.write_index(&index)
    }

    /// See [`crate::registry::Registry::attach`].
    pub fn attach(&self, made: &EncodedPackage, signature: &[u8]) -> Result<()> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let manifest = referrer::manifest(made, signature)?;
        let entry = referrer::entry(&manifest, Some(MEDIA_TYPE));
        if index.manifests.iter().any(|other| other.digest == entry.digest) {
            return Ok(());
        }
        for content in [signature, referrer::EMPTY, &manifest] {
            self.put(content)?;
        }
        index.manifests.push(entry);
        self.write_index(&index)
    }

    fn index(&self) -> Result<OciImageIndex> {
        let path = self.dir.join(INDEX);
        let content = read(&path, REGISTRY_INDEX_BYTES_MAX).map_err(|error| failed(&path, &error))?;
        let Some(content) = content else {
            return Ok(OciImageIndex {
                schema_version: 2,
                media_type: Some(OCI_IMAGE_INDEX_MEDIA_TYPE.into()),
                manifests: Vec::new(),
                artifact_type: None,
                annotations: None,
            });
        };
        let index: OciImageIndex = serde_json::from_slice(&content)
            .map_err(|error| Error::environment(format!("registry file {} is damaged: {error}", path.display())))?;
        if index.manifests.len() > REGISTRY_ENTRIES_MAX {
            let message = format!("registry file {} lists more than {REGISTRY_ENTRIES_MAX} manifests", path.display());
            return Err(Error::environment(message));
        }
        Ok(index)
    }

    fn write_index(&self, index: &OciImageIndex) -> Result<()> {
        self.write(INDEX, &serde_json::to_vec_pretty(index).map_err(Error::bug)?)
    }

    /// Locks the layout for changes, as long as the returned file lives.
    fn lock(&self) -> Result<File> {
        // The directory is locked and not a file in it: processes that create the layout concurrently would each lock their own file.
        durable::lock_dir(&self.dir).map_err(|error| failed(&self.dir, &error))
    }

    fn put(&self, content: &[u8]) -> Result<()> {
        let digest = Digest::compute(content);
        match self.read_blob(&digest, content.len() as u64) {
            Ok(Some(_)) => Ok(()),
            // Missing bytes are written, and damaged ones replaced.
            _ => self.write(&format!("blobs/sha256/{}", digest.hex()), content),
        }
    }

    /// Writes a file atomically, readable for all who may read the directory.
    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        durable::replace(&path, content, Some(Permissions::from_mode(0o644))).map_err(|error| failed(&path, &error))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }
}

/// Whether this entry is not part of a layout that another process is creating.
fn is_not_ours(entry: fs::DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    !(name == "blobs" || name == MARK || name.starts_with(".tmp"))
}

/// The error of a version that exists with other bytes.
fn version_exists(path: &Path, version: &Version) -> Error {
    found::version_exists(&path.display().to_string(), version)
}
