use super::*;

fn id(number: u64) -> PieceId {
    let order = PartOrder::at(number % 7).then(number % 3);
    let input = (number % 2) as u32;
    PieceId { time_us: number as i64 - 20, batch: BatchId(number), order, input, number: number as u32 % 5 }
}

fn rows(number: u64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..number % 4).map(|row| row as i64)));
    RecordBatch::try_from_iter([("v", column)]).unwrap()
}

#[test]
fn a_table_returns_the_pieces_that_it_got() {
    let pieces: Vec<(PieceId, RecordBatch)> = (0..60).map(|number| (id(number), rows(number))).collect();
    let [keys, states] = RecordBatch::encode(&pieces).unwrap();
    let table = table().unwrap();
    assert_eq!(keys.len(), table.key_columns_count());
    let states = RecordBatch::try_new(table.state_schema(), states).unwrap();
    assert_eq!(RecordBatch::decode(&keys, &states).unwrap(), pieces);
}

#[test]
fn pieces_are_ordered_by_time_and_arrival() {
    let at = |time_us: i64, number: u64| PieceId { time_us, ..id(number) };
    let mut ids = vec![at(5, 1), at(-7, 3), at(-7, 1), at(i64::MIN, 9), at(-7, 2)];
    ids.sort();
    assert_eq!(ids, [at(i64::MIN, 9), at(-7, 1), at(-7, 2), at(-7, 3), at(5, 1)]);
}
