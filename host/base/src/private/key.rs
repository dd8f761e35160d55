//! Keys of this user's Millstream, as the one with which it signs what it keeps: 32 random bytes in a file that only the
//! user can read.

use crate::durable;
use crate::private;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a key.
const BYTES: usize = 32;

/// A key of the user.
pub struct Key([u8; BYTES]);

impl Key {
    /// Reads the key, and makes one where there is none. Of several processes that make one at once, one does, and all
    /// have the same.
    pub fn open(file: &Path) -> io::Result<Key> {
        let folder = file.parent().unwrap_or(Path::new("/"));
        private::folder(folder)?;
        match Key::read(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Key::make(file)?;
                Key::read(file)
            }
            read => read,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn read(file: &Path) -> io::Result<Key> {
        let mut bytes = Vec::new();
        private::open(file)?.take(BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let found = bytes.len();
        let bytes = <[u8; BYTES]>::try_from(bytes).map_err(|_| {
            let words = format!("it has {found} bytes instead of {BYTES}; remove it, and another one is made");
            io::Error::new(io::ErrorKind::InvalidData, words)
        })?;
        Ok(Key(bytes))
    }

    fn make(file: &Path) -> io::Result<()> {
        match durable::make(file, &random()?) {
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }
}

/// Bytes that nobody can guess.
pub fn random() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
