//! How much memory of this process is resident.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// Where the system tells it: sizes in pages, the second one is what is resident.
const PLACE: &str = "/proc/self/statm";
/// Kept open, so that a look costs one system call and no memory.
static TOLD: OnceLock<(File, u64)> = OnceLock::new();

/// Opens what [`bytes`] reads. An error where the system does not tell.
pub fn open() -> io::Result<()> {
    if TOLD.get().is_none() {
        let file = File::open(PLACE)?;
        // SAFETY: it takes a number.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        // Another thread may have been first.
        let _ = TOLD.set((file, page));
    }
    Ok(())
}

/// Bytes of this process that are resident; zero where the system does not tell. Asks for no memory, as the allocator
/// calls it.
pub fn bytes() -> u64 {
    let Some((file, page)) = TOLD.get() else { return 0 };
    let mut text = [0_u8; 128];
    // SAFETY: the buffer is as long as is said, and the file stays open.
    let read = unsafe { libc::pread(file.as_raw_fd(), text.as_mut_ptr().cast(), text.len(), 0) };
    let text = text.get(..usize::try_from(read).unwrap_or(0)).unwrap_or_default();
    let pages = text.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let digits = pages.iter().filter(|byte| byte.is_ascii_digit());
    digits
        .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
        .saturating_mul(*page)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_touched_is_resident() {
        super::open().unwrap();
        let before = super::bytes();
        // A compiler that sees that nobody reads it leaves it out.
        let touched = std::hint::black_box(vec![1_u8; 512 << 20]);
        let now = super::bytes();
        assert!(before > 1 << 20 && now > before + (128 << 20), "{before} {now} {}", touched.len());
        drop(std::hint::black_box(touched));
    }
}
