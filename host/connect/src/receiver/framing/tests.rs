use super::*;
use millstream_base::random::Random;

const KEPT: usize = REJECTED_BYTES_MAX as usize;

/// Expected record: its bytes in the chunk, and whether it is rejected.
type ExpectedRecords = Vec<(Vec<u8>, bool)>;

fn kept(record: &[u8], prefix: usize) -> Vec<u8> {
    record[..record.len().min(prefix + KEPT)].to_vec()
}

/// Returns the offset after the CSV line end that begins here.
fn behind_line_end(input: &[u8], at: usize) -> usize {
    at + if input[at..].starts_with(b"\r\n") { 2 } else { 1 }
}

/// Returns where the CSV record that begins at `start` ends before `until`; otherwise whether a quote is open.
fn csv_end(separator: u8, input: &[u8], start: usize, until: usize) -> Result<usize, bool> {
    let (mut inside, mut i) = (false, start);
    while i < until {
        let at_cell = i == start || input[i - 1] == separator;
        if inside && input[i] == b'"' {
            if i + 1 < until && input[i + 1] == b'"' {
                i += 1;
            } else {
                inside = false;
            }
        } else if !inside && input[i] == b'"' && at_cell {
            inside = true;
        } else if !inside && matches!(input[i], b'\n' | b'\r') {
            return Ok(behind_line_end(input, i));
        }
        i += 1;
    }
    Err(inside)
}

/// Reference implementation: finds records byte by byte over the complete input.
fn oracle(framing: &Framing, input: &[u8], max: usize) -> ExpectedRecords {
    let mut records = ExpectedRecords::new();
    let mut start = 0;
    let line = |record: &[u8]| {
        let content = record.strip_suffix(b"\n").unwrap_or(record).len();
        let rejected = content > max;
        records.push((if rejected { kept(record, 0) } else { record.to_vec() }, rejected));
    };
    match framing {
        Framing::Lines => input.split_inclusive(|byte| *byte == b'\n').for_each(line),
        Framing::Csv { separator } => {
            while start < input.len() {
                let line_end = input[start..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                let line_end = line_end.map(|at| behind_line_end(input, start + at));
                let end = csv_end(*separator, input, start, input.len());
                let long = |end: usize| end - start > max + 1;
                let (end, unclosed) = match (end, line_end) {
                    (_, None) => (input.len(), false),
                    (Ok(end), _) if !long(end) => (end, false),
                    (Err(false), _) if !long(input.len()) => (input.len(), false),
                    // The rest is the last line.
                    (_, Some(line)) if long(line) || end == Ok(line) => (line, false),
                    (_, Some(line)) => (line, true),
                };
                let record = &input[start..end];
                match unclosed {
                    true => records.push((kept(record, 0), true)),
                    false => {
                        let ends = matches!(record.last(), Some(b'\n' | b'\r'));
                        let rejected = record.len() - usize::from(ends) > max;
                        records.push((if rejected { kept(record, 0) } else { record.to_vec() }, rejected));
                    }
                }
                start = end;
            }
        }
        Framing::Fixed(bytes) => {
            records.extend(input.chunks(*bytes).map(|record| (kept(record, 0), record.len() < *bytes)));
        }
        Framing::Blocks => panic!("blocks have tests of their own"),
        Framing::Varint => {
            while start < input.len() {
                let rest = &input[start..];
                let last = rest.iter().take(10).position(|byte| byte & 0x80 == 0);
                let prefix = last.map_or(rest.len().min(10), |last| last + 1);
                let add = |sum: u128, byte: &u8| (sum << 7) | u128::from(byte & 0x7f);
                // Bits beyond 64 are cut off.
                let length = rest[..prefix].iter().rev().fold(0, add) as u64;
                let total = last.map(|_| (prefix as u64).saturating_add(length));
                let total = total.or((rest.len() >= 10).then_some(u64::MAX));
                let end = total.unwrap_or(u64::MAX).min(rest.len() as u64) as usize;
                let rejected =
                    total.is_none_or(|total| total > rest.len() as u64 || total - prefix as u64 > max as u64);
                records.push((if rejected { kept(&rest[..end], prefix) } else { rest[..end].to_vec() }, rejected));
                start += end;
            }
        }
        Framing::Frames => {
            while start < input.len() {
                let rest = &input[start..];
                let total = rest.get(..4).map(|p| 4 + u32::from_be_bytes(p.try_into().unwrap()) as usize);
                let end = total.unwrap_or(usize::MAX).min(rest.len());
                let rejected = total.is_none_or(|total| total > rest.len() || total - 4 > max);
                records.push((if rejected { kept(&rest[..end], 4) } else { rest[..end].to_vec() }, rejected));
                start += end;
            }
        }
    }
    records
}

fn run(framing: &Framing, input: &[u8], max: usize, mut block: impl FnMut() -> (usize, bool)) -> Vec<Chunk> {
    let mut framer = Framer::new(framing.clone(), false, max as u64);
    let (mut at, mut chunks) = (0, Vec::new());
    while at < input.len() {
        let (bytes, flush) = block();
        let end = input.len().min(at + bytes.max(1));
        framer.buffer(end - at).extend_from_slice(&input[at..end]);
        at = end;
        while let Some(chunk) = framer.next(flush) {
            chunks.push(chunk);
        }
    }
    framer.end();
    while let Some(chunk) = framer.next(true) {
        chunks.push(chunk);
    }
    chunks
}

fn records(chunks: &[Chunk]) -> ExpectedRecords {
    let mut records = ExpectedRecords::new();
    for chunk in chunks {
        assert_eq!(chunk.bytes.len(), *chunk.ends.last().unwrap() as usize, "nothing behind the last record");
        let rejected = |row: usize| chunk.rejected.iter().any(|rejection| rejection.row as usize == row);
        records.extend((0..chunk.rows()).map(|row| (chunk.record(row).to_vec(), rejected(row))));
    }
    records
}

#[test]
fn records_are_those_of_a_plain_reading_however_the_input_is_split() {
    let mut random = Random(0x5EED);
    let alphabet = b"ab\r\n\n\"\",,\0\0\x02\x07";
    for round in 0..3_000 {
        let framing = match round % 5 {
            0 => Framing::Lines,
            1 => Framing::Csv { separator: b',' },
            2 => Framing::Fixed(1 + random.index(9)),
            3 => Framing::Varint,
            _ => Framing::Frames,
        };
        let mut input = Vec::new();
        for _ in 0..random.index(60) {
            match random.index(20) {
                0 => input.extend(std::iter::repeat_n(b'x', random.index(4 * KEPT))),
                1 => input.extend_from_slice(&(random.index(3_000) as u32).to_be_bytes()),
                _ => input.push(alphabet[random.index(alphabet.len())]),
            }
        }
        let max = [3, 50, 1_500, 1 << 20][random.index(4)];
        let expected = oracle(&framing, &input, max);
        let block_bytes = [1, 2, 7, 300, 5_000][random.index(5)];
        let chunks = run(&framing, &input, max, || (random.index(block_bytes) + 1, random.index(3) == 0));
        assert_eq!(records(&chunks), expected, "round {round}: {framing:?}, record_bytes_max {max}");
        let end_offset = chunks.iter().fold(0, |offset, chunk| {
            assert_eq!(chunk.extent.start, offset, "round {round}: {framing:?}");
            offset + chunk.extent.bytes
        });
        assert_eq!(end_offset, input.len() as u64, "round {round}: {framing:?}, record_bytes_max {max}");
    }
}

#[test]
fn chunks_are_filled_alike_however_the_input_is_split() {
    let mut input = Vec::new();
    for i in 0..60_000_usize {
        let bytes = if i % 5_000 == 4_999 { PART_BYTES_MAX + i } else { i % 90 };
        input.extend(std::iter::repeat_n(b'x', bytes));
        input.push(b'\n');
    }
    let expected = run(&Framing::Lines, &input, 1 << 30, || (1 << 30, false));
    for chunk in &expected {
        assert!(chunk.rows() <= PART_ROWS_MAX && (chunk.rows() == 1 || chunk.bytes.len() <= PART_BYTES_MAX));
    }
    for bytes in [100_000, 777_777, PART_BYTES_MAX] {
        assert!(run(&Framing::Lines, &input, 1 << 30, || (bytes, false)) == expected, "blocks of {bytes} bytes");
    }
}

#[test]
fn a_line_of_100_mb_is_refused_in_little_memory() {
    let mut framer = Framer::new(Framing::Lines, false, 1 << 20);
    framer.buffer(9).extend_from_slice(b"before\n");
    let block = vec![b'x'; 100_000];
    for _ in 0..1_000 {
        framer.buffer(block.len()).extend_from_slice(&block);
        assert!(framer.next(false).is_none());
        assert!(framer.buffer.capacity() < 4 << 20);
    }
    framer.buffer(9).extend_from_slice(b"\nafter");
    framer.end();
    let chunk = framer.next(true).unwrap();
    let reason = "100000000 bytes, record_bytes_max is 1048576";
    assert_eq!(chunk.rejected, [RejectedRecord { row: 1, reason: reason.into(), dropped: 100_000_001 - 1024 }]);
    assert_eq!(chunk.extent, Extent { bytes: 7 + 100_000_001 + 5, ..Extent::default() });
    assert_eq!((chunk.record(0), chunk.record(1).len(), chunk.record(2)), (&b"before\n"[..], 1024, &b"after"[..]));
}

#[test]
fn what_is_cut_short_says_so() {
    let reasons = |framing, input: &[u8]| -> Vec<String> {
        let chunks = run(&framing, input, 100, || (100, true));
        chunks.into_iter().flat_map(|chunk| chunk.rejected).map(|rejection| rejection.reason).collect()
    };
    assert_eq!(reasons(Framing::Fixed(4), b"abcdef"), ["cut short: 2 of the 4 bytes of a record"]);
    assert_eq!(reasons(Framing::Frames, b"\0\0\0\x01a\0\0\0\x05bc"), ["cut short: 2 of the 5 bytes of a frame"]);
    let lies = b"\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01b";
    assert_eq!(reasons(Framing::Varint, b"\x01a\x05bc"), ["cut short: 3 of the 6 bytes of a record and its length"]);
    assert_eq!(reasons(Framing::Varint, b"\x80"), ["cut short within the length of a record, after 1 bytes"]);
    assert_eq!(
        reasons(Framing::Varint, lies),
        ["cut short: 11 of the 18446744073709551615 bytes of a record and its length"]
    );
    assert_eq!(reasons(Framing::Frames, b"\0\0"), ["cut short: 2 of the 4 bytes of a frame's length"]);
    let open = format!("a\n\"{}", "x".repeat(200));
    let reason = "201 bytes, record_bytes_max is 100";
    assert_eq!(reasons(Framing::Csv { separator: b',' }, open.as_bytes()), [reason]);
}

#[test]
fn a_stream_that_breaks_off_has_no_last_line() {
    for framing in [Framing::Lines, Framing::Csv { separator: b',' }] {
        let mut framer = Framer::new(framing, false, 100);
        framer.buffer(20).extend_from_slice(b"whole\nhal");
        framer.break_off("the connection broke");
        let chunk = framer.next(true).unwrap();
        let reason = "cut short after 3 bytes: the connection broke";
        assert_eq!(chunk.rejected, [RejectedRecord { row: 1, reason: reason.into(), dropped: 0 }]);
    }
}

#[test]
fn one_quote_that_nothing_closes_costs_one_line() {
    let lines = |from: usize, to: usize| (from..to).map(|i| format!("{i},b\n")).collect::<String>();
    let text = format!("{}7,\"open\n{}", lines(0, 100), lines(100, 5_000));
    for (max, block) in [(1_000, 70), (1_000, 100_000), (1 << 20, 1_000)] {
        let chunks = run(&Framing::Csv { separator: b',' }, text.as_bytes(), max, || (block, false));
        assert_eq!(chunks.iter().map(Chunk::rows).sum::<usize>(), 5_001, "max {max}");
        let rejected: Vec<&RejectedRecord> = chunks.iter().flat_map(|chunk| &chunk.rejected).collect();
        assert_eq!(rejected.len(), 1);
        assert_eq!((rejected[0].row, &*rejected[0].reason), (100, UNCLOSED));
        assert_eq!(chunks[0].rows(), 101, "the chunk ends with it");
    }
}

#[test]
fn many_quotes_that_nothing_closes_cost_a_few_times_the_bytes() {
    // Each line leaves a quote open, whether or not one was open before.
    let text = "a\",\"b\n".repeat(200_000);
    let began = std::time::Instant::now();
    let chunks = run(&Framing::Csv { separator: b',' }, text.as_bytes(), 1 << 20, || (1 << 16, false));
    assert_eq!(chunks.iter().map(Chunk::rows).sum::<usize>(), 200_000);
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn the_header_of_a_stream_goes_with_its_chunks() {
    let mut framer = Framer::new(Framing::Csv { separator: b',' }, true, 100);
    framer.buffer(9).extend_from_slice(b"\r\n\xEF\xBB\xBFa,\"b\n");
    assert!(framer.next(true).is_none());
    framer.buffer(9).extend_from_slice(b"c\"\r\n1,2\n");
    let chunk = framer.next(true).unwrap();
    assert_eq!((chunk.header.as_ref(), chunk.bytes.as_ref()), (&b"a,\"b\nc\""[..], &b"1,2\n"[..]));
    framer.buffer(9).extend_from_slice(b"3,4");
    framer.end();
    let chunk = framer.next(true).unwrap();
    assert_eq!((chunk.header.as_ref(), chunk.bytes.as_ref()), (&b"a,\"b\nc\""[..], &b"3,4"[..]));
    assert_eq!(chunk.extent, Extent { start: 18, bytes: 3, ..Extent::default() }, "the header and its mark count");
}

/// Reads the records of a stream that arrives in these pieces, each framed immediately, counting rows.
fn of_pieces(at: Counter, header: bool, pieces: &[&[u8]]) -> Vec<Chunk> {
    let cursor = StreamCursor { at, ..StreamCursor::default() };
    let mut framer = Framer::new(Framing::Csv { separator: b',' }, header, 100).with_cursor(cursor);
    let mut chunks = Vec::new();
    for piece in pieces {
        framer.buffer(piece.len()).extend_from_slice(piece);
        chunks.extend(std::iter::from_fn(|| framer.next(true)));
    }
    framer.end();
    chunks.extend(std::iter::from_fn(|| framer.next(true)));
    chunks
}

fn records_as_text(chunks: &[Chunk]) -> Vec<String> {
    let one = |chunk: &Chunk| -> Vec<String> {
        let record = |row| String::from_utf8_lossy(trim_csv_line_end(chunk.record(row))).into_owned();
        (0..chunk.rows()).map(record).collect()
    };
    chunks.iter().flat_map(one).collect()
}

#[test]
fn a_carriage_return_at_the_end_of_what_is_here_may_be_half_of_a_line_end() {
    let pieces: [&[u8]; 6] = [b"a,b\r", b"\n1,x\r", b"\n", b"2,\"y\r", b"\"\r3,z\r", b""];
    for at in [Counter::Bytes(0), Counter::Rows(7)] {
        let chunks = of_pieces(at, true, &pieces);
        assert_eq!(records_as_text(&chunks), ["1,x", "2,\"y\r\"", "3,z"], "{at:?}");
        assert!(chunks.iter().all(|chunk| chunk.header == "a,b"));
    }
    // Rows that cannot be read again do not wait for the next byte.
    let mut framer = Framer::new(Framing::Csv { separator: b',' }, false, 100)
        .with_cursor(StreamCursor { at: Counter::Rows(0), ..StreamCursor::default() });
    framer.buffer(9).extend_from_slice(b"1,x\r");
    assert_eq!(framer.next(true).map(|chunk| chunk.rows()), Some(1));
}

#[test]
fn a_mark_before_the_first_record_is_passed_over_and_counts() {
    let pieces: [&[u8]; 4] = [b"\xEF", b"\xBB\xBF1", b",x\n2,", b"\xEF\xBB\xBFy"];
    let chunks = of_pieces(Counter::Bytes(0), false, &pieces);
    assert_eq!(records_as_text(&chunks), ["1,x", "2,\u{FEFF}y"]);
    assert_eq!(chunks[0].extent.start, 3);
    let other = of_pieces(Counter::Bytes(0), true, &[b"\xFF", b"\xFEa\0\n\0"]);
    assert!(other.iter().all(|chunk| chunk.header.as_ref() == b"\xFF\xFE"), "{other:?}");
}

#[test]
fn what_cannot_be_read_of_a_stream_is_one_refused_record() {
    for (framing, text, rejected) in [
        (Framing::Lines, &b"a\nb\n"[..], vec![2]),
        (Framing::Lines, b"a\nb", vec![1]),
        (Framing::Lines, b"", vec![0]),
        (Framing::Csv { separator: b',' }, b"a\r", vec![1]),
        (Framing::Fixed(2), b"abcd", vec![2]),
        (Framing::Fixed(2), b"abc", vec![1]),
        (Framing::Blocks, b"", vec![0]),
    ] {
        let mut framer = Framer::new(framing.clone(), false, 100);
        framer.buffer(text.len()).extend_from_slice(text);
        framer.break_off("damaged");
        framer.reject_rest("damaged".into());
        let chunks: Vec<Chunk> = std::iter::from_fn(|| framer.next(true)).collect();
        let rows: Vec<u32> = chunks.iter().flat_map(|chunk| &chunk.rejected).map(|rejected| rejected.row).collect();
        assert_eq!(rows, rejected, "{framing:?} {text:?}");
        assert_eq!(chunks.len(), 1, "{framing:?} {text:?}");
    }
}

#[test]
fn a_header_that_does_not_fit_is_a_record_where_it_is_alone() {
    let rejected = |text: &[u8], fits: bool| {
        let mut framer = Framer::new(Framing::Csv { separator: b',' }, true, 100);
        framer.buffer(text.len()).extend_from_slice(text);
        framer.end();
        framer.reject_header_unless(|_| fits);
        let chunks: Vec<Chunk> = std::iter::from_fn(|| framer.next(true)).collect();
        (records_as_text(&chunks), chunks.first().map_or(0, |chunk| chunk.extent.start))
    };
    assert_eq!(rejected(b"\xEF\xBB\xBFa,b\r\n", false), (vec!["a,b".into()], 3));
    assert_eq!(rejected(b"\na,b", false), (vec!["a,b".into()], 1));
    assert_eq!(rejected(b"a,b\n", true), (vec![], 0));
    assert_eq!(rejected(b"a,b\n1,2\n", false), (vec!["1,2".into()], 4));
    assert_eq!(rejected(b"", false), (vec![], 0));
}

/// Frames the beginning of a stream with a header. Returns its chunks, and its rejections with the dropped bytes.
fn with_header(text: &[u8], (longest, kept): (u64, u64), broken: bool) -> (Vec<Chunk>, Vec<(String, u64)>) {
    let mut framer = Framer::new(Framing::Csv { separator: b',' }, true, longest).keep_rejected(kept);
    framer.buffer(text.len()).extend_from_slice(text);
    let mut chunks: Vec<Chunk> = std::iter::from_fn(|| framer.next(true)).collect();
    match broken {
        true => {
            framer.break_off("it broke");
            framer.reject_rest("it broke".into());
        }
        false => {
            framer.end();
            framer.reject_header_unless(|_| true);
        }
    }
    chunks.extend(std::iter::from_fn(|| framer.next(true)));
    let rejected = chunks.iter().flat_map(|chunk| &chunk.rejected);
    let rejected = rejected.map(|rejected| (rejected.reason.clone(), rejected.dropped)).collect();
    (chunks, rejected)
}

#[test]
fn a_header_that_is_not_whole_is_a_rejected_record_and_names_nothing() {
    for cut in 1..=4 {
        let (chunks, rejected) = with_header(&b"id,n\n1,a\n"[..cut], (100, 100), true);
        assert_eq!(rejected, [(format!("cut short after {cut} bytes: it broke"), 0)], "{cut} bytes");
        assert_eq!((chunks.len(), chunks[0].rows(), chunks[0].header.as_ref()), (1, 1, &b""[..]), "{cut} bytes");
    }
    let (chunks, rejected) = with_header(b"id,n\n", (100, 100), true);
    assert_eq!((rejected, chunks[0].header.as_ref()), (vec![("it broke".into(), 0)], &b"id,n"[..]));
    // A header that is too long to be kept, with rows after it and without.
    for (text, rows) in [(&b"id,n,c0,c1\n1,a\n"[..], 2), (b"id,n,c0,c1\n", 1), (b"\nid,n,c0,c1", 1)] {
        let (chunks, rejected) = with_header(text, (8, 4), false);
        let reasons: Vec<_> = rejected.iter().map(|(reason, _)| reason.as_str()).collect();
        assert_eq!(reasons, ["10 bytes, record_bytes_max is 8"]);
        assert!(rejected[0].1 >= 6, "{rejected:?}");
        assert_eq!(chunks.iter().map(Chunk::rows).sum::<usize>(), rows);
        assert!(chunks.iter().all(|chunk| chunk.header.is_empty()));
    }
    // A header that is kept completely names the columns.
    let (chunks, rejected) = with_header(b"id,n,c0,c1\n1,a\n", (8, 100), false);
    assert_eq!((records_as_text(&chunks), rejected), (vec!["1,a".into()], vec![]));
    assert_eq!(chunks[0].header.as_ref(), b"id,n,c0,c1");
}
