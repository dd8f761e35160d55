//! Files of a checkpoint that stay where they are.

use super::*;
use crate::checkpoint::indexed_file::IndexedFile;
use crate::checkpoint::state_file::{self, EncodedFile};
use crate::checkpoint::types::StateFile;
use crate::state::files::TableSlice;
use bytes::Bytes;
use std::fs::File;

const SLICE_ROWS: usize = 300;

/// All rows of a table or those that changed, as files of a few slices each.
fn encoded(table: &mut StateTable, base: bool) -> Vec<(u64, EncodedFile)> {
    let mut slices: Vec<TableSlice> = Vec::new();
    let most = SliceMax { rows: SLICE_ROWS, bytes: usize::MAX };
    table.changes(base, most, &mut |slice| slices.push(slice)).unwrap();
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

fn told(rows: u64, bytes: &Bytes, footer: &str) -> StateFile {
    state_file::told("state/some.arrow", rows, bytes, footer)
}

/// A file of these bytes that is gone as soon as it is open.
fn opened(told: &StateFile, bytes: &[u8], folder: &Path) -> Result<IndexedFile> {
    let path = folder.join("some.arrow");
    std::fs::write(&path, bytes).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    IndexedFile::open(told, || Ok(Some(file))).map(|file| file.expect("it has an index"))
}

/// The key groups of these files, and sometimes those of a file as two that are apart.
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

/// The files of a checkpoint, opened.
fn opened_all(files: Vec<(u64, EncodedFile)>, folder: &Path) -> Vec<IndexedFile> {
    let open = |(rows, file): (u64, EncodedFile)| {
        let told = told(rows, &file.bytes, &file.footer);
        assert_eq!(state_file::decode(&told, &file.bytes).unwrap().len(), 1, "small batches are read as one");
        opened(&told, &file.bytes, folder).unwrap()
    };
    files.into_iter().map(open).collect()
}

#[test]
fn a_table_whose_files_stay_where_they_are_is_the_same_as_one_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (mut copied_parts, mut levels_max) = (0, 0);
    for (seed, (keys, bytes, timeout)) in
        (1..).zip([(3_000, 20_000, None), (400, 1, Some(60)), (20_000, 1 << 20, None), (2_000, 20_000, Some(900))])
    {
        let (plain, spilled) = (table(timeout), spilling(bytes, folder.path(), timeout));
        let mut pair = Pair { plain, spilled, random: Random(seed), now: 0 };
        pair.both(StateTable::track_changes);
        pair.fill(keys);
        for start in 0..6 {
            (0..20).for_each(|_| pair.batch(keys));
            let mut levels = vec![encoded(&mut pair.spilled, true)];
            pair.plain.all_changes(true).unwrap();
            (0..10 * (start % 3)).for_each(|_| pair.batch(keys));
            // Where it is known when keys were touched, changes are read.
            for _ in 0..if timeout.is_none() { start } else { 0 } {
                levels.push(encoded(&mut pair.spilled, false));
                pair.plain.all_changes(false).unwrap();
                (0..20).for_each(|_| pair.batch(keys));
            }
            let changed = pair.changes(false);

            let mut after = spilling(bytes, folder.path(), timeout);
            after.track_changes();
            assert!(keys < 2_000 || levels[0].len() > 1);
            for (level, files) in levels.into_iter().enumerate().filter(|(_, files)| !files.is_empty()) {
                let files = opened_all(files, folder.path());
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
    let folder = tempfile::tempdir().unwrap();
    let mut pair = Pair { plain: table(None), spilled: spilling(1, folder.path(), None), random: Random(5), now: 0 };
    pair.both(StateTable::track_changes);
    pair.fill(150);
    let (rows, EncodedFile { bytes, footer }) = encoded(&mut pair.spilled, true).swap_remove(0);
    let told = told(rows, &bytes, &footer);
    let read = |bytes: &[u8]| -> Result<RecordBatch> {
        let file = opened(&told, bytes, folder.path())?;
        let batches = file.read(0..file.index().blocks.len())?;
        concat_batches(&pair.plain.file_schema(), &batches).map_err(Error::arrow)
    };
    let whole = read(&bytes).unwrap();
    assert_eq!(whole.num_rows() as u64, rows);
    let (mut refused, mut same) = (0, 0);
    for bit in (0..bytes.len() * 8).step_by(13) {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match read(&damaged) {
            Ok(read) => {
                assert_eq!(read, whole, "bit {bit}");
                same += 1;
            }
            Err(error) => {
                assert!(error.message.starts_with("state/some.arrow is damaged: "), "{}", error.message);
                refused += 1;
            }
        }
    }
    assert!(refused > 20 * same, "{refused} of {}", refused + same);
    for length in [0, 5, 11, bytes.len() / 2, bytes.len() - 1] {
        assert!(read(&bytes[..length]).is_err());
    }
}
