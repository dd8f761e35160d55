//! Where the files of a sink are: a folder of this machine, or objects below a prefix of a bucket. Names are relative to it,
//! with `/` between their parts.

#[cfg_attr(not(feature = "objects"), path = "destination/bucket/absent.rs")]
mod bucket;
mod folder;

pub use bucket::BucketDestination;
pub use folder::FolderDestination;

use crate::files::sink::Share;
use crate::sink::marker::Marker;
use millstream_base::owner::Owner;
use millstream_base::patience::StoreError;
use std::fs::File;

/// The name of a part that is complete, and how many rows it has, where that is known.
pub type Staged = (String, Option<u64>);

/// By what a place tells one version of a marker from another; empty where it needs none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkerTag(pub Option<String>);

/// What a sink needs of where it writes. Each call may be made again after it has failed.
pub trait Destination: Send + Sync {
    /// The place, for people.
    fn shown(&self) -> String;

    /// How long names may be at most, in bytes, with the folder or prefix, where this one is longer.
    fn too_long(&self, name: &str) -> Option<usize>;

    /// Reads a marker; `None`: there is none.
    fn marker(&self, name: &str) -> Result<Option<(Marker, MarkerTag)>, StoreError>;

    /// Puts a marker in the place of the one that was read. Where a later start has the place the error is of kind
    /// [`TakenOver`](millstream_base::patience::StoreErrorKind::TakenOver).
    fn replace_marker(
        &self,
        name: &str,
        marker: &Marker,
        before: Option<&MarkerTag>,
        owner: &Owner,
    ) -> Result<MarkerTag, StoreError>;

    /// All markers of workers, by their numbers.
    fn workers(&self) -> Result<Vec<usize>, StoreError>;

    /// The name of a part that is there, of any worker or none.
    fn any_part(&self) -> Result<Option<String>, StoreError>;

    /// A file into which something is written that is to be staged under this name.
    fn begin(&self, hidden: &str) -> Result<File, StoreError>;

    /// Makes durable, under its hidden name, what was written into such a file. Its bytes begin at the start of the file.
    fn stage(&self, hidden: &str, file: &mut File) -> Result<(), StoreError>;

    /// Gives what is staged its name, where that has not been done yet.
    fn show(&self, hidden: &str, part: &str) -> Result<(), StoreError>;

    /// Writes a small hidden file, which is durable then.
    fn write(&self, hidden: &str, bytes: Vec<u8>) -> Result<(), StoreError>;

    /// Reads such a file; `None`: there is none.
    fn read(&self, hidden: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// The names of what is in a hidden folder, without the folder's.
    fn hidden(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Removes a hidden file; it need not be there.
    fn remove(&self, hidden: &str) -> Result<(), StoreError>;

    /// The names of what is in a folder and sorts behind this name, without the folder's.
    fn names(&self, folder: &str, behind: &str) -> Result<Vec<String>, StoreError>;

    /// Makes a small file, whole and durable, where none has its name; whether it did. An attempt whose answer was lost may find
    /// the file that it has made.
    fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, StoreError>;

    /// The bytes of a file; `None`: there is none.
    fn size(&self, name: &str) -> Result<Option<u64>, StoreError>;

    /// How often readers were told of parts of a share, as far as the place knows; `None`: they see names, and are told nothing.
    fn told(&self, _share: Share) -> Option<u64> {
        None
    }

    /// Tells readers of parts that have their names now, where names do not say enough. `number`: the how many-th time it is for this share, by
    /// which a time that was before is known; `None`: nobody will ask again.
    fn tell(&self, _share: Share, _number: Option<u64>, _parts: &[Staged]) -> Result<(), StoreError> {
        Ok(())
    }
}
