//! Reads of data that the system has in memory already: handing these to another thread would take longer.

use std::fs::File;

/// Reads these bytes if that takes no disk access. Returns whether it did.
#[cfg(target_os = "linux")]
pub fn read(file: &File, bytes: &mut [u8], at: u64) -> bool {
    let (length, now) = (bytes.len(), rustix::io::ReadWriteFlags::NOWAIT);
    // File systems without such reads return an error.
    rustix::io::preadv2(file, &mut [std::io::IoSliceMut::new(bytes)], at, now) == Ok(length)
}

/// Only Linux supports this.
#[cfg(not(target_os = "linux"))]
pub fn read(_: &File, _: &mut [u8], _: u64) -> bool {
    false
}
