//! Which keys a file certainly lacks: ten bits a key, so that about one look in a hundred is in vain.

const BITS_PER_KEY: u64 = 10;
/// Words of a block: a line of the processor's cache, so that a question costs one look into memory.
const BLOCK_WORDS: usize = 8;
const BLOCK_BITS: u64 = 64 * BLOCK_WORDS as u64;
/// Bits of a key, all in one block.
const PROBES: u32 = 6;
/// Bits that say where in a block one of them is.
const PROBE_BITS: u32 = BLOCK_BITS.ilog2();

/// A Bloom filter of blocks.
#[derive(Debug)]
pub struct Filter {
    blocks: Vec<[u64; BLOCK_WORDS]>,
}

impl Filter {
    /// With room for so many keys.
    pub fn new(keys: u64) -> Filter {
        let blocks = keys.saturating_mul(BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1);
        Filter { blocks: vec![[0; BLOCK_WORDS]; usize::try_from(blocks).unwrap_or(usize::MAX)] }
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
    use crate::random::Random;

    #[test]
    fn it_has_all_that_were_added_and_few_others() {
        for keys in [1, 100, 100_000] {
            let mut random = Random(7);
            let (there, mut filter) = ((0..keys).map(|_| random.next()).collect::<Vec<_>>(), Filter::new(keys));
            there.iter().for_each(|hash| filter.add(*hash));
            assert!(there.iter().all(|hash| filter.may_have(*hash)));
            let wrong = (0..100_000).filter(|_| filter.may_have(random.next())).count();
            assert!(wrong < 2_500, "{wrong} of 100000 with {keys} keys");
            // Keys of a few key groups.
            let mut filter = Filter::new(keys);
            there.iter().for_each(|hash| filter.add(*hash >> 12));
            let wrong = (0..100_000).filter(|_| filter.may_have(random.next() >> 12)).count();
            assert!(wrong < 2_500, "{wrong} of 100000 with {keys} keys of one group");
        }
    }
}
