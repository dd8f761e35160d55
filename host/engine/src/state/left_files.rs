//! Decides which files of a checkpoint startup leaves in place, to look up their rows there. Pure functions.

use crate::checkpoint::fold::LiveFile;
use millstream_base::error::Result;
use std::ops::Range;
use std::sync::Arc;

/// How the files of a table are used.
pub struct InPlaceFiles<'a, File> {
    /// The files left in place, with the key groups in which they are valid. Each level applies on top of the previous ones, and has no duplicate key
    /// groups.
    pub levels: Vec<Vec<(Arc<File>, Range<u32>)>>,
    /// The files to read, on top of all levels.
    pub read: Vec<LiveFile<'a>>,
}

/// Returns whether rows may be looked up in a file.
pub fn has_index(live: &LiveFile) -> bool {
    !live.file.footer.is_empty()
}

/// Returns how many rows changed after bases, counting repeated changes.
pub fn changes(live: &[LiveFile]) -> u64 {
    live.iter().filter(|live| !live.file.base).map(LiveFile::rows).sum()
}

/// Assigns files that apply in this order. `open` opens one if its rows can be looked up as the table needs it. Changes after bases are read, or left
/// in place, too.
pub fn leave<'a, File>(
    live: Vec<LiveFile<'a>>,
    leaves_changes: bool,
    open: impl Fn(&LiveFile) -> Result<Option<File>>,
) -> Result<InPlaceFiles<'a, File>> {
    let mut left = InPlaceFiles { levels: Vec::new(), read: Vec::new() };
    for live in live {
        // A file that is read would be taken for newer than one left in place.
        let may_stay = live.file.base || (leaves_changes && left.read.is_empty());
        match if may_stay && has_index(&live) { open(&live)? } else { None } {
            Some(file) => left.stays(&live, file),
            None => left.read.push(live),
        }
    }
    Ok(left)
}

impl<File> InPlaceFiles<'_, File> {
    fn stays(&mut self, live: &LiveFile, file: File) {
        let file = Arc::new(file);
        let own = live.groups.iter().map(|groups| (file.clone(), groups.clone()));
        let overlap = |other: &Range<u32>| live.groups.iter().any(|own| own.start < other.end && other.start < own.end);
        // Within the key groups of a base, no older file is valid.
        let level = match live.file.base {
            true => self.levels.first_mut(),
            false => self.levels.last_mut().filter(|level| !level.iter().any(|(_, groups)| overlap(groups))),
        };
        match level {
            Some(level) => level.extend(own),
            None => self.levels.push(own.collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::types::StateFile;
    use crate::checkpoint::{fold, state_file};
    use bytes::Bytes;
    use millstream_base::random::Random;
    use millstream_rows::batch::keys::KEY_GROUPS;

    const ROWS: u64 = 100;

    fn file(number: usize, (group_first, group_end): (u32, u32), base: bool, has_index: bool) -> StateFile {
        let entry =
            state_file::base_entry(&number.to_string(), ROWS, &Bytes::new(), if has_index { "yes" } else { "" });
        StateFile { group_first, group_end, base, ..entry }
    }

    fn number(live: &LiveFile) -> usize {
        live.file.path.parse().unwrap()
    }

    #[test]
    fn in_each_key_group_files_apply_in_their_order_and_those_that_are_read_last() {
        let (mut random, mut levels_max, mut not_read) = (Random(1), 0, 0);
        for round in 0..300 {
            let all = (0, KEY_GROUPS as u32);
            let mut files = vec![file(0, all, true, round % 9 > 0)];
            for number in 1..1 + random.below(20) as usize {
                let first = if random.below(2) == 0 { 0 } else { random.below(KEY_GROUPS) as u32 };
                let end = first + 1 + random.below(u64::from(all.1 - first)) as u32;
                let (is_base, has_index) = (random.below(4) == 0, round % 3 == 0 || random.below(8) > 0);
                files.push(file(number, (first, end), is_base, has_index));
            }
            let live = fold::live(&files, all.0, all.1);
            let is_read = changes(&live) <= random.below(8) * ROWS;
            // Some cannot be opened.
            let opens: Vec<bool> = files.iter().map(|_| round % 2 == 0 || random.below(8) > 0).collect();
            let open = |live: &LiveFile| Ok(Some(number(live)).filter(|number| opens[*number]));
            let left = leave(fold::live(&files, all.0, all.1), !is_read, open).unwrap();
            levels_max = levels_max.max(left.levels.len());
            for group in (0..all.1).step_by(7) {
                let counts = |live: &&LiveFile| live.groups.iter().any(|groups| groups.contains(&group));
                let expected: Vec<usize> = live.iter().filter(counts).map(number).collect();
                let mut applied = Vec::new();
                for level in &left.levels {
                    let of: Vec<_> = level.iter().filter(|(_, groups)| groups.contains(&group)).collect();
                    assert!(of.len() < 2, "a level has key group {group} twice");
                    applied.extend(of.into_iter().map(|(number, _)| **number));
                }
                applied.extend(left.read.iter().filter(counts).map(number));
                assert_eq!(applied, expected, "round {round}, key group {group}");
            }
            if round % 6 == 0 && round % 9 > 0 {
                assert_eq!(changes(&left.read), if is_read { changes(&live) } else { 0 });
                not_read += changes(&live) - changes(&left.read);
            }
        }
        assert!(levels_max > 4 && not_read > 10 * ROWS, "{levels_max} levels, {not_read} rows that are not read");
    }
}
