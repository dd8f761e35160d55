//! Where a sink writes its files: a local directory, or objects below a prefix of a bucket. Names are relative to it, with `/` as the
//! separator.

#[cfg_attr(not(feature = "objects"), path = "destination/bucket/absent.rs")]
mod bucket;
mod dir;

pub use bucket::BucketDestination;
pub use dir::DirDestination;

use crate::files::sink::Share;
use millstream_base::owner::Owner;
use millstream_base::retry::StoreError;
use millstream_connect::sink::marker::Marker;
use std::fs::File;

/// The name of a complete part, and its number of rows, if known.
pub type StagedPart = (String, Option<u64>);

/// Identifies the version of a marker; `None` if the destination needs no such tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkerTag(pub Option<String>);

/// What a sink requires of its destination. Each call may be repeated after it has failed.
pub trait Destination: Send + Sync {
    /// Returns the destination's name for messages.
    fn shown(&self) -> String;

    /// Returns the maximum length of names in bytes, if the name, with the directory or prefix, exceeds it.
    fn too_long(&self, name: &str) -> Option<usize>;

    /// Reads a marker; `None` if it does not exist.
    fn marker(&self, name: &str) -> Result<Option<(Marker, MarkerTag)>, StoreError>;

    /// Replaces the marker that was read. If a later run owns the destination, the error is of kind
    /// [`TakenOver`](millstream_base::retry::StoreErrorKind::TakenOver).
    fn replace_marker(
        &self,
        name: &str,
        marker: &Marker,
        before: Option<&MarkerTag>,
        owner: &Owner,
    ) -> Result<MarkerTag, StoreError>;

    /// Returns the numbers of all workers that have markers.
    fn workers(&self) -> Result<Vec<usize>, StoreError>;

    /// Returns the name of an existing part, of any worker or none.
    fn any_part(&self) -> Result<Option<String>, StoreError>;

    /// Creates a file for content that will be staged under this name.
    fn begin(&self, hidden: &str) -> Result<File, StoreError>;

    /// Makes the content of such a file durable under its hidden name. The content begins at offset 0.
    fn stage(&self, hidden: &str, file: &mut File) -> Result<(), StoreError>;

    /// Gives a staged file its name, if it does not have it yet.
    fn show(&self, hidden: &str, part: &str) -> Result<(), StoreError>;

    /// Writes a small hidden file durably.
    fn write(&self, hidden: &str, bytes: Vec<u8>) -> Result<(), StoreError>;

    /// Reads a hidden file; `None` if it does not exist.
    fn read(&self, hidden: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Lists a hidden directory, with names relative to it.
    fn hidden(&self, dir: &str) -> Result<Vec<String>, StoreError>;

    /// Removes a hidden file, if it exists.
    fn remove(&self, hidden: &str) -> Result<(), StoreError>;

    /// Lists the names of a directory that sort after this one, relative to it.
    fn names(&self, dir: &str, after: &str) -> Result<Vec<String>, StoreError>;

    /// Creates a small file atomically and durably, if the name is not taken. Returns whether it did. After an attempt whose response was
    /// lost, a retry may find its own file.
    fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, StoreError>;

    /// Returns the size of a file in bytes; `None` if it does not exist.
    fn size(&self, name: &str) -> Result<Option<u64>, StoreError>;

    /// Returns how often parts of a share were announced to readers, as far as the destination knows; `None` if readers need no
    /// announcement, as they see names.
    fn announced(&self, _share: Share) -> Option<u64> {
        None
    }

    /// Announces parts that now have their names to readers, if names do not suffice. `number` counts the announcements of this share and
    /// identifies a repeated one; `None`: it will not be repeated.
    fn announce(&self, _share: Share, _number: Option<u64>, _parts: &[StagedPart]) -> Result<(), StoreError> {
        Ok(())
    }
}
