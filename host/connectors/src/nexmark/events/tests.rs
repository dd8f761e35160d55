use super::*;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

fn numbers(rows: std::ops::Range<u64>) -> Vec<u8> {
    rows.flat_map(u64::to_le_bytes).collect()
}

fn rows(spec: &NexmarkReads, range: std::ops::Range<u64>) -> RecordBatch {
    NexmarkDecoder::new(spec).rows(&numbers(range)).unwrap()
}

fn int_values(rows: &RecordBatch, name: &str) -> Vec<i64> {
    rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

/// Returns the mean bytes of the values of a row, eight for a number or a time.
fn bytes_of_rows(rows: &RecordBatch) -> usize {
    let all = rows.columns().iter().map(|column| match column.as_string_opt::<i32>() {
        Some(text_pool) => text_pool.value_data().len(),
        None => 8 * rows.num_rows(),
    });
    all.sum::<usize>() / rows.num_rows()
}

#[test]
fn rows_are_made_of_their_numbers_alone() {
    for (word, event) in NexmarkEvent::ALL {
        let spec = NexmarkReads::new(event);
        let complete = rows(&spec, 0..3_000);
        assert_eq!(complete.slice(1_234, 500), rows(&spec, 1_234..1_734), "{word}");
        assert_eq!(rows(&spec, u64::MAX - 3..u64::MAX).num_rows(), 3, "{word}");
    }
}

#[test]
fn bids_are_for_what_is_open_and_half_of_them_for_what_is_hot() {
    let bids = rows(&NexmarkReads::new(NexmarkEvent::Bid), 0..46_000);
    let (auctions, bidders, prices) =
        (int_values(&bids, "auction"), int_values(&bids, "bidder"), int_values(&bids, "price"));
    let hot = auctions.iter().filter(|auction| **auction % 100 == 0).count();
    assert!((22_000..25_000).contains(&hot), "{hot}");
    let hot = bidders.iter().filter(|bidder| **bidder % 100 == 1).count();
    assert!((33_000..37_000).contains(&hot), "{hot}");
    for (row, auction) in auctions.iter().enumerate() {
        let last = 1_000 + (row as i64 / 46) * 3 + 2;
        assert!(
            *auction >= 1_000.max(last - 100 - 99) && *auction <= last + 10,
            "row {row}: {auction}, last is {last}"
        );
    }
    assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
    // Half of them have at most three digits before the two of the cents.
    let small = prices.iter().filter(|price| **price < 100_000).count();
    assert!((22_000..24_000).contains(&small), "{small}");
    let bytes = bytes_of_rows(&bids);
    assert!((160..190).contains(&bytes), "{bytes}");
}

#[test]
fn auctions_are_numbered_and_open_for_a_while() {
    let auctions = rows(&NexmarkReads::new(NexmarkEvent::Auction), 0..3_000);
    assert_eq!(int_values(&auctions, "id"), (1_000..4_000).collect::<Vec<_>>());
    let times = |name: &str| {
        auctions.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
    };
    // Auction 2,999 is event 999 * 50 + 3, at 10,000 events/s.
    assert_eq!(times("date_time")[2_999], (BEGIN_MS as i64 + 4_995) * 1_000);
    let open: Vec<_> = times("date_time").iter().zip(times("expires")).map(|(from, to)| (to - from) / 1_000).collect();
    assert!(open.iter().all(|ms| (1..=332).contains(ms)), "{open:?}");
    assert!(int_values(&auctions, "category").iter().all(|category| (10..15).contains(category)));
    let bytes = bytes_of_rows(&auctions);
    assert!((480..520).contains(&bytes), "{bytes}");
}

#[test]
fn persons_live_in_six_states() {
    let persons = rows(&NexmarkReads::new(NexmarkEvent::Person), 0..1_000);
    assert_eq!(int_values(&persons, "id"), (1_000..2_000).collect::<Vec<_>>());
    let states: std::collections::BTreeSet<_> =
        persons.column_by_name("state").unwrap().as_string::<i32>().iter().flatten().collect();
    assert_eq!(states.into_iter().collect::<Vec<_>>(), ["AZ", "CA", "ID", "OR", "WA", "WY"]);
    let bytes = bytes_of_rows(&persons);
    assert!((190..210).contains(&bytes), "{bytes}");
}
