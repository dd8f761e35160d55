use crate::receiver::framing::{Counter, Framer, Framing, StreamCursor};
use millstream_base::hex;
use millstream_base::random::Random;
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::position::Position;

/// Six records of `n`, 0 to 5, three per block, written by fastavro; its sync markers are the bytes 0 to 15.
const NULL: &str = "4f626a0104146176726f2e636f646563086e756c6c166176726f2e736368656d6192017b2274797065223a20227265636f7264222c20226e616d65223a20224e222c20226669656c6473223a205b7b226e616d65223a20226e222c202274797065223a2022696e74227d5d7d00000102030405060708090a0b0c0d0e0f0606000204000102030405060708090a0b0c0d0e0f060606080a000102030405060708090a0b0c0d0e0f";
const DEFLATE: &str = "4f626a0104146176726f2e636f6465630e6465666c617465166176726f2e736368656d6192017b2274797065223a20227265636f7264222c20226e616d65223a20224e222c20226669656c6473223a205b7b226e616d65223a20226e222c202274797065223a2022696e74227d5d7d00000102030405060708090a0b0c0d0e0f06106360620100000b00000102030405060708090a0b0c0d0e0f061063e3e00200002f00000102030405060708090a0b0c0d0e0f";
const SNAPPY: &str = "4f626a0104146176726f2e636f6465630c736e61707079166176726f2e736368656d6192017b2274797065223a20227265636f7264222c20226e616d65223a20224e222c20226669656c6473223a205b7b226e616d65223a20226e222c202274797065223a2022696e74227d5d7d00000102030405060708090a0b0c0d0e0f06120308000204ca1a7f89000102030405060708090a0b0c0d0e0f0612030806080ad3c0c6b6000102030405060708090a0b0c0d0e0f";
const ZSTANDARD: &str = "4f626a0104146176726f2e636f646563127a7374616e64617264166176726f2e736368656d6192017b2274797065223a20227265636f7264222c20226e616d65223a20224e222c20226669656c6473223a205b7b226e616d65223a20226e222c202274797065223a2022696e74227d5d7d00000102030405060708090a0b0c0d0e0f061828b52ffd2003190000000204000102030405060708090a0b0c0d0e0f061828b52ffd200319000006080a000102030405060708090a0b0c0d0e0f";

fn framer() -> Framer {
    Framer::new(Framing::Blocks, false, 1 << 20).keep_rejected(20)
}

/// Returns the chunks of some bytes, which arrive in pieces of this length.
fn chunks(mut framer: Framer, bytes: &[u8], piece: usize, flush: bool) -> Vec<Chunk> {
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        framer.buffer(piece.len()).extend_from_slice(piece);
        while let Some(chunk) = framer.next(flush) {
            found.push(chunk);
        }
    }
    framer.end();
    while let Some(chunk) = framer.next(true) {
        found.push(chunk);
    }
    let Counter::Bytes(end) = framer.counter() else { panic!("a file counts bytes") };
    assert!(framer.header().is_none() || end >= bytes.len() as u64, "all of it is taken: {end} of {}", bytes.len());
    found
}

/// Returns all records, a rejected one as its reason.
fn records(chunks: &[Chunk]) -> Vec<String> {
    let record = |chunk: &Chunk, row: usize| match chunk.rejected.iter().find(|rejection| rejection.row as usize == row)
    {
        Some(rejection) => rejection.reason.clone(),
        None => hex::encode(chunk.record(row)),
    };
    chunks.iter().flat_map(|chunk| (0..chunk.rows()).map(move |row| record(chunk, row))).collect()
}

fn all(bytes: &[u8]) -> Vec<String> {
    records(&chunks(framer(), bytes, bytes.len().max(1), false))
}

/// Returns the records after a position, reading the file again from there.
fn after(bytes: &[u8], position: Position) -> Vec<String> {
    let mut header = framer();
    header.buffer(bytes.len()).extend_from_slice(bytes);
    header.end();
    while header.next(true).is_some() {}
    let cursor = StreamCursor { at: Counter::Bytes(position.offset), ..StreamCursor::default() };
    let framer = match position.offset {
        0 => framer().with_cursor(cursor),
        _ => framer().with_cursor(cursor).after_header(header.header().cloned().unwrap_or_default()),
    };
    let rest = &bytes[usize::try_from(position.offset).unwrap()..];
    records(&chunks(framer.skip_records(position.records()), rest, 7, false))
}

#[test]
fn blocks_of_every_codec_become_records_however_they_come() {
    for file in [NULL, DEFLATE, SNAPPY, ZSTANDARD] {
        let bytes = hex::decode(file).unwrap();
        for piece in 1..=bytes.len() {
            let found = chunks(framer(), &bytes, piece, false);
            assert_eq!(records(&found), ["00", "02", "04", "06", "08", "0a"], "pieces of {piece}");
            assert_eq!(found.len(), 1, "both blocks fit into a chunk");
        }
    }
}

#[test]
fn a_file_is_read_on_from_the_position_of_any_record() {
    let bytes = hex::decode(DEFLATE).unwrap();
    let complete = all(&bytes);
    for flush in [false, true] {
        let mut before = 0;
        for mut chunk in chunks(framer(), &bytes, 9, flush) {
            while chunk.rows() > 0 {
                let one = chunk.cut_front(1);
                before += 1;
                let position = one.end_position();
                assert!(!position.ended(), "{position:?}");
                assert_eq!(after(&bytes, position), complete[before..], "behind {before} records, at {position:?}");
            }
        }
        assert_eq!(before, 6);
    }
}

#[test]
fn what_is_broken_is_one_refused_record_and_reading_goes_on_at_the_next_mark() {
    let good = hex::decode(NULL).unwrap();
    let first = good.len() - 42;
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        all(&bytes)
    };
    // The marker of the first block: both blocks are lost, as the next marker is that of the second.
    assert_eq!(with(first + 6, 9), ["a block that does not end with the file's sync marker"]);
    // More records than declared; fewer; one cut short; an incorrect header.
    let too_many = with(first, 8);
    assert!(too_many[0].contains("cannot hold 4 records") && too_many[1..] == ["06", "08", "0a"], "{too_many:?}");
    let too_few = with(first, 4);
    assert!(too_few[2].contains("1 bytes follow the last record"), "{too_few:?}");
    assert_eq!(
        (&too_few[..2], &too_few[3..]),
        (&["00", "02"].map(String::from)[..], &["06", "08", "0a"].map(String::from)[..])
    );
    let short = with(first + 4, 0x84);
    assert!(short[2].starts_with("record 3 of 3 of a block: the record is cut short"), "{short:?}");
    assert_eq!(short[3..], ["06", "08", "0a"]);
    assert_eq!(with(first, 200)[1..], ["06", "08", "0a"]);
    let lies = with(first + 1, 0x7e);
    assert_eq!(lies[1..], ["06", "08", "0a"], "{lies:?}");
    // The end is missing.
    let cut = all(&good[..good.len() - 1]);
    assert_eq!(cut, ["00", "02", "04", "cut short: the file ends within a block"]);
    // Snappy's checksum.
    let mut snappy = hex::decode(SNAPPY).unwrap();
    let last = snappy.len() - 17;
    snappy[last] ^= 1;
    assert_eq!(all(&snappy)[3..], ["a block that cannot be decompressed: its checksum is wrong"]);
}

#[test]
fn what_is_no_file_of_avro_is_one_refused_record() {
    for (bytes, expected) in [
        (&b"{\"a\":1}\n"[..], "it does not begin as Avro files do"),
        (b"Obj", "its header is cut short"),
        (
            b"Obj\x01\x02\x16avro.schema\x0e\"never\"\x000123456789abcdef",
            "the type `never` is defined neither in it nor",
        ),
        (b"Obj\x01\x000123456789abcdef", "its header has no schema"),
        (b"Obj\x01\x02\x14avro.codec\x06xyz\x000123456789abcdef", "compressed with `xyz`"),
    ] {
        let found = all(bytes);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        let chunk = chunks(framer(), bytes, 3, false).pop().unwrap();
        assert_eq!(after(bytes, chunk.end_position()), Vec::<String>::new(), "it is refused once");
    }
    assert_eq!(all(b""), Vec::<String>::new());
}

#[test]
fn a_file_with_any_byte_changed_gives_the_same_whoever_reads_it_and_from_wherever() {
    for (number, file) in [NULL, DEFLATE, SNAPPY, ZSTANDARD].into_iter().enumerate() {
        let good = hex::decode(file).unwrap();
        let mut random = Random(number as u64);
        for _ in 0..1_500 {
            let mut bytes = good.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.index(bytes.len());
                bytes[at] = random.next() as u8;
            }
            bytes.truncate(bytes.len() - if random.below(3) == 0 { random.index(60) } else { 0 });
            let complete = all(&bytes);
            let mut before = 0;
            for mut chunk in chunks(framer(), &bytes, 1 + random.index(50), random.below(2) == 0) {
                while chunk.rows() > 0 {
                    let front = chunk.cut_front(1 + random.index(3));
                    before += front.rows();
                    let at = front.end_position();
                    assert_eq!(
                        after(&bytes, at),
                        complete[before..],
                        "behind {before}, at {at:?}: {}",
                        hex::encode(&bytes)
                    );
                }
            }
            assert_eq!(before, complete.len());
        }
    }
}
