//! Opens and reads only regular files: opening a pipe would wait for its writer, and reading a device may never end.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The error for other kinds of files.
pub const NOT_REGULAR: &str = "it is not a regular file (but a pipe, a socket or a device)";

/// Opens a regular file for reading; anything else fails immediately.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    // Without this, opening a pipe waits; it has no effect on regular files.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|error| {
        // A socket, or a pipe that cannot be read.
        if error.raw_os_error() == Some(libc::ENXIO) { io::Error::other(NOT_REGULAR) } else { error }
    })?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_dir() {
        true => Ok(file),
        false => Err(io::Error::other(NOT_REGULAR)),
    }
}

/// Checks that the certificate files named in the environment, from which libraries read trusted CAs, are regular files; the error names one that is
/// not. Libraries open them without checking.
pub fn check_certificates() -> Result<(), String> {
    check_certificates_in(std::env::var_os("SSL_CERT_FILE"), std::env::var_os("SSL_CERT_DIR"))
}

fn check_certificates_in(file: Option<OsString>, dirs: Option<OsString>) -> Result<(), String> {
    let is_other = |path: &Path| {
        // A missing file is reported by the code that needs it.
        std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
    };
    let wrong = |variable: &str, path: &Path| {
        Err(format!("{variable}: cannot read `{}`: {NOT_REGULAR}; name a file of certificates", path.display()))
    };
    if let Some(file) = file.map(PathBuf::from).filter(|file| is_other(file)) {
        return wrong("SSL_CERT_FILE", &file);
    }
    for dir in dirs.iter().flat_map(std::env::split_paths) {
        let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        if let Some(entry) = entries.map(|entry| entry.path()).find(|path| is_other(path)) {
            return wrong("SSL_CERT_DIR", &entry);
        }
    }
    Ok(())
}

/// Reads all of a regular file.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0).min(1 << 20));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file of at most `bytes_max` bytes.
pub fn read_at_most(path: impl AsRef<Path>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it has more than {} MiB", bytes_max >> 20)));
    }
    Ok(bytes)
}

/// Reads all of a regular file as text.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_is_no_file_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (file, pipe, socket) = (dir.path().join("file"), dir.path().join("pipe"), dir.path().join("socket"));
        std::fs::write(&file, "text").unwrap();
        let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a string that ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(read_to_string(&file).unwrap(), "text");
        for other in [&*pipe, &*socket, Path::new("/dev/zero"), Path::new("/dev/null")] {
            assert_eq!(read(other).unwrap_err().to_string(), NOT_REGULAR, "{}", other.display());
        }
        assert_eq!(read(dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let os = |path: &Path| Some(path.as_os_str().to_owned());
        let error = check_certificates_in(os(&pipe), None).unwrap_err();
        assert!(error.starts_with("SSL_CERT_FILE: cannot read `") && error.contains(NOT_REGULAR), "{error}");
        assert!(check_certificates_in(None, os(dir.path())).unwrap_err().starts_with("SSL_CERT_DIR: "));
        assert_eq!(check_certificates_in(os(&file), None), Ok(()));
        assert_eq!(check_certificates_in(os(&dir.path().join("none")), None), Ok(()));
    }
}
