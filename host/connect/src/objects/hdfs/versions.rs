//! Files that are replaced conditionally. The only conditional operation of HDFS is to create a name that does not exist. So such a file is
//! a directory of numbered versions, of which the largest counts. To replace version 7, a writer creates version 8, and only one writer
//! can. The largest number is never removed. So a writer whose version is the largest knows that no other was faster.

use super::Hdfs;
use super::fault::with_timeout;
use hdfs_native::client::FileStatus;
use object_store::{Error, PutPayload, Result};

const BEGIN: &str = "version-";
const DIGITS: usize = 20;
/// The previous version is kept for concurrent readers.
const VERSIONS_KEPT: u64 = 2;

/// An existing version.
pub struct Version {
    pub number: u64,
    pub status: FileStatus,
}

impl Version {
    pub fn tag(&self) -> String {
        tag(self.number, &self.status)
    }
}

/// Returns a tag unique to a version, even among those with its number in a recreated directory.
pub fn tag(number: u64, status: &FileStatus) -> String {
    format!("{number}-{}", super::tag(status))
}

/// Returns the number of a version; `None`: the path is of something else.
pub fn number(path: &str) -> Option<u64> {
    let number = path.rsplit('/').next()?.strip_prefix(BEGIN)?;
    let is_number = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}

/// Returns all versions in a directory, the newest last; none if the directory does not exist.
async fn list_all(hdfs: &Hdfs, dir: &str) -> Result<Vec<Version>> {
    let entries = match hdfs.entries(dir).await {
        Err(Error::NotFound { .. }) => return Ok(Vec::new()),
        entries => entries?,
    };
    let files = entries.into_iter().filter(|status| !status.isdir && status.path != dir);
    Ok(files.filter_map(|status| Some(Version { number: number(&status.path)?, status })).collect())
}

/// Returns the current version; `None` if it does not exist.
pub async fn newest(hdfs: &Hdfs, dir: &str) -> Result<Option<Version>> {
    Ok(list_all(hdfs, dir).await?.pop())
}

/// Creates the version after the expected one, if that is still current (`None`: if it does not exist). Returns its tag.
pub async fn replace(hdfs: &Hdfs, dir: &str, payload: PutPayload, expected: Option<String>) -> Result<String> {
    let before = newest(hdfs, dir).await?;
    if before.as_ref().map(Version::tag) != expected {
        return Err(precondition_error(dir));
    }
    let number = before.map_or(0, |before| before.number).saturating_add(1);
    let path = format!("{dir}/{BEGIN}{number:0DIGITS$}");
    let draft = hdfs.draft(&path, payload).await?;
    if let Err(error) = hdfs.rename(draft.path(), &path, false).await {
        draft.remove().await;
        return Err(match error {
            Error::AlreadyExists { .. } => precondition_error(dir),
            error => error,
        });
    }
    // A delayed writer could recreate a version that was removed long ago; but then it is not the newest.
    let existing = list_all(hdfs, dir).await?;
    let Some(newest) = existing.last().filter(|newest| newest.number == number) else {
        return Err(precondition_error(dir));
    };
    let tag = newest.tag();
    for old in existing.iter().filter(|version| version.number.saturating_add(VERSIONS_KEPT) <= number) {
        // If this fails, the next writer removes it.
        let _ = with_timeout(dir, hdfs.client.delete(&old.status.path, false)).await;
    }
    Ok(tag)
}

fn precondition_error(dir: &str) -> Error {
    Error::Precondition { path: dir.to_owned(), source: "another version was written in the meantime".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_their_names() {
        assert_eq!(number("/a/version-00000000000000000012"), Some(12));
        for other in ["/a/version-12", "/a/b", "version-", "/version-0000000000000000001x"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
