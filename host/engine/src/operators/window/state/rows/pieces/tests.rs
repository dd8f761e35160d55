use super::*;

fn id(number: u64) -> PieceId {
    let order = PartOrder::at(number % 7).then(number % 3);
    PieceId { time_us: number as i64 - 20, batch: BatchId(number), order, input: (number % 2) as u32, number: 0 }
}

fn rows(number: u64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..number % 4).map(|row| row as i64)));
    RecordBatch::try_from_iter([("v", column)]).unwrap()
}

#[test]
fn files_of_changes_bring_back_what_is_there() {
    for every in 1..8 {
        let mut pieces = Pieces::new(true);
        let mut files = Vec::new();
        for number in 0..60 {
            pieces.insert(id(number), rows(number));
            // Some are removed before they were in any file.
            pieces.drop_while(|time_us| time_us < number as i64 - 20 - 5);
            if number % every == 0 {
                let base = number % 11 == 0;
                if base {
                    files.clear();
                }
                let (changed, before) = (pieces.changed(), files.len());
                let largest = SliceMax { rows: 1 + number as usize % 3, bytes: 2000 };
                pieces.changes(base, largest, &mut |slice| files.push(slice.rows)).unwrap();
                let slices = &files[before..];
                assert!(!slices.is_empty() && slices.iter().all(|slice| slice.num_rows() <= largest.rows));
                let rows: u64 = slices.iter().map(|slice| slice.num_rows() as u64).sum();
                assert!(base || rows == changed);
                assert_eq!(pieces.changed(), 0);
                let mut restored = Pieces::new(true);
                files.iter().for_each(|file| restored.restore(file).unwrap());
                assert_eq!(restored.pieces, pieces.pieces, "after {number}");
                assert_eq!(restored.changed(), 0);
                // The restored copy reports removals of what the files contain.
                restored.drop_while(|_| true);
                assert_eq!(restored.changed(), pieces.len());
            }
        }
    }
}

#[test]
fn pieces_of_a_time_are_found_in_the_order_of_arrival() {
    let mut pieces = Pieces::new(false);
    for number in [3, 1, 2, 5, 4] {
        let time_us = if number == 2 { i64::MIN } else { -7 };
        pieces.insert(PieceId { time_us, ..id(number) }, rows(number));
    }
    let found: Vec<u64> = pieces.at(-7).map(|(id, _)| id.batch.0).collect();
    assert_eq!((found, pieces.times()), (vec![1, 3, 4, 5], vec![i64::MIN, -7]));
    assert_eq!(pieces.changed(), 0, "nobody asks");
}
