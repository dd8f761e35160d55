//! A log in a file.

use super::{Disk, durable};
use crate::checkpoint::store::Log;
use millstream_base::fault;
use millstream_base::retry::{StoreError, io_failed};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A file that grows.
pub struct FileLog {
    pub(super) file: File,
    path: PathBuf,
    disk: Disk,
    /// Bytes that are durable.
    length: u64,
    /// The last append failed, and may have written something after `length`.
    pub(super) torn: bool,
}

impl FileLog {
    /// Creates a log. An existing empty file is reused: an earlier attempt may have created it.
    pub fn create(path: PathBuf, disk: Disk) -> Result<FileLog, StoreError> {
        let make = || {
            let file = match durable::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let file = OpenOptions::new().write(true).open(&path)?;
                    if file.metadata()?.len() > 0 {
                        return Err(error);
                    }
                    file
                }
                made => made?,
            };
            if !disk.skip_sync {
                durable::sync_dir(durable::dir_of(&path))?;
            }
            Ok(file)
        };
        let file = make().map_err(|error| io_failed(format!("create the log {}", path.display()), &error))?;
        Ok(FileLog { file, path, disk, length: 0, torn: false })
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
        }
        self.torn = true;
        if !self.disk.lose_unsynced {
            self.file.write_all_at(bytes, self.length)?;
        }
        fault::point("store.append");
        if !self.disk.skip_sync {
            if self.disk.lose_unsynced {
                self.file.write_all_at(bytes, self.length)?;
            }
            self.file.sync_data()?;
        } else if self.disk.lose_unsynced {
            // Never synced, as if it had never been written.
            return Ok(());
        }
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.torn = false;
        Ok(())
    }
}

impl Log for FileLog {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.try_append(bytes).map_err(|error| io_failed(format!("write {}", self.path.display()), &error))
    }
}
