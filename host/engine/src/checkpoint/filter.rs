//! Which keys a file of rows certainly lacks. A look at a small file is in vain once in a thousand times, and at a large one once in a
//! hundred: there are more of the small ones, and all their filters together are smaller than that of a large one. (That levels of
//! a log-structured store should differ so is of Dayan, Athanassoulis and Idreos, "Monkey", SIGMOD 2017.)

/// Bits of a key in a small file, and in others.
const BITS_PER_KEY_OF_SMALL: u64 = 16;
const BITS_PER_KEY: u64 = 10;
/// A file is small where its filter takes no more than one of so many bytes of all that state may take.
const SMALL: u64 = 128;
/// Words of a block: a line of the processor's cache, so that a question costs one look into memory.
const BLOCK_WORDS: usize = 8;
const BLOCK_BITS: u64 = 64 * BLOCK_WORDS as u64;
/// Bits of a key, all in one block.
const PROBES: u32 = 7;
/// Bits that say where in a block one of them is.
const PROBE_BITS: u32 = BLOCK_BITS.ilog2();

/// A Bloom filter of blocks.
#[derive(Debug)]
pub struct Filter {
    blocks: Vec<[u64; BLOCK_WORDS]>,
}

impl Filter {
    /// With room for so many keys, in a process whose state may take so much memory.
    pub fn new(keys: u64, state_bytes_max: u64) -> Filter {
        let is_small = keys.saturating_mul(BITS_PER_KEY_OF_SMALL / 8) <= state_bytes_max / SMALL;
        let bits = if is_small { BITS_PER_KEY_OF_SMALL } else { BITS_PER_KEY };
        let blocks = keys.saturating_mul(bits).div_ceil(BLOCK_BITS).max(1);
        Filter { blocks: vec![[0; BLOCK_WORDS]; usize::try_from(blocks).unwrap_or(usize::MAX)] }
    }

    /// As [`Filter::words`] gave it; `None` where that cannot be.
    pub fn of_words(words: &[u64]) -> Option<Filter> {
        let (blocks, rest) = words.as_chunks();
        (!blocks.is_empty() && rest.is_empty()).then(|| Filter { blocks: blocks.to_vec() })
    }

    /// All of it, to be kept.
    pub fn words(&self) -> &[u64] {
        self.blocks.as_flattened()
    }

    /// There is a key with this hash.
    pub fn add(&mut self, hash: u64) {
        let (block, mut bits) = self.place(hash);
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

    /// Whether there may be a key with this hash.
    pub fn may_have(&self, hash: u64) -> bool {
        let (block, bits) = self.place(hash);
        let Some(block) = self.blocks.get(block) else { return false };
        (0..PROBES).all(|probe| {
            let bit = (bits >> (probe * PROBE_BITS)) % BLOCK_BITS;
            block.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1)
        })
    }

    /// The memory that it takes.
    pub fn bytes(&self) -> u64 {
        (self.blocks.len() * size_of::<[u64; BLOCK_WORDS]>()) as u64
    }

    /// The block of a hash, and the bits that say where it is in there. A file has the hashes of a range, so they are mixed anew.
    fn place(&self, hash: u64) -> (usize, u64) {
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
        for (keys, state_bytes_max, most) in
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
                assert!(wrong < most, "{wrong} of 100000 with {keys} keys");
            }
        }
    }
}
