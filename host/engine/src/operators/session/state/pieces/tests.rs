use super::*;
use crate::limits::STATE_SLICE_MAX;
use crate::operators::window::state::rows::encode_rows;
use crate::state::files::TableSlice;
use arrow::array::Int64Array;
use millstream_base::random::Random;

fn key() -> Schema {
    Schema::new(vec![Field::new("user", DataType::Int64, true)])
}

fn rows(ids: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef)]).unwrap()
}

fn users(users: &[i64]) -> Vec<ArrayRef> {
    vec![Arc::new(Int64Array::from(users.to_vec()))]
}

fn ids(pieces: &[RecordBatch]) -> Vec<i64> {
    let of = |rows: &RecordBatch| rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    pieces.iter().flat_map(of).collect()
}

/// Pieces of two users at random times, taken by ranges of times, compared with a list; with restarts.
#[test]
fn sessions_get_their_pieces_in_the_order_in_which_they_came() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut session_pieces = SessionPieces::new(&key()).unwrap();
        let mut all: Vec<(i64, i64, i64)> = Vec::new();
        for batch in 1..40 {
            let pieces: Vec<(i64, i64)> =
                (0..random.below(4)).map(|_| (random.below(2) as i64, random.below(50) as i64)).collect();
            let new: Vec<NewPiece> =
                pieces.iter().zip(0..).map(|((_, at_us), row)| NewPiece { row, at_us: *at_us }).collect();
            let id = |index: usize| batch * 100 + index as i64;
            let bytes = (0..new.len()).map(|index| encode_rows(&rows(&[id(index)])).unwrap());
            let bytes = BinaryArray::from_iter_values(bytes);
            let keys = users(&pieces.iter().map(|(user, _)| *user).collect::<Vec<_>>());
            session_pieces.add(BatchId(batch as u64), &keys, &new, bytes).unwrap();
            all.extend(pieces.iter().enumerate().map(|(index, (user, at))| (*user, *at, id(index))));
            if random.below(6) == 0 {
                let mut next = SessionPieces::new(&key()).unwrap();
                next.table().restore(&session_pieces.table().rows().unwrap(), |_| true).unwrap();
                next.restored().unwrap();
                session_pieces = next;
            }
            let (user, start_us) = (random.below(2) as i64, random.below(50) as i64);
            let session = Session { start_us, last_us: start_us + random.below(9) as i64 };
            let within = |(of, at, _): &(i64, i64, i64)| *of == user && (start_us..=session.last_us).contains(at);
            let expected: Vec<i64> = all.iter().filter(|piece| within(piece)).map(|(_, _, id)| *id).collect();
            all.retain(|piece| !within(piece));
            assert_eq!(
                ids(&session_pieces.take(&users(&[user]), &[session]).unwrap()[0]),
                expected,
                "seed {seed}, batch {batch}"
            );
        }
        assert_eq!(session_pieces.table().len(), all.len());
    }
}

/// However long a session is, a checkpoint contains only what arrived since the last one.
#[test]
fn a_batch_changes_its_own_piece_only() {
    let mut session_pieces = SessionPieces::new(&key()).unwrap();
    session_pieces.table().track_changes();
    for batch in 1..100 {
        let bytes = BinaryArray::from_iter_values([encode_rows(&rows(&[batch])).unwrap()]);
        session_pieces.add(BatchId(batch as u64), &users(&[7]), &[NewPiece { row: 0, at_us: batch }], bytes).unwrap();
        assert_eq!(session_pieces.table().changed(), 1);
        let mut rows = 0;
        let mut count = |slice: TableSlice| rows += slice.rows.num_rows();
        session_pieces.table().changes(false, STATE_SLICE_MAX, &mut count).unwrap();
        assert_eq!(rows, 1);
    }
}
