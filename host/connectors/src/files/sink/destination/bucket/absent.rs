//! Replaces buckets as destinations in builds without object stores.

use super::{Destination, MarkerTag};
use millstream_base::error::Result as JobResult;
use millstream_base::owner::Owner;
use millstream_base::retry::StoreError;
use millstream_connect::objects::Bucket;
use millstream_connect::sink::marker::Marker;
use std::fs::File;

/// A bucket, which cannot exist in this build.
pub struct BucketDestination(Bucket);

impl BucketDestination {
    /// Returns an error, as this build has no object stores.
    pub fn open(url: &str) -> JobResult<BucketDestination> {
        Bucket::open(url).map(BucketDestination)
    }
}

impl Destination for BucketDestination {
    fn shown(&self) -> String {
        match self.0 {}
    }

    fn too_long(&self, _name: &str) -> Option<usize> {
        match self.0 {}
    }

    fn marker(&self, _name: &str) -> Result<Option<(Marker, MarkerTag)>, StoreError> {
        match self.0 {}
    }

    fn replace_marker(
        &self,
        _name: &str,
        _marker: &Marker,
        _before: Option<&MarkerTag>,
        _owner: &Owner,
    ) -> Result<MarkerTag, StoreError> {
        match self.0 {}
    }

    fn workers(&self) -> Result<Vec<usize>, StoreError> {
        match self.0 {}
    }

    fn any_part(&self) -> Result<Option<String>, StoreError> {
        match self.0 {}
    }

    fn begin(&self, _hidden: &str) -> Result<File, StoreError> {
        match self.0 {}
    }

    fn stage(&self, _hidden: &str, _file: &mut File) -> Result<(), StoreError> {
        match self.0 {}
    }

    fn show(&self, _hidden: &str, _part: &str) -> Result<(), StoreError> {
        match self.0 {}
    }

    fn write(&self, _hidden: &str, _bytes: Vec<u8>) -> Result<(), StoreError> {
        match self.0 {}
    }

    fn read(&self, _hidden: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0 {}
    }

    fn hidden(&self, _dir: &str) -> Result<Vec<String>, StoreError> {
        match self.0 {}
    }

    fn remove(&self, _hidden: &str) -> Result<(), StoreError> {
        match self.0 {}
    }

    fn names(&self, _dir: &str, _after: &str) -> Result<Vec<String>, StoreError> {
        match self.0 {}
    }

    fn create(&self, _name: &str, _bytes: Vec<u8>) -> Result<bool, StoreError> {
        match self.0 {}
    }

    fn size(&self, _name: &str) -> Result<Option<u64>, StoreError> {
        match self.0 {}
    }
}
