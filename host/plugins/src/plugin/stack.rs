//! Checks that the stack of a thread has room for a plugin's. wasmtime runs a guest on the stack of the calling thread, and assumes that the
//! guest's stack limit is within it; otherwise the process dies.

use millstream_base::limits::THREAD_STACK_BYTES_RESERVED;
use std::cell::Cell;

/// Fails if the stack of this thread has no room for this many bytes and for the host; the error is the message.
pub fn check(stack_bytes_max: u64) -> Result<(), String> {
    let (needed, room) = (stack_bytes_max.saturating_add(THREAD_STACK_BYTES_RESERVED), room());
    if needed <= room {
        return Ok(());
    }
    Err(format!(
        "its stack may have {stack_bytes_max} bytes (`limits.stack`), so this thread needs {needed} bytes, but only \
         {room} are left. Lower `limits.stack`, or set the environment variable RUST_MIN_STACK to {} before the \
         program starts, as the command `millstream` does.",
        needed.saturating_add(THREAD_STACK_BYTES_RESERVED)
    ))
}

/// Bytes between here and the end of this thread's stack.
fn room() -> u64 {
    thread_local! { static LOWEST: Cell<Option<usize>> = const { Cell::new(None) } }
    let here = 0u8;
    let lowest = LOWEST.with(|lowest| {
        let found = lowest.get().unwrap_or_else(lowest_address);
        lowest.set(Some(found));
        found
    });
    (std::ptr::from_ref(&here).addr()).saturating_sub(lowest) as u64
}

/// The lowest address of this thread's stack; an estimate with the usual size if the system does not report it.
fn lowest_address() -> usize {
    const USUAL_BYTES: usize = 2 << 20;
    let here = 0u8;
    let usual = std::ptr::from_ref(&here).addr().saturating_sub(USUAL_BYTES);
    #[cfg(target_os = "linux")]
    {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY: the first call fills `attributes` if it returns 0; only then are they read, and freed once.
        unsafe {
            if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
                return usual;
            }
            let (mut lowest, mut bytes) = (std::ptr::null_mut(), 0);
            let found = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut bytes);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            if found == 0 { lowest.addr() } else { usual }
        }
    }
    #[cfg(not(target_os = "linux"))]
    usual
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::Builder;

    #[test]
    fn a_thread_must_have_room() {
        // A thread may get more than it requests: the stack of one that has exited.
        let in_thread = || {
            let room = room();
            (room, check(room - THREAD_STACK_BYTES_RESERVED - (64 << 10)), check(room))
        };
        let stack_bytes = 4 << 20;
        let thread = Builder::new().stack_size(stack_bytes).spawn(in_thread);
        let (room, fits, too_large) = thread.unwrap().join().unwrap();
        assert!(room > stack_bytes as u64 / 2, "{room}");
        assert_eq!(fits, Ok(()));
        let message = too_large.unwrap_err();
        assert!(message.contains("RUST_MIN_STACK") && message.contains("`limits.stack`"), "{message}");
        assert!(check(u64::MAX).is_err());
    }
}
