//! Rows received from a socket that no planned batch holds.

use millstream_base::ids::Generation;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Returns which of the received pieces come after the first `end` rows: indexes into `found`, each with the rows to skip at its beginning. They are
/// in order of rows, without duplicates, up to the first gap. A piece is (generation, first row, rows).
///
/// If pieces overlap, the newest generation wins: it began after everything that it had found. Rows that an older, fenced process received meanwhile
/// have the same numbers.
pub fn leftovers(end: u64, found: &[(Generation, u64, u64)]) -> Vec<(usize, u64)> {
    let mut later: Vec<usize> = (0..found.len()).collect();
    later.sort_by_key(|index| Reverse(found[*index].1));
    let mut begun = BinaryHeap::new();
    let (mut taken, mut next) = (Vec::new(), end);
    loop {
        while let Some(index) = later.pop_if(|index| found[*index].1 <= next) {
            let (generation, row, rows) = found[index];
            begun.push((generation, row.saturating_add(rows), Reverse(index)));
        }
        let Some((_, piece_end, Reverse(index))) = begun.pop() else { return taken };
        if piece_end > next {
            taken.push((index, next - found[index].1));
            next = piece_end;
        }
    }
}
