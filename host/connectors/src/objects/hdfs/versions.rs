//! Files that are replaced on condition. HDFS can make a name that is not there, and can do no more than that on condition. So
//! such a file is a folder of versions with numbers, of which the largest counts: whoever replaces version 7 makes version 8, which
//! only one can. The largest number is never removed, so who finds its own to be the largest knows that nobody was faster.

use super::Hdfs;
use super::fault::in_time;
use hdfs_native::client::FileStatus;
use object_store::{Error, PutPayload, Result};

const BEGIN: &str = "version-";
const DIGITS: usize = 20;
/// The one before stays for who is just reading it.
const KEPT: u64 = 2;

/// A version that is there.
pub struct Version {
    pub number: u64,
    pub status: FileStatus,
}

impl Version {
    pub fn tag(&self) -> String {
        tag(self.number, &self.status)
    }
}

/// What tells a version from all others, also from one of its number in a folder that was made anew.
pub fn tag(number: u64, status: &FileStatus) -> String {
    format!("{number}-{}", super::tag(status))
}

/// The number of a version; `None`: the path is of something else.
pub fn number(path: &str) -> Option<u64> {
    let number = path.rsplit('/').next()?.strip_prefix(BEGIN)?;
    let is_number = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}

/// All versions in a folder, the newest last; none where there is no such folder.
async fn all(hdfs: &Hdfs, folder: &str) -> Result<Vec<Version>> {
    let entries = match hdfs.entries(folder).await {
        Err(Error::NotFound { .. }) => return Ok(Vec::new()),
        entries => entries?,
    };
    let files = entries.into_iter().filter(|status| !status.isdir && status.path != folder);
    Ok(files.filter_map(|status| Some(Version { number: number(&status.path)?, status })).collect())
}

/// The version that counts; `None`: there is none.
pub async fn newest(hdfs: &Hdfs, folder: &str) -> Result<Option<Version>> {
    Ok(all(hdfs, folder).await?.pop())
}

/// Makes the version behind the expected one, if that still counts (`None`: if there is none). Its tag.
pub async fn replace(hdfs: &Hdfs, folder: &str, payload: PutPayload, expected: Option<String>) -> Result<String> {
    let before = newest(hdfs, folder).await?;
    if before.as_ref().map(Version::tag) != expected {
        return Err(refused(folder));
    }
    let number = before.map_or(0, |before| before.number).saturating_add(1);
    let path = format!("{folder}/{BEGIN}{number:0DIGITS$}");
    let draft = hdfs.draft(&path, payload).await?;
    if let Err(error) = hdfs.rename(draft.path(), &path, false).await {
        draft.remove().await;
        return Err(match error {
            Error::AlreadyExists { .. } => refused(folder),
            error => error,
        });
    }
    // One that was removed long ago could be made again by who slept meanwhile; but then it is not the newest.
    let there = all(hdfs, folder).await?;
    let Some(newest) = there.last().filter(|newest| newest.number == number) else { return Err(refused(folder)) };
    let tag = newest.tag();
    for old in there.iter().filter(|version| version.number.saturating_add(KEPT) <= number) {
        // What stays is removed by the next one.
        let _ = in_time(folder, hdfs.client.delete(&old.status.path, false)).await;
    }
    Ok(tag)
}

fn refused(folder: &str) -> Error {
    Error::Precondition { path: folder.to_owned(), source: "another version came meanwhile".into() }
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
