//! Keys of this user's Millstream, for example the one that signs its stored data: 32 random bytes in a file that only the user can read.

use crate::durable;
use crate::private;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Size of a key.
const BYTES: usize = 32;

/// A key of the user.
pub struct Key([u8; BYTES]);

impl Key {
    /// Reads the key, and creates it if missing. If several processes create one at the same time, all get the same.
    pub fn open(file: &Path) -> io::Result<Key> {
        let dir = file.parent().unwrap_or(Path::new("/"));
        private::dir(dir)?;
        match Key::read(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Key::make(file)?;
                Key::read(file)
            }
            read => read,
        }
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn read(file: &Path) -> io::Result<Key> {
        let mut bytes = Vec::new();
        private::open(file)?.take(BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let found = bytes.len();
        let bytes = <[u8; BYTES]>::try_from(bytes).map_err(|_| {
            let message = format!("it has {found} bytes instead of {BYTES}; remove it to create a new one");
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        Ok(Key(bytes))
    }

    fn make(file: &Path) -> io::Result<()> {
        match durable::make(file, &random()?) {
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            created => created,
        }
    }
}

/// Returns random bytes from the system.
pub fn random() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
