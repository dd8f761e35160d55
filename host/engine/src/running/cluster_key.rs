//! The key that the processes of a job share. A process without it cannot join the job.

use millstream_base::error::{Error, Result};
use millstream_base::private::{self, Key, random};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Minimum length of a key. A shorter one could be guessed.
const BYTES_MIN: usize = 32;
/// Maximum length of a key.
pub const BYTES_MAX: usize = 4096;

/// A secret shared by all processes of a job. It is never displayed or passed on a command line.
#[derive(Clone)]
pub struct ClusterKey(Arc<[u8]>);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

impl ClusterKey {
    /// Generates a key, for processes that one supervisor starts.
    pub fn generate() -> Result<ClusterKey> {
        let bytes = random().map_err(|error| Error::environment(format!("cannot create a key: {error}")))?;
        Ok(ClusterKey(bytes.as_slice().into()))
    }

    /// Returns the key of this user on this machine, for processes that are started by hand. Creates it if it does not exist.
    pub fn of_user() -> Result<ClusterKey> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        let Some(state) = state else {
            return Err(Error::job(
                "neither HOME nor XDG_STATE_HOME is set, so this user has no key with which the processes of the \
                 job authenticate each other; name a key file: --cluster-key FILE",
            ));
        };
        let file = state.join("millstream").join("cluster.key");
        let key = Key::open(&file).map_err(|error| {
            Error::environment(format!(
                "the key with which the processes of the job authenticate each other, {}: {error}",
                file.display()
            ))
        })?;
        Ok(ClusterKey(key.bytes().into()))
    }

    /// Reads the key from a file, without the trailing line break.
    pub fn read(file: &Path) -> Result<ClusterKey> {
        let bytes = read(file).map_err(|error| Error::job(format!("--cluster-key: {}: {error}", file.display())))?;
        Ok(ClusterKey(bytes.into()))
    }

    /// Returns its bytes, as they are passed to a process over a private pipe.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Creates a key from the result of [`Self::bytes`].
    pub fn from_bytes(bytes: &[u8]) -> ClusterKey {
        ClusterKey(bytes.into())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = private::read_secret(path, BYTES_MAX as u64)?;
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    bytes.truncate(end);
    if !(BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a key must be {BYTES_MIN} to {BYTES_MAX} random bytes; create one with `openssl rand -hex 32`"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_key_is_a_file_that_only_its_user_may_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let file = |name: &str, bytes: &[u8], mode| {
            fs::write(path(name), bytes).unwrap();
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
            ClusterKey::read(&path(name)).map(|key| key.bytes().to_vec()).map_err(|error| error.message)
        };
        let digits = [b'7'; 64];
        assert_eq!(file("good", &[&digits[..], b"\n"].concat(), 0o600), Ok(digits.to_vec()));
        symlink(path("good"), path("link")).unwrap();
        assert_eq!(ClusterKey::read(&path("link")).unwrap().bytes(), digits);
        for mode in [0o640, 0o604, 0o620, 0o666] {
            assert!(file("shared", &digits, mode).unwrap_err().contains("only this user can access"), "{mode:o}");
        }
        assert!(
            file("short", b"0123456789abcdef0123456789abcde\n\n\n", 0o600)
                .unwrap_err()
                .contains("32 to 4096 random bytes")
        );
        assert!(file("long", &[1; 5000], 0o600).unwrap_err().contains("32 to 4096 random bytes"));
        assert!(ClusterKey::read(dir.path()).unwrap_err().message.contains("it must be a file"));
        let pipe = std::ffi::CString::new(path("pipe").display().to_string()).unwrap();
        // SAFETY: the path is NUL-terminated.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        assert!(ClusterKey::read(&path("pipe")).unwrap_err().message.contains("it must be a file"));
        assert_eq!(format!("{:?}", ClusterKey::generate().unwrap()), "ClusterKey");
        assert_ne!(ClusterKey::generate().unwrap().bytes(), ClusterKey::generate().unwrap().bytes());
    }
}
