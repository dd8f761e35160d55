//! Code of single functions, stored from one compilation to the next.
//!
//! Components of Python and JavaScript consist of a large runtime, whose code is the same in all of them, and of its memory, which differs.
//! Compiling the runtime takes 10 s and more; with stored functions it is mostly copied. They are in one file per runtime, next to the code
//! of components and protected in the same way (`cache`).

use crate::limits::FUNCTIONS_KEPT_BYTES_MAX;
use crate::plugin::cache::DigestBytes;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use wasmparser::{Parser, Payload};
use wasmtime::CacheStore;

/// Minimum code size in bytes of modules whose functions are stored; a smaller one is compiled faster than they are read.
const MODULE_BYTES_MIN: usize = 256 << 10;
/// A file is rewritten when more than one in this many bytes is missing from it.
const MISSING_PART: usize = 8;
/// Bytes before each function: its key and its length.
const HEAD_BYTES: usize = 36;

/// The digest of the code of all large modules within a component; `None` if there are none.
pub fn runtime(component: &[u8]) -> Option<DigestBytes> {
    let mut digest = Sha256::new();
    let mut is_large = false;
    for payload in Parser::new(0).parse_all(component) {
        // Unreadable bytes are rejected by the compilation.
        if let Payload::CodeSectionStart { range, .. } = payload.ok()?
            && range.len() >= MODULE_BYTES_MIN
        {
            digest.update(component.get(range)?);
            is_large = true;
        }
    }
    is_large.then(|| digest.finalize().into())
}

/// The stored functions, and new ones.
pub struct CompiledFunctions {
    kept: Vec<u8>,
    ranges: HashMap<[u8; 32], Range<usize>>,
    made: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl CompiledFunctions {
    /// Reads the output of [`CompiledFunctions::written`]. Damaged entries are dropped.
    pub fn read(kept: Vec<u8>) -> CompiledFunctions {
        let mut ranges = HashMap::new();
        let mut offset = 0;
        while let Some((key, length)) = head(&kept, offset) {
            let start = offset + HEAD_BYTES;
            let end = start.saturating_add(length);
            if end > kept.len() {
                break;
            }
            ranges.insert(key, start..end);
            offset = end;
        }
        CompiledFunctions { kept, ranges, made: Mutex::default() }
    }

    /// Returns the functions to store, if they differ from the stored ones.
    pub fn written(&self) -> Option<Vec<u8>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: usize = made.iter().map(|(key, code)| key.len() + 4 + code.len()).sum();
        if missing <= self.kept.len() / MISSING_PART || missing + self.kept.len() > FUNCTIONS_KEPT_BYTES_MAX {
            return None;
        }
        let mut all = self.kept.clone();
        all.reserve(missing);
        for (key, code) in made.iter() {
            if let (32, Ok(length)) = (key.len(), u32::try_from(code.len())) {
                all.extend_from_slice(key);
                all.extend_from_slice(&length.to_le_bytes());
                all.extend_from_slice(code);
            }
        }
        Some(all)
    }
}

fn head(bytes: &[u8], offset: usize) -> Option<([u8; 32], usize)> {
    let (key, rest) = bytes.get(offset..)?.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    Some((*key, u32::from_le_bytes(*length) as usize))
}

impl fmt::Debug for CompiledFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} functions", self.ranges.len())
    }
}

impl CacheStore for CompiledFunctions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.kept.get(self.ranges.get(key)?.clone()).map(Cow::Borrowed)
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push((key.to_vec(), value));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_there_the_next_time() {
        let functions = CompiledFunctions::read(Vec::new());
        assert!(functions.written().is_none(), "nothing was made");
        let (first, second) = ([1; 32], [2; 32]);
        functions.insert(&first, vec![7; 1_000]);
        functions.insert(&second, Vec::new());
        let kept = functions.written().expect("two functions");
        let functions = CompiledFunctions::read(kept.clone());
        assert_eq!(functions.get(&first).as_deref(), Some(&[7; 1_000][..]));
        assert_eq!(functions.get(&second).as_deref(), Some(&[][..]));
        assert_eq!(functions.get(&[3; 32]), None);
        functions.insert(&[3; 32], vec![9; 10]);
        assert!(functions.written().is_none(), "too little is missing");
        functions.insert(&[4; 32], vec![9; 200]);
        let more = CompiledFunctions::read(functions.written().expect("more"));
        assert_eq!(more.get(&[4; 32]).as_deref(), Some(&[9; 200][..]));
        // A file that ends early, or in the middle of a function.
        for end in [0, 10, 36, 500, kept.len() - 1] {
            assert!(CompiledFunctions::read(kept[..end].to_vec()).get(&second).is_none());
        }
    }

    #[test]
    fn a_runtime_is_named_by_its_code_alone() {
        let module = |code: usize, data: &str| {
            let body = "(drop (i32.const 1234567))".repeat(code);
            let text = format!("(component (core module (memory 1) (func {body}) (data (i32.const 0) \"{data}\")))");
            wat::parse_str(text).expect("a component")
        };
        assert_eq!(runtime(&module(1, "a")), None, "it is small");
        let large = MODULE_BYTES_MIN / 5;
        assert!(runtime(&module(large, "a")).is_some());
        assert_eq!(runtime(&module(large, "a")), runtime(&module(large, "b")));
        assert_ne!(runtime(&module(large, "a")), runtime(&module(large + 1, "a")));
        assert_eq!(runtime(b"\0asm"), None);
    }
}
