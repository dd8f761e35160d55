//! Arrow's C data interface, with which libraries of one process share columns without a copy. It is implemented here,
//! since Arrow's own needs a feature that would rebuild all libraries of the program.
//!
//! Imported data is from another library. Its sizes and formats are checked as far as the interface defines them. Its
//! pointers are trusted, as by all users of the interface.

mod export;
mod format;
mod import;

pub use export::{schema_capsule, stream_capsule};
pub use import::read;

use std::ffi::{CStr, c_char, c_int, c_void};

/// The name of a capsule with a stream.
pub const STREAM: &CStr = c"arrow_array_stream";
/// The name of a capsule with a schema.
pub const SCHEMA: &CStr = c"arrow_schema";

const FLAG_DICTIONARY_ORDERED: i64 = 1;
const FLAG_NULLABLE: i64 = 2;
const FLAG_MAP_KEYS_SORTED: i64 = 4;

/// `struct ArrowSchema`.
#[repr(C)]
pub struct CSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut CSchema,
    dictionary: *mut CSchema,
    release: Option<unsafe extern "C" fn(*mut CSchema)>,
    private_data: *mut c_void,
}

/// `struct ArrowArray`.
#[repr(C)]
pub struct CArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut CArray,
    dictionary: *mut CArray,
    release: Option<unsafe extern "C" fn(*mut CArray)>,
    private_data: *mut c_void,
}

/// `struct ArrowArrayStream`.
#[repr(C)]
pub struct CStream {
    get_schema: Option<unsafe extern "C" fn(*mut CStream, *mut CSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut CStream, *mut CArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut CStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut CStream)>,
    private_data: *mut c_void,
}

/// Implements what all three structures have in common: an empty value, and a destructor.
macro_rules! released {
    ($name:ident) => {
        impl $name {
            /// Returns an empty structure.
            pub fn none() -> $name {
                // SAFETY: all fields are numbers, pointers and optional functions, for which zero is valid.
                unsafe { std::mem::zeroed() }
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: the producer's `release` is called once. It is empty afterwards.
                    unsafe { release(self) };
                }
            }
        }

        // SAFETY: the interface allows a structure to be moved to, and released by, another thread.
        unsafe impl Send for $name {}
    };
}

released!(CSchema);
released!(CArray);
released!(CStream);

// SAFETY: an array is only read once it is complete, and released by its last owner.
unsafe impl Sync for CArray {}
