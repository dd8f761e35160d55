//! The order of keyed output: by the hash of the keys, then by their bytes.

use crate::batch::keys::KeyHash;

/// Runs of keys with one hash up to this length are compared key by key.
const SHORT_RUN: usize = 16;
/// Bytes of a key that are compared together.
const WORD_BYTES: usize = 16;

/// Sorts keys; `slots` are their indexes.
///
/// Keys with equal hashes are rare, unless a client sends them on purpose. A sort that compares keys in place takes several times as long as one of
/// hashes. Such keys are therefore sorted by words of their bytes after their common prefix, as a radix sort from the most significant digit does.
pub fn sort_keys<'a>(slots: &mut [u32], hash: impl Fn(u32) -> KeyHash, key: impl Fn(u32) -> &'a [u8]) {
    slots.sort_unstable_by_key(|slot| hash(*slot));
    for run in slots.chunk_by_mut(|a, b| hash(*a) == hash(*b)) {
        if run.len() > SHORT_RUN {
            sort_run(run, &key);
        } else if run.len() > 1 {
            run.sort_unstable_by_key(|slot| key(*slot));
        }
    }
}

/// Sorts many keys by their bytes.
fn sort_run<'a>(run: &mut [u32], key: &impl Fn(u32) -> &'a [u8]) {
    // The runs that are not sorted yet, and the length of their common prefix. A list instead of recursion, as keys may have any length.
    let mut left = vec![(0..run.len(), 0)];
    while let Some((range, same)) = left.pop() {
        let Some(part) = run.get_mut(range.clone()) else { continue };
        if part.len() <= SHORT_RUN {
            part.sort_unstable_by_key(|slot| key(*slot));
            continue;
        }
        let same = same + shared_bytes(part.iter().map(|slot| key(*slot).get(same..).unwrap_or_default()));
        let mut key_words: Vec<(KeyWord, u32)> =
            part.iter().map(|slot| (KeyWord::new(key(*slot).get(same..).unwrap_or_default()), *slot)).collect();
        key_words.sort_unstable_by_key(|(word, _)| *word);
        part.iter_mut().zip(&key_words).for_each(|(slot, (_, sorted))| *slot = *sorted);
        let mut start = range.start;
        for equal in key_words.chunk_by(|(a, _), (b, _)| a == b) {
            if equal.len() > 1 && equal.iter().all(|(word, _)| word.continues()) {
                left.push((start..start + equal.len(), same + WORD_BYTES));
            }
            start += equal.len();
        }
    }
}

/// Returns the length of the prefix that all keys share.
fn shared_bytes<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = keys.next() else { return 0 };
    keys.fold(first.len(), |same, key| {
        let front = first.get(..same).unwrap_or(first);
        if key.starts_with(front) { same } else { front.iter().zip(key).take_while(|(a, b)| a == b).count() }
    })
}

/// The next bytes of a key, padded with zeros, and their number: a key that ends sorts before one that continues with zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct KeyWord(u128, u8);

impl KeyWord {
    fn new(rest: &[u8]) -> KeyWord {
        let mut bytes = [0; WORD_BYTES];
        let length = rest.len().min(WORD_BYTES);
        bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        KeyWord(u128::from_be_bytes(bytes), (length + usize::from(rest.len() > WORD_BYTES)) as u8)
    }

    /// Returns whether the key has more bytes. Keys with equal words that do not continue are equal.
    fn continues(self) -> bool {
        usize::from(self.1) > WORD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::random::Random;

    #[test]
    fn keys_are_ordered_by_hash_and_bytes() {
        // Few different words, so that many keys have long common prefixes, some are prefixes of others, and some occur twice.
        let alphabet: [&[u8]; 6] = [&[], &[0], &[0; 16], &[255; 17], &[0, 1], b"abcdefghijklmnopq"];
        for seed in 0..300 {
            let mut random = Random(seed);
            let mut below = |end| random.below(end);
            let (count, hashes) = (below(200), 1 + below(4));
            let keys: Vec<Vec<u8>> = (0..count)
                .map(|_| (0..below(6)).flat_map(|_| alphabet[below(6) as usize].iter().copied()).collect())
                .collect();
            let hash = |slot: u32| KeyHash(keys[slot as usize].len() as u64 * 7 % hashes);
            let mut slots: Vec<u32> = (0..count as u32).collect();
            let mut expected = slots.clone();
            expected.sort_by_key(|slot| (hash(*slot), &keys[*slot as usize]));
            sort_keys(&mut slots, hash, |slot| &keys[slot as usize]);
            let keys_of = |slots: &[u32]| slots.iter().map(|slot| &keys[*slot as usize]).collect::<Vec<_>>();
            assert_eq!(keys_of(&slots), keys_of(&expected), "seed {seed}");
            slots.sort_unstable();
            assert!(slots.into_iter().eq(0..count as u32), "each of them once: seed {seed}");
        }
    }

    #[test]
    fn a_long_front_that_all_have_in_common_is_passed_over() {
        let keys: Vec<Vec<u8>> =
            (0..5_000_u32).map(|number| [&[7; 10_000][..], &number.to_be_bytes()].concat()).collect();
        let mut slots: Vec<u32> = (0..5_000).rev().collect();
        sort_keys(&mut slots, |_| KeyHash(1), |slot| &keys[slot as usize]);
        assert!(slots.is_sorted());
    }
}
