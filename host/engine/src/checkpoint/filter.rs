//! A filter of the keys that a file certainly lacks. The false positive rate is one in a thousand for small files, and one in a hundred for large
//! ones. There are more small files, and all their filters together are smaller than that of a large one. (Different rates for the levels of a
//! log-structured store are due to Dayan, Athanassoulis and Idreos, "Monkey", SIGMOD 2017.)

/// Bits per key in a small file, and in others.
const BITS_PER_KEY_OF_SMALL: u64 = 16;
const BITS_PER_KEY: u64 = 10;
/// A file is small if its filter takes at most this fraction of the memory for state.
const SMALL: u64 = 128;
/// Words per block: one cache line, so that a lookup costs one memory access.
const BLOCK_WORDS: usize = 8;
const BLOCK_BITS: u64 = 64 * BLOCK_WORDS as u64;
/// Bits set per key, all in one block.
const PROBES: u32 = 7;
/// Bits that select one bit of a block.
const PROBE_BITS: u32 = BLOCK_BITS.ilog2();

/// A blocked Bloom filter.
#[derive(Debug)]
pub struct Filter {
    blocks: Vec<[u64; BLOCK_WORDS]>,
}

impl Filter {
    /// Creates a filter with room for this many keys, for a process with this memory for state.
    pub fn new(keys: u64, state_bytes_max: u64) -> Filter {
        let is_small = keys.saturating_mul(BITS_PER_KEY_OF_SMALL / 8) <= state_bytes_max / SMALL;
        let bits = if is_small { BITS_PER_KEY_OF_SMALL } else { BITS_PER_KEY };
        let blocks = keys.saturating_mul(bits).div_ceil(BLOCK_BITS).max(1);
        Filter { blocks: vec![[0; BLOCK_WORDS]; usize::try_from(blocks).unwrap_or(usize::MAX)] }
    }

    /// Restores the result of [`Filter::words`]; `None` if it is invalid.
    pub fn from_blocks(words: &[u64]) -> Option<Filter> {
        let (blocks, rest) = words.as_chunks();
        (!blocks.is_empty() && rest.is_empty()).then(|| Filter { blocks: blocks.to_vec() })
    }

    /// Returns the contents, for storage.
    pub fn words(&self) -> &[u64] {
        self.blocks.as_flattened()
    }

    /// Adds the hash of a key.
    pub fn add(&mut self, hash: u64) {
        let (block, mut bits) = self.block_and_bits(hash);
        if let Some(block) = self.blocks.get_mut(block) {
            for _ in 0..PROBES {
                let bit = bits % BLOCK_BITS;
                if let Some(word) = block.get_mut((bit / 64) as usize) {
                    *word |= 1 << (bit % 64);
                }
                bits >>= PROBE_BITS;
            }
        }
    }

    /// Returns whether there may be a key with this hash.
    pub fn may_have(&self, hash: u64) -> bool {
        let (block, bits) = self.block_and_bits(hash);
        let Some(block) = self.blocks.get(block) else { return false };
        (0..PROBES).all(|probe| {
            let bit = (bits >> (probe * PROBE_BITS)) % BLOCK_BITS;
            block.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1)
        })
    }

    /// Returns the memory that it takes.
    pub fn bytes(&self) -> u64 {
        (self.blocks.len() * size_of::<[u64; BLOCK_WORDS]>()) as u64
    }

    /// Returns the block of a hash, and the bits that select its positions there. The hashes of a file are from a range, so they are mixed again.
    fn block_and_bits(&self, hash: u64) -> (usize, u64) {
        let mix = |hash: u64, by: u64| {
            let product = u128::from(hash ^ by) * 0x9e37_79b9_7f4a_7c15;
            product as u64 ^ (product >> 64) as u64
        };
        let first = mix(hash, 0x243f_6a88_85a3_08d3);
        let block = (u128::from(first) * self.blocks.len() as u128) >> 64;
        (block as usize, mix(first, 0x1319_8a2e_0370_7344))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::random::Random;

    #[test]
    fn it_has_all_that_were_added_and_few_others() {
        for (keys, state_bytes_max, max_false) in
            [(1, 0, 2_500), (100, 0, 2_500), (100_000, 0, 2_500), (100_000, 1 << 30, 300)]
        {
            let mut random = Random(7);
            let there: Vec<u64> = (0..keys).map(|_| random.next()).collect();
            // Keys of all key groups, and of a few.
            for shift in [0, 12] {
                let mut filter = Filter::new(keys, state_bytes_max);
                there.iter().for_each(|hash| filter.add(*hash >> shift));
                assert!(there.iter().all(|hash| filter.may_have(*hash >> shift)));
                let wrong = (0..100_000).filter(|_| filter.may_have(random.next() >> shift)).count();
                assert!(wrong < max_false, "{wrong} of 100000 with {keys} keys");
            }
        }
    }
}
