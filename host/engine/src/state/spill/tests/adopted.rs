//! Files of a checkpoint that are left in place.

use super::*;
use crate::checkpoint::indexed_file::IndexedFile;
use crate::checkpoint::state_file::{self, EncodedFile};
use crate::checkpoint::types::StateFile;
use crate::state::files::TableSlice;
use bytes::Bytes;
use std::fs::File;

const SLICE_ROWS: usize = 300;

/// Returns all rows of a table, or the changed ones, as files of a few slices each.
fn encoded(table: &mut StateTable, base: bool) -> Vec<(u64, EncodedFile)> {
    let mut slices: Vec<TableSlice> = Vec::new();
    let max = SliceMax { rows: SLICE_ROWS, bytes: usize::MAX };
    table.changes(base, max, &mut |slice| slices.push(slice)).unwrap();
    let mut files: Vec<Vec<TableSlice>> = Vec::new();
    for slice in slices.into_iter().filter(|slice| slice.rows.num_rows() > 0) {
        let last = files.last().filter(|file| file.len() > 2).and_then(|file| file.last()?.groups);
        if files.is_empty() || last.zip(slice.groups).is_some_and(|(last, next)| last.1 < next.0) {
            files.push(Vec::new());
        }
        files.last_mut().unwrap().push(slice);
    }
    let columns = table.index_columns();
    let written = files.into_iter().map(|slices| {
        let rows: Vec<RecordBatch> = slices.into_iter().map(|slice| slice.rows).collect();
        let count = rows.iter().map(|rows| rows.num_rows() as u64).sum();
        (count, state_file::encode(rows, columns).unwrap())
    });
    written.collect()
}

fn base_entry(rows: u64, bytes: &Bytes, footer: &str) -> StateFile {
    state_file::base_entry("state/some.arrow", rows, bytes, footer)
}

/// Returns a file of these bytes that is deleted once it is open.
fn opened(entry: &StateFile, bytes: &[u8], dir: &Path) -> Result<IndexedFile> {
    let path = dir.join("some.arrow");
    std::fs::write(&path, bytes).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    IndexedFile::open(entry, || Ok(Some(file))).map(|file| file.expect("it has an index"))
}

/// Returns the key groups of these files, sometimes with those of a file in two separate ranges.
fn counting(files: Vec<IndexedFile>, random: &mut Random) -> Vec<FileGroups> {
    let group = |file: &IndexedFile| KeyHash(file.index().blocks[0].first_hash).group() as u32;
    let starts: Vec<u32> = files.iter().skip(1).map(group).chain([KEY_GROUPS as u32]).collect();
    let (mut bases, mut start) = (Vec::new(), 0);
    for (file, end) in files.into_iter().map(Arc::new).zip(starts) {
        let middle = start + random.below(u64::from(end - start) + 1) as u32;
        bases.extend([start..middle, middle..end].map(|groups| FileGroups { file: file.clone(), groups }));
        start = end;
    }
    bases.reverse();
    bases
}

/// Returns the opened files of a checkpoint.
fn opened_all(files: Vec<(u64, EncodedFile)>, dir: &Path) -> Vec<IndexedFile> {
    let open = |(rows, file): (u64, EncodedFile)| {
        let entry = base_entry(rows, &file.bytes, &file.footer);
        assert_eq!(state_file::decode(&entry, &file.bytes).unwrap().len(), 1, "small batches are read as one");
        opened(&entry, &file.bytes, dir).unwrap()
    };
    files.into_iter().map(open).collect()
}

#[test]
fn a_table_whose_files_stay_where_they_are_is_the_same_as_one_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (mut copied_parts, mut levels_max) = (0, 0);
    for (seed, (keys, bytes, timeout)) in
        (1..).zip([(3_000, 20_000, None), (400, 1, Some(60)), (20_000, 1 << 20, None), (2_000, 20_000, Some(900))])
    {
        let (plain, spilled) = (table(timeout), spilling(bytes, dir.path(), timeout));
        let mut pair = Pair { plain, spilled, random: Random(seed), now: 0 };
        pair.both(StateTable::track_changes);
        pair.fill(keys);
        for start in 0..6 {
            (0..20).for_each(|_| pair.batch(keys));
            let mut levels = vec![encoded(&mut pair.spilled, true)];
            pair.plain.all_changes(true).unwrap();
            (0..10 * (start % 3)).for_each(|_| pair.batch(keys));
            // If touches are tracked, changes are read.
            for _ in 0..if timeout.is_none() { start } else { 0 } {
                levels.push(encoded(&mut pair.spilled, false));
                pair.plain.all_changes(false).unwrap();
                (0..20).for_each(|_| pair.batch(keys));
            }
            let changed = pair.changes(false);

            let mut after = spilling(bytes, dir.path(), timeout);
            after.track_changes();
            assert!(keys < 2_000 || levels[0].len() > 1);
            for (level, files) in levels.into_iter().enumerate().filter(|(_, files)| !files.is_empty()) {
                let files = opened_all(files, dir.path());
                assert!(level > 0 || keys < 2_000 || files[0].index().blocks.len() > 5);
                after.adopt(counting(files, &mut pair.random)).unwrap();
            }
            after.restore_each(|restore| restore(&changed, false)).unwrap();
            assert_eq!(after.changed(), 0);
            pair.spilled = after;
            pair.has_equal_len();
            assert_eq!(all(&mut pair.spilled.copied()), all(&mut pair.plain.copied()));
            for round in 0..60 {
                pair.batch(keys);
                if round % 10 == 3 {
                    let by_hash = pair.random.below(keys);
                    pair.warm_by_hash(by_hash);
                }
                let cold = &pair.spilled.spill.as_ref().unwrap().cold;
                copied_parts += usize::from(cold.copied.is_some_and(|copied| copied < u64::MAX));
                levels_max = levels_max.max(cold.of_checkpoint().count());
            }
            assert_eq!(all(&mut pair.spilled.copied()), all(&mut pair.plain.copied()));
        }
    }
    assert!(copied_parts > 0, "some rows were copied while the rest was not");
    assert!(levels_max > 3, "{levels_max} files that may have the same key");
}

#[test]
fn a_damaged_base_gives_no_wrong_row() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair { plain: table(None), spilled: spilling(1, dir.path(), None), random: Random(5), now: 0 };
    pair.both(StateTable::track_changes);
    pair.fill(150);
    let (rows, EncodedFile { bytes, footer }) = encoded(&mut pair.spilled, true).swap_remove(0);
    let entry = base_entry(rows, &bytes, &footer);
    let read = |bytes: &[u8]| -> Result<RecordBatch> {
        let file = opened(&entry, bytes, dir.path())?;
        let batches = file.read(0..file.index().blocks.len())?;
        concat_batches(&pair.plain.file_schema(), &batches).map_err(Error::arrow)
    };
    let full = read(&bytes).unwrap();
    assert_eq!(full.num_rows() as u64, rows);
    let (mut rejected, mut same) = (0, 0);
    for bit in (0..bytes.len() * 8).step_by(13) {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match read(&damaged) {
            Ok(read) => {
                assert_eq!(read, full, "bit {bit}");
                same += 1;
            }
            Err(error) => {
                assert!(error.message.starts_with("state/some.arrow is damaged: "), "{}", error.message);
                rejected += 1;
            }
        }
    }
    assert!(rejected > 20 * same, "{rejected} of {}", rejected + same);
    for length in [0, 5, 11, bytes.len() / 2, bytes.len() - 1] {
        assert!(read(&bytes[..length]).is_err());
    }
}
