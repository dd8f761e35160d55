use super::*;
use crate::batch::chunk::RejectedRecord;
use crate::batch::position::Extent;
use bytes::Bytes;
use millstream_base::limits::INBOX_BYTES_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn lines(count: usize, text: &str) -> Chunk {
    let bytes = Bytes::from(format!("{text}\n").repeat(count));
    let ends = (1..=count as u32).map(|i| i * (text.len() as u32 + 1)).collect();
    Chunk { bytes, ends, ..Chunk::default() }
}

fn counted() -> (Arc<Inbox>, Arc<AtomicUsize>) {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = wakes.clone();
    let wake = move || {
        counter.fetch_add(1, Ordering::SeqCst);
    };
    (Arc::new(Inbox::new(INBOX_BYTES_MAX, Box::new(wake))), wakes)
}

#[tokio::test]
async fn ten_thousand_single_lines_are_one_part_and_one_wake() {
    let (inbox, wakes) = counted();
    for i in 0..10_000_u32 {
        let mut line = lines(1, "abc");
        if i == 7_777 {
            line.rejected.push(RejectedRecord { row: 0, reason: "no".into(), dropped: 7 });
        }
        assert!(inbox.put(line).await);
    }
    assert_eq!((inbox.state().rows, inbox.state().ready, wakes.load(Ordering::SeqCst)), (10_000, true, 1));
    let mut expected = lines(10_000, "abc");
    expected.rejected.push(RejectedRecord { row: 7_777, reason: "no".into(), dropped: 7 });
    assert_eq!(inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX)).chunks, [expected]);
    assert!(!inbox.state().ready);
    inbox.put(lines(1, "x")).await;
    inbox.finish();
    assert_eq!(wakes.load(Ordering::SeqCst), 3, "empty to non-empty, and finished");
    assert!(inbox.state().finished && inbox.state().ready);
}

#[tokio::test]
async fn parts_have_bounds_and_headers_are_kept_apart() {
    let (inbox, _) = counted();
    for _ in 0..5 {
        inbox.put(lines(PART_ROWS_MAX / 3, "abc")).await;
    }
    inbox.put(Chunk { header: "a,b".into(), ..lines(2, "1,2") }).await;
    let rows: Vec<usize> =
        inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX)).chunks.iter().map(Chunk::rows).collect();
    assert_eq!(rows, [PART_ROWS_MAX / 3 * 3, PART_ROWS_MAX / 3 * 2, 2]);
}

#[tokio::test]
async fn take_keeps_to_its_limits() {
    let (inbox, _) = counted();
    let large = lines(PART_ROWS_MAX, "abc");
    for _ in 0..3 {
        inbox.put(large.clone()).await;
    }
    let sum = |chunks: &[Chunk]| chunks.iter().map(|c| c.rows()).sum::<usize>();
    assert_eq!(
        sum(&inbox.take(BatchId(1), TakeLimits::new(PART_ROWS_MAX as u64 + 5, u64::MAX)).chunks),
        PART_ROWS_MAX + 5
    );
    assert_eq!(sum(&inbox.take(BatchId(1), TakeLimits::new(u64::MAX, 10)).chunks), 2, "as many whole records as fit");
    assert_eq!(sum(&inbox.take(BatchId(1), TakeLimits::new(u64::MAX, 3)).chunks), 1, "at least one record");
    assert_eq!(
        sum(&inbox.take(BatchId(1), TakeLimits::new(u64::MAX, large.bytes.len() as u64)).chunks),
        PART_ROWS_MAX - 8
    );
    let last = inbox.take(BatchId(1), TakeLimits::new(u64::MAX, large.bytes.len() as u64)).chunks;
    assert_eq!(last, [large]);
    assert_eq!((inbox.state().rows, inbox.lock().bytes), (0, 0));
}

fn position(offset: u64) -> Position {
    Position { offset, mark: 0 }
}

fn moved(name: &str, offset: u64, mark: i64) -> (String, Position) {
    (name.into(), Position { offset, mark })
}

#[tokio::test]
async fn a_batch_is_taken_by_itself_even_when_empty() {
    let (inbox, _) = counted();
    let in_line =
        |row, chunk: Chunk| Chunk { extent: Extent { start: 20, bytes: 99, row, ..Extent::default() }, ..chunk };
    inbox.put_batch(vec![lines(2, "a")], position(10)).await;
    inbox.put_batch(vec![], position(20)).await;
    inbox.put_batch(vec![in_line(0, lines(3, "b")), in_line(3, lines(1, "c"))], position(30)).await;
    let take = |rows_max| inbox.take(BatchId(1), TakeLimits::new(rows_max, u64::MAX));
    let first = take(2);
    assert_eq!(first.chunks.len(), 1, "the end of the batch goes with its last row");
    assert_eq!(first.moved, [moved("", 10, 0)]);
    assert!(inbox.state().ready);
    assert_eq!(take(100), TakenRecords { chunks: vec![], moved: vec![moved("", 20, 0)] });
    let begun = take(1);
    assert_eq!((begun.chunks[0].rows(), begun.moved), (1, vec![moved("", 20, 1)]), "so many rows of the line");
    let rest = take(100);
    assert_eq!(rest.chunks, [in_line(1, lines(2, "b")), in_line(3, lines(1, "c"))]);
    assert_eq!(rest.moved, [moved("", 30, 0)]);
    assert!(!inbox.state().ready);
    assert_eq!(inbox.lock().bytes, 0);
}

fn end(offset: u64) -> Position {
    Position { offset, mark: 1 }
}

fn of_file(file: &str, start: u64, chunk: Chunk) -> Chunk {
    Chunk { extent: Extent { file: file.into(), start, bytes: chunk.bytes.len() as u64, row: 0 }, ..chunk }
}

#[tokio::test]
async fn ends_of_files_go_with_their_last_rows_and_alone_make_no_batch() {
    let (inbox, wakes) = counted();
    inbox.put_last(None, "empty".into(), end(0)).await;
    assert!(!inbox.state().ready && wakes.load(Ordering::SeqCst) == 0);
    for start in [3, 5, 9] {
        inbox.put(of_file("a", start, lines(1, "x"))).await;
    }
    inbox.put_last(Some(of_file("a", 11, lines(2, "y"))), "a".into(), end(15)).await;
    inbox.put_last(None, "none".into(), end(4)).await;
    inbox.put(of_file("b", 0, lines(1, "z"))).await;
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
    let first = inbox.take(BatchId(1), TakeLimits::new(4, u64::MAX));
    let joined = [
        of_file("a", 3, lines(2, "x")),
        of_file("a", 9, Chunk { ends: vec![2, 4], bytes: "x\ny\n".into(), ..Chunk::default() }),
    ];
    assert_eq!(first, TakenRecords { chunks: joined.into(), moved: vec![moved("a", 13, 0), moved("empty", 0, 1)] });
    let second = inbox.take(BatchId(2), TakeLimits::new(1, u64::MAX));
    let expected = vec![moved("a", 15, 1), moved("none", 4, 1)];
    assert_eq!(second, TakenRecords { chunks: vec![of_file("a", 13, lines(1, "y"))], moved: expected });
    assert_eq!(inbox.take(BatchId(3), TakeLimits::new(9, 9)).moved, [moved("b", 2, 0)]);
    assert!(!inbox.state().ready);
    let contents = inbox.lock();
    assert_eq!((contents.bytes, contents.file_ends), (0, 0));
}

#[tokio::test]
async fn what_was_put_back_comes_first_and_is_told() {
    let (inbox, _) = counted();
    let from = |row, count| Chunk { extent: Extent { row, ..Extent::default() }, ..lines(count, "abc") };
    inbox.put(from(50, 2)).await;
    inbox.put_back(vec![from(40, 7), from(47, 3)], Vec::new());
    assert!(inbox.state().leftover && inbox.state().rows == 12);
    let first = inbox.take(BatchId(1), TakeLimits::new(8, u64::MAX));
    assert_eq!(first, TakenRecords { chunks: vec![from(40, 7), from(47, 1)], moved: vec![moved("", 48, 0)] });
    assert!(inbox.state().leftover);
    assert_eq!(inbox.take(BatchId(2), TakeLimits::new(2, u64::MAX)).chunks, [from(48, 2)]);
    assert!(!inbox.state().leftover && inbox.state().ready);
    assert_eq!(inbox.take(BatchId(3), TakeLimits::new(9, 99)).chunks, [from(50, 2)]);
}

#[tokio::test]
async fn a_full_inbox_makes_the_receiver_wait_until_room_or_close() {
    let (inbox, _) = counted();
    let huge = lines(1, &"x".repeat(INBOX_BYTES_MAX as usize + 1));
    let mut waiting = Box::pin(inbox.put(huge.clone()));
    assert!(futures_poll(&mut waiting), "it must wait");
    assert_eq!(
        inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX)).chunks,
        std::slice::from_ref(&huge),
        "but its records are there"
    );
    assert!(waiting.await);
    assert!(inbox.put(lines(1, "early")).await, "there is room");
    let mut waiting = Box::pin(inbox.put(huge.clone()));
    assert!(futures_poll(&mut waiting));
    inbox.close();
    assert!(!waiting.await);
    assert!(!inbox.put(lines(1, "never")).await);
    inbox.closed().await;
    let rows: usize = inbox.take(BatchId(2), TakeLimits::new(u64::MAX, u64::MAX)).chunks.iter().map(Chunk::rows).sum();
    assert_eq!(rows, 2, "what the receiver had read is not lost");
}

/// Polls once; returns whether the future is pending.
fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut context).is_pending()
}

#[tokio::test]
async fn a_table_takes_the_place_of_the_one_before_and_begins_no_batch() {
    let (inbox, _) = counted();
    inbox.suppress_batches();
    let version = |row: u64, digest: u64| Chunk {
        extent: Extent { start: digest, row, ..Extent::default() },
        ..lines(1, "table")
    };
    inbox.replace_waiting(version(0, 77));
    inbox.finish();
    let large = Chunk { bytes: vec![b'x'; INBOX_BYTES_MAX as usize * 2].into(), ..version(1, 88) };
    inbox.replace_waiting(large.clone());
    inbox.replace_waiting(large.clone());
    let state = inbox.state();
    assert_eq!((state.rows, state.ready, state.finished), (1, false, true));
    let taken = inbox.take(BatchId(1), TakeLimits::new(u64::MAX, 1));
    assert_eq!(taken.chunks.len(), 1);
    assert_eq!(taken.moved, [(String::new(), Position { offset: 2, mark: 88 })]);
    assert!(inbox.take(BatchId(2), TakeLimits::new(u64::MAX, u64::MAX)).moved.is_empty());
}

#[test]
fn parts_have_no_more_rows_than_may_be_decoded_at_once() {
    let inbox = Inbox::new(INBOX_BYTES_MAX, Box::new(|| {}));
    inbox.put_back(vec![lines(7, "a"), lines(2, "b")], Vec::new());
    let limits = TakeLimits { rows: 8, bytes: u64::MAX, rows_of_part: 3 };
    let rows: Vec<usize> = inbox.take(BatchId(1), limits).chunks.iter().map(Chunk::rows).collect();
    assert_eq!(rows, [3, 3, 1, 1]);
}

/// Offers a request of `rows` rows that begins at this row of the source.
fn offer(inbox: &Inbox, first: u64, rows: usize, producer: &str, sequence: u64) {
    let chunk = Chunk { extent: Extent { row: first, ..Extent::default() }, ..lines(rows, "abc") };
    let offered = inbox.offer(vec![chunk], Some((producer.into(), Position { offset: sequence, mark: 1 })));
    assert!(matches!(offered, OfferResult::Taken(_)), "{offered:?}");
}

#[tokio::test]
async fn a_request_that_moves_a_position_is_taken_as_a_whole() {
    let (inbox, wakes) = counted();
    inbox.put(lines(2, "abc")).await;
    offer(&inbox, 2, 3, "p", 7);
    offer(&inbox, 5, 2, "q", 1);
    offer(&inbox, 7, 9, "p", 8);
    assert_eq!((inbox.state().rows, wakes.load(Ordering::SeqCst)), (16, 1));
    let at = |offset| Position { offset, mark: 1 };
    let rows = |offset| (String::new(), Position { offset, mark: 0 });
    let taken = inbox.take(BatchId(1), TakeLimits::new(4, u64::MAX));
    assert_eq!(taken.chunks.iter().map(Chunk::rows).sum::<usize>(), 2, "three more would be too many");
    assert_eq!(taken.moved, [rows(2)]);
    let taken = inbox.take(BatchId(2), TakeLimits { rows_of_part: 4, ..TakeLimits::new(6, u64::MAX) });
    assert_eq!(taken.chunks.iter().map(Chunk::rows).collect::<Vec<_>>(), [3, 2], "no part of more than four");
    assert_eq!(taken.moved, [rows(7), ("p".into(), at(7)), ("q".into(), at(1))]);
    let taken = inbox.take(BatchId(3), TakeLimits { rows_of_part: 4, ..TakeLimits::new(6, 1) });
    assert_eq!(taken.chunks.iter().map(Chunk::rows).collect::<Vec<_>>(), [4, 4, 1], "alone it is taken, however large");
    assert_eq!(taken.moved, [rows(16), ("p".into(), at(8))]);
    assert_eq!((inbox.state().rows, inbox.state().ready), (0, false));
}

#[tokio::test]
async fn small_requests_are_one_chunk_together() {
    let (inbox, _) = counted();
    (0..1_000).for_each(|row| offer(&inbox, row, 1, "p", row));
    let taken = inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX));
    assert_eq!(taken.chunks, [lines(1_000, "abc")]);
    assert_eq!(inbox.lock().bytes, 0, "what was counted is counted back");
}

#[tokio::test]
async fn what_is_put_back_moves_its_positions_with_its_last_row() {
    let (inbox, _) = counted();
    let chunk = Chunk { extent: Extent { row: 5, ..Extent::default() }, ..lines(3, "abc") };
    inbox.put_back(vec![chunk], vec![("p".into(), Position { offset: 4, mark: 9 })]);
    offer(&inbox, 8, 1, "p", 5);
    let moved = |batch, rows| inbox.take(BatchId(batch), TakeLimits::new(rows, u64::MAX)).moved;
    assert_eq!(moved(1, 2), [(String::new(), Position { offset: 7, mark: 0 })]);
    let last = moved(2, 1);
    assert_eq!(last, [(String::new(), Position { offset: 8, mark: 0 }), ("p".into(), Position { offset: 4, mark: 9 })]);
    assert_eq!(moved(3, 9)[1], ("p".into(), Position { offset: 5, mark: 1 }));
}

#[tokio::test]
async fn who_waits_for_room_tells_that_a_whole_batch_is_there() {
    let full_part = || lines(PART_ROWS_MAX / 2, &"x".repeat(200));
    let mut put = 0;
    let (inbox, wakes) = counted();
    while !inbox.state().full {
        assert_eq!(wakes.load(Ordering::SeqCst), usize::from(put > 0), "{put}");
        let _ = tokio::time::timeout(Duration::from_millis(5), inbox.put(full_part())).await;
        put += 1;
    }
    assert!(put > 1 && inbox.fill().0 > inbox.fill().1, "{put}: {:?}", inbox.fill());
    assert_eq!(wakes.load(Ordering::SeqCst), 2, "not empty any more, and full");
    inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX));
    assert!(!inbox.state().full);
    // The job file's limit of rows per batch applies, however much waits.
    let inbox = Inbox::new(1_000, Box::new(|| {})).in_batches_of(put as u64);
    let _ = tokio::time::timeout(Duration::from_millis(5), inbox.put(full_part())).await;
    assert!(inbox.state().ready && !inbox.state().full);
}

#[tokio::test]
async fn what_one_batch_takes_of_a_source_that_has_ended_is_the_last() {
    let inbox = || Inbox::new(1_000, Box::new(|| {}));
    for (inbox, is_last) in [
        (inbox(), true),
        (inbox().in_batches_of(2), false),
        (inbox().in_batches_of(3), true),
        (inbox().in_batches_of(0), false),
    ] {
        assert!(!inbox.state().last, "it has not ended");
        inbox.put(lines(3, "abc")).await;
        assert!(!inbox.state().last, "more may come");
        inbox.finish();
        assert_eq!(inbox.state().last, is_last);
    }
    let inbox = inbox();
    let _ = tokio::time::timeout(Duration::from_millis(5), inbox.put(lines(2, &"x".repeat(1_000)))).await;
    inbox.finish();
    assert!(!inbox.state().last, "more bytes than a batch takes");
}
