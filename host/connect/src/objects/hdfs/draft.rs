//! A file that is being written, next to its later name.

use super::fault::with_timeout;
use bytes::Bytes;
use hdfs_native::client::WriteOptions;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, HdfsError};
use object_store::Result;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The suffix of such a name, after a number.
const DRAFT: &str = ".tmp";
const DIGITS: usize = 16;

/// Whether a name is that of a file that is being written, or whose writer died.
pub fn is_draft(name: &str) -> bool {
    let number = name.strip_suffix(DRAFT).and_then(|name| name.rsplit_once('.')).map(|(_, number)| number);
    number.is_some_and(|number| number.len() == DIGITS && number.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// A partially written file.
pub struct Draft {
    client: Client,
    path: String,
    file: FileWriter,
    bytes: u64,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl Draft {
    /// Begins a file that is to get this path. Concurrent writers of the same path have different files.
    pub async fn begin(client: &Client, path: &str) -> Result<Draft> {
        let number = RandomState::new().build_hasher().finish();
        let path = format!("{path}.{number:0DIGITS$x}{DRAFT}");
        let options = WriteOptions::default().overwrite(true).create_parent(true);
        let file = with_timeout(&path, client.create(&path, &options)).await?;
        Ok(Draft { client: client.clone(), path, file, bytes: 0 })
    }

    /// Returns its current path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Appends bytes. After an error the file is useless.
    pub async fn add(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let added = with_timeout(&self.path, self.file.write_bytes(bytes)).await;
        if added.is_err() {
            remove(&self.client, &self.path).await;
        }
        added.map(drop)
    }

    /// Makes the written bytes durable, and closes the file.
    pub async fn complete(mut self) -> Result<Draft> {
        let closed = with_timeout(&self.path, close(&mut self.file, self.bytes > 0)).await;
        if let Err(error) = closed {
            remove(&self.client, &self.path).await;
            return Err(error);
        }
        Ok(self)
    }

    /// Renames a complete file, replacing an existing one.
    pub async fn name(self, path: &str) -> Result<()> {
        let Draft { client, path: draft, .. } = self;
        let named = with_timeout(path, client.rename(&draft, path, true)).await;
        if named.is_err() {
            remove(&client, &draft).await;
        }
        named
    }

    /// Removes the file.
    pub async fn remove(self) {
        let Draft { client, path, .. } = self;
        remove(&client, &path).await;
    }
}

/// Removes a file if possible: a remaining one is not visible.
async fn remove(client: &Client, path: &str) {
    let _ = with_timeout(path, client.delete(path, false)).await;
}

async fn close(file: &mut FileWriter, holds: bool) -> hdfs_native::Result<()> {
    if holds {
        match file.hsync().await {
            // Erasure-coded files cannot be synced; they are as durable as the cluster makes them.
            Err(HdfsError::OperationFailed(_)) => {}
            synced => synced?,
        }
    }
    file.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_told_by_their_names() {
        assert!(is_draft("a/part-1.csv.0123456789abcdef.tmp"));
        for other in ["a.tmp", "0123456789abcdef.tmp", "a.0123456789abcdeg.tmp", "a.0123456789abcdef", ""] {
            assert!(!is_draft(other), "{other}");
        }
    }
}
