//! The resident memory of this process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// Where the system reports it: sizes in pages, the second one is the resident memory.
const STATM_PATH: &str = "/proc/self/statm";
/// Kept open, so that a check costs one system call and no memory.
static STATM_FILE: OnceLock<(File, u64)> = OnceLock::new();

/// Opens what [`bytes`] reads. Fails if the system does not report it.
pub fn open() -> io::Result<()> {
    if STATM_FILE.get().is_none() {
        let file = File::open(STATM_PATH)?;
        // SAFETY: it takes a number.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        // Another thread may have been first.
        let _ = STATM_FILE.set((file, page));
    }
    Ok(())
}

/// Returns the resident bytes of this process; zero if the system does not report them. Allocates nothing, as the allocator calls it.
pub fn bytes() -> u64 {
    let Some((file, page)) = STATM_FILE.get() else { return 0 };
    let mut text = [0_u8; 128];
    // SAFETY: the length matches the buffer, and the file stays open.
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
        // The compiler would remove memory that is never read.
        let touched = std::hint::black_box(vec![1_u8; 512 << 20]);
        let now = super::bytes();
        assert!(before > 1 << 20 && now > before + (128 << 20), "{before} {now} {}", touched.len());
        drop(std::hint::black_box(touched));
    }
}
