//! Reads of what the system has in memory already: handing these to another thread would take longer.

use std::fs::File;

/// Reads so many bytes where that takes no disk. Whether it did.
#[cfg(target_os = "linux")]
pub fn read(file: &File, bytes: &mut [u8], at: u64) -> bool {
    let (length, now) = (bytes.len(), rustix::io::ReadWriteFlags::NOWAIT);
    // What has no such reads says so with an error.
    rustix::io::preadv2(file, &mut [std::io::IoSliceMut::new(bytes)], at, now) == Ok(length)
}

/// Only Linux is known to tell.
#[cfg(not(target_os = "linux"))]
pub fn read(_: &File, _: &mut [u8], _: u64) -> bool {
    false
}
