//! A file while it is written: it stands beside its later name.

use super::fault::in_time;
use bytes::Bytes;
use hdfs_native::client::WriteOptions;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, HdfsError};
use object_store::Result;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The end of such a name, behind a number.
const DRAFT: &str = ".tmp";
const DIGITS: usize = 16;

/// Whether a name is one of a file that is being written, or whose writer died.
pub fn is_draft(name: &str) -> bool {
    let number = name.strip_suffix(DRAFT).and_then(|name| name.rsplit_once('.')).map(|(_, number)| number);
    number.is_some_and(|number| number.len() == DIGITS && number.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// What is written so far.
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
    /// Of a file that is to get this path. Two that write the same one do not meet.
    pub async fn begin(client: &Client, path: &str) -> Result<Draft> {
        let number = RandomState::new().build_hasher().finish();
        let path = format!("{path}.{number:0DIGITS$x}{DRAFT}");
        let options = WriteOptions::default().overwrite(true).create_parent(true);
        let file = in_time(&path, client.create(&path, &options)).await?;
        Ok(Draft { client: client.clone(), path, file, bytes: 0 })
    }

    /// Where it stands.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Writes more of it. After an error it is of no use.
    pub async fn add(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let added = in_time(&self.path, self.file.write_bytes(bytes)).await;
        if added.is_err() {
            remove(&self.client, &self.path).await;
        }
        added.map(drop)
    }

    /// Makes durable what was written, and closes it.
    pub async fn complete(mut self) -> Result<Draft> {
        let closed = in_time(&self.path, close(&mut self.file, self.bytes > 0)).await;
        if let Err(error) = closed {
            remove(&self.client, &self.path).await;
            return Err(error);
        }
        Ok(self)
    }

    /// Gives a complete one its name, in the place of what had it.
    pub async fn name(self, path: &str) -> Result<()> {
        let Draft { client, path: draft, .. } = self;
        let named = in_time(path, client.rename(&draft, path, true)).await;
        if named.is_err() {
            remove(&client, &draft).await;
        }
        named
    }

    /// Removes it.
    pub async fn remove(self) {
        let Draft { client, path, .. } = self;
        remove(&client, &path).await;
    }
}

/// If that is possible: what stays is seen by nobody.
async fn remove(client: &Client, path: &str) {
    let _ = in_time(path, client.delete(path, false)).await;
}

async fn close(file: &mut FileWriter, holds: bool) -> hdfs_native::Result<()> {
    if holds {
        match file.hsync().await {
            // Files that are kept as stripes cannot be synced; they are as durable as the cluster makes them.
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
