use super::*;
use crate::batch::chunk::Chunk;
use crate::decode::spec::RecordBounds;
use crate::decode::{Decoder, tests::shown_rows, tests::source};
use crate::formats::{FileContent, Format, WriterSchema};
use millstream_base::hex;
use millstream_base::random::Random;

const SCHEMA: &str = r#"{"type":"record","name":"Order","namespace":"shop","doc":"x","fields":[
 {"name":"id","type":"long"},{"name":"sku","type":["null","string"],"default":null},
 {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
 {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
 {"name":"colour","type":{"type":"enum","name":"Colour","symbols":["RED","BLUE"]}},
 {"name":"tags","type":{"type":"array","items":"string"}},
 {"name":"next","type":["null","Order"]},{"name":"rate","type":"float"}]}"#;
/// A record of this schema, as fastavro writes it.
const RECORD: &str = "0d0204613104fb4bf6a1d5edee66020402780279000280808080808080808001000201000000000000803e0000c03f";

fn decoder(schema: &str, columns: &[(&str, &str)]) -> Decoder {
    let content = FileContent { path: "order.avsc".into(), content: Bytes::copy_from_slice(schema.as_bytes()) };
    let mut source = source(Format::Avro(WriterSchema::Given(content)), columns);
    source.bounds = RecordBounds::Prefix;
    Decoder::new(source)
}

/// The records as frames.
fn chunk(records: &[Vec<u8>]) -> Chunk {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for record in records {
        bytes.extend_from_slice(&(record.len() as u32).to_be_bytes());
        bytes.extend_from_slice(record);
        ends.push(bytes.len() as u32);
    }
    Chunk { bytes: bytes.into(), ends, ..Chunk::default() }
}

fn decoded(schema: &str, columns: &[(&str, &str)], record: &[u8]) -> String {
    shown_rows(&decoder(schema, columns).decode(&chunk(&[record.to_vec()])))
}

#[test]
fn a_record_goes_to_columns_by_name_and_path() {
    let record = hex::decode(RECORD).unwrap();
    let cases = [
        (&[("id", "int64"), ("sku", "text"), ("rate", "float64")][..], "-7|a1|1.5"),
        (&[("rate", "text"), ("id", "float64"), ("id", "text")], "1.5|-7|-7"),
        (&[("price", "text"), ("price", "float64"), ("price", "binary")], "-12.05|-12.05|[251, 75]"),
        (&[("at", "timestamp"), ("at", "int64")], "1767225600123000|1767225600123"),
        (&[("colour", "text"), ("tags", "text"), ("tags.1", "text"), ("tags.7", "text")], "BLUE|[\"x\",\"y\"]|y|null"),
        (&[("next.id", "int64"), ("next.sku", "text"), ("next.next.id", "int64")], "4611686018427387904|null|null"),
        (
            &[("next", "text")],
            r#"{"id":4611686018427387904,"sku":null,"price":0.01,"at":0,"colour":"RED","tags":[],"next":null,"rate":0.25}"#,
        ),
        (
            &[("price", "decimal(9,3)"), ("price", "decimal(3,2)")],
            "!column `price`: -12.05 is out of range of decimal(3,2)",
        ),
        (&[("price", "decimal(9,3)"), ("id", "decimal(3,2)")], "-12.050|-7.00"),
        (
            &[
                ("tags", "list<text>"),
                ("next", "struct<id: int64, price: decimal(4,2), at: timestamp, tags: list<text>>"),
            ],
            r#"["x","y"]|{"id":4611686018427387904,"price":0.01,"at":"1970-01-01T00:00:00.000000Z","tags":[]}"#,
        ),
        (&[("tags", "struct<a: int64>")], "!column `tags` is struct<a: int64>, and the record has an array there"),
        (&[("next", "list<int64>")], "!column `next` is list<int64>, and the record has a record there"),
        (&[("missing", "int64"), ("id", "int64")], "null|-7"),
        (&[("sku", "binary")], "[97, 49]"),
        (&[("rate", "int64")], "!column `rate` is int64, and the record has a floating-point number there"),
        (&[("sku", "int64")], "!column `sku` is int64, and the record has text there"),
        (&[("sku.x", "text")], "!column `x`: its path leads into text, which has no fields"),
    ];
    for (columns, expected) in cases {
        assert_eq!(decoded(SCHEMA, columns, &record), expected, "{columns:?}");
    }
    let day = r#"{"type":"record","name":"R","fields":[{"name":"at","type":{"type":"int","logicalType":"date"}}]}"#;
    assert_eq!(decoded(day, &[("at", "date"), ("at", "timestamp")], &[0x04]), "1970-01-03|172800000000");
    let at = r#"{"type":"record","name":"R","fields":[{"name":"at","type":"long"}]}"#;
    assert_eq!(decoded(at, &[("at", "timestamp(ms)")], &[0x04]), "2000");
    assert!(decoded(at, &[("at", "timestamp")], &[0x04]).contains("write at = \"timestamp(ms)\""));
    assert!(
        decoded(at, &[("at", "timestamp(s)")], &[0xff; 9].iter().chain(&[1]).copied().collect::<Vec<_>>())
            .contains("out of range")
    );
}

#[test]
fn times_without_an_offset_are_of_the_zone() {
    let of = |kind: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"at","type":{kind}}}]}}"#);
    let local = |unit: &str| of(&format!(r#"{{"type":"long","logicalType":"{unit}"}}"#));
    let decoded = |schema: &str, value: i64, kind: &str| {
        let content = FileContent { path: "r.avsc".into(), content: Bytes::copy_from_slice(schema.as_bytes()) };
        let mut source = source(Format::Avro(WriterSchema::Given(content)), &[("at", kind)]);
        source.bounds = RecordBounds::Prefix;
        source.columns[0].zone = millstream_base::zone::Zone::named("Europe/Berlin");
        let mut record = Vec::new();
        crate::decode::varint::write(crate::decode::varint::zigzag(value), &mut record);
        shown_rows(&Decoder::new(source).decode(&chunk(&[record])))
    };
    // Noon of 2026-07-01, as local time and as an instant.
    let noon = 1_782_907_200_000;
    assert_eq!(decoded(&local("local-timestamp-millis"), noon, "timestamp"), "1782900000000000");
    assert_eq!(decoded(&local("local-timestamp-micros"), noon * 1_000, "timestamp"), "1782900000000000");
    assert_eq!(decoded(&local("local-timestamp-nanos"), noon * 1_000_000, "timestamp"), "1782900000000000");
    assert_eq!(decoded(&local("timestamp-millis"), noon, "timestamp"), "1782907200000000");
    assert_eq!(decoded(&local("local-timestamp-millis"), noon, "int64"), "1782907200000");
    let day = of(r#"{"type":"int","logicalType":"date"}"#);
    assert_eq!(decoded(&day, 20_635, "timestamp"), "1782856800000000", "its first moment there");
    // Half past two, which the zone skipped in spring and repeated in autumn.
    let skipped = decoded(&local("local-timestamp-millis"), 1_774_751_400_000, "timestamp");
    assert_eq!(
        skipped,
        "!column `at`: `2026-03-29T02:30:00.000000` does not exist in Europe/Berlin: daylight saving time skips it"
    );
    assert_eq!(decoded(&local("local-timestamp-millis"), 1_792_895_400_000, "timestamp"), "1792888200000000");
    // Fractions of a microsecond are rounded toward the past, and times out of range are rejected.
    let utc = |value, kind| decoded(&local("timestamp-nanos"), value, kind);
    assert_eq!((utc(-1, "timestamp"), utc(-1_500, "timestamp")), ("-1".into(), "-2".into()));
    let far = decoded(&local("timestamp-millis"), 9_300_000_000_000_000, "timestamp");
    assert_eq!(far, "!column `at`: 9300000000000000 is out of range of timestamp");
}

#[test]
fn logical_types_are_what_they_stand_for() {
    let of = |kind: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{kind}}}]}}"#);
    let uuid = of(r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#);
    let bytes: Vec<u8> = (0..16).collect();
    let text = "00010203-0405-0607-0809-0a0b0c0d0e0f";
    assert_eq!(decoded(&uuid, &[("a", "text"), ("a", "binary")], &bytes), format!("{text}|{bytes:?}"));
    let list = of(r#"{"type":"array","items":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}}"#);
    let two = [&[4][..], &bytes, &bytes, &[0]].concat();
    let expected = format!(r#"["{text}","{text}"]|["{text}","{text}"]|{text}"#);
    assert_eq!(decoded(&list, &[("a", "text"), ("a", "list<text>"), ("a.1", "text")], &two), expected);
    // A decimal of many bytes that only repeat its sign.
    let wide = of(r#"{"type":"fixed","name":"D","size":20,"logicalType":"decimal","precision":40,"scale":2}"#);
    let number = |sign: u8, last: u8| [&vec![sign; 19][..], &[last]].concat();
    assert_eq!(decoded(&wide, &[("a", "decimal(9,2)")], &number(0, 125)), "1.25");
    assert_eq!(decoded(&wide, &[("a", "decimal(9,2)"), ("a", "text")], &number(0xff, 0x83)), "-1.25|-1.25");
    let decoded_value = decoded(&wide, &[("a", "text")], &[&[1][..], &[0; 19]].concat());
    assert!(decoded_value.starts_with("!a decimal of 20 bytes"), "{decoded_value}");
    let time = of(r#"{"type":"long","logicalType":"time-micros"}"#);
    assert_eq!(decoded(&time, &[("a", "int64"), ("a", "text")], &[0x04]), "2|2");
    let float = of(r#""double""#);
    assert_eq!(decoded(&float, &[("a", "text"), ("a", "float64")], &f64::INFINITY.to_le_bytes()), "Infinity|inf");
    // The last value of a map's key wins, even if it is null or holds less.
    let map =
        of(r#"{"type":"map","values":["null",{"type":"record","name":"V","fields":[{"name":"v","type":"int"}]}]}"#);
    let twice = [4, 2, b'k', 2, 8, 2, b'k', 0, 0];
    assert_eq!(decoded(&map, &[("a.k.v", "int64"), ("a", "text")], &twice), r#"null|{"k":null}"#);
    let list_of_ints = of(r#"{"type":"array","items":"int"}"#);
    assert_eq!(decoded(&list_of_ints, &[("a.0", "int64"), ("a.0", "text"), ("a", "text")], &[2, 14, 0]), "7|7|[7]");
}

/// What a column of the type would store for each value alone.
#[test]
fn values_within_others_are_taken_as_columns_take_them() {
    let list = |kind: &str| {
        let items = format!(r#"{{"type":"array","items":{kind}}}"#);
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{items}}}]}}"#)
    };
    let (text, bytes, fixed) = (r#""string""#, r#""bytes""#, r#"{"type":"fixed","name":"F","size":2}"#);
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#;
    let uuid = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
    let of_enum = r#"{"type":"enum","name":"E","symbols":["BEEF"]}"#;
    let ms = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    let local = r#"{"type":"long","logicalType":"local-timestamp-micros"}"#;
    let day = r#"{"type":"int","logicalType":"date"}"#;
    let maybe = r#"["null","bytes"]"#;
    for (kind, item, wanted, expected) in [
        (text, &b"\x08cafe"[..], "list<binary>", r#"["63616665"]"#),
        (text, b"\x08cafe", "list<text>", r#"["cafe"]"#),
        (bytes, b"\x06abc", "list<text>", r#"["abc"]"#),
        (bytes, b"\x06abc", "list<binary>", r#"["616263"]"#),
        (bytes, b"\x06abc", "text", r#"["616263"]"#),
        (bytes, b"\x04a\xff", "list<text>", "!column `a`: bytes that are not UTF-8 at byte 1"),
        (bytes, b"\x0412", "list<int64>", "!column `a`: the record has bytes where int64 is wanted"),
        (maybe, b"\x02\x06abc", "list<text>", r#"["abc"]"#),
        (fixed, b"ab", "list<text>", r#"["ab"]"#),
        (fixed, b"ab", "list<binary>", r#"["6162"]"#),
        (decimal, b"\x02\x7d", "list<decimal(9,2)>", "[1.25]"),
        (decimal, b"\x02\x7d", "list<text>", r#"["1.25"]"#),
        (decimal, b"\x02\x7d", "list<binary>", r#"["7d"]"#),
        (uuid, b"0123456789abcdef", "list<binary>", r#"["30313233343536373839616263646566"]"#),
        (of_enum, b"\0", "list<text>", r#"["BEEF"]"#),
        (of_enum, b"\0", "list<binary>", "!column `a`: the record has an enum where binary is wanted"),
        (ms, b"\x02", "list<int64>", "[1]"),
        (ms, b"\x02", "list<text>", r#"["1"]"#),
        (ms, b"\x02", "list<timestamp>", r#"["1970-01-01T00:00:00.001000Z"]"#),
        (local, b"\x02", "list<int64>", "[1]"),
        (local, b"\x02", "list<timestamp>", r#"["1970-01-01T00:00:00.000001Z"]"#),
        (day, b"\x04", "list<int64>", "[2]"),
        (day, b"\x04", "list<date>", r#"["1970-01-03"]"#),
        (r#""float""#, &0.1_f32.to_le_bytes(), "list<text>", r#"["0.1"]"#),
        (r#""float""#, &0.1_f32.to_le_bytes(), "list<float64>", "[0.10000000149011612]"),
    ] {
        let record = [&[2][..], item, &[0]].concat();
        assert_eq!(decoded(&list(kind), &[("a", wanted)], &record), expected, "{kind} as {wanted}");
    }
    // In records and maps it is the same, whatever else is in them.
    let inner = r#"{"type":"record","name":"V","fields":[{"name":"b","type":"bytes"},{"name":"n","type":"int"},{"name":"s","type":"string"}]}"#;
    let wanted = "list<struct<s: binary, b: text>>";
    let record = b"\x02\x06abc\x0e\x08cafe\0";
    assert_eq!(decoded(&list(inner), &[("a", wanted)], record), r#"[{"s":"63616665","b":"abc"}]"#);
    let map = r#"{"type":"map","values":"bytes"}"#;
    let record = b"\x02\x04\x02k\x04\xff\xfe\x02l\x06abc\0\0";
    assert_eq!(decoded(&list(map), &[("a", "list<struct<l: text>>")], record), r#"[{"l":"abc"}]"#);
    // A text column of a nested value has the same text.
    let record = b"\x02\x02\x02k\x04\xff\xfe\0\0";
    assert_eq!(
        decoded(&list(map), &[("a", "list<text>"), ("a.0", "text")], record),
        r#"["{\"k\":\"fffe\"}"]|{"k":"fffe"}"#
    );
}

#[test]
fn schemas_come_with_the_chunk_and_unknown_ones_are_a_reason() {
    let registry = crate::formats::RegistrySpec {
        url: "http://127.0.0.1:1".into(),
        login: None,
        ca: None,
        wait: std::time::Duration::ZERO,
    };
    let mut source = source(Format::Avro(WriterSchema::Registry(Box::new(registry))), &[("n", "int64"), ("s", "text")]);
    source.bounds = RecordBounds::Prefix;
    let mut decoder = Decoder::new(source);
    let one = Bytes::from_static(br#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}"#);
    let two = Bytes::from_static(
        br#"{"type":"record","name":"R","fields":[{"name":"s","type":"string"},{"name":"n","type":"int"}]}"#,
    );
    let record = |id: u8, body: &[u8]| [&[0, 0, 0, 0, id], body].concat();
    let mut chunk = chunk(&[
        record(1, &[2]),
        record(2, &[2, b'x', 4]),
        record(3, &[2]),
        record(1, &[2, 2]),
        vec![1, 2, 3, 4, 5, 6],
        vec![0, 1],
        vec![],
    ]);
    chunk.header = SchemaTable::write([(1, Some(&one)), (2, Some(&two)), (3, None)]);
    assert!(chunk.needs_plan_copy(), "the registry may know the id later");
    let expected = "1|null\n2|x\n!the registry does not have schema 3\n\
                    !1 bytes follow the record; it was written with another schema\n\
                    !begins with byte 1, not with 0 and the id of a schema, as records of a registry do\n\
                    !2 bytes, too few for the id of a schema\n!0 bytes, too few for the id of a schema";
    assert_eq!(shown_rows(&decoder.decode(&chunk)), expected);
    // The next chunk has its own table, in which an ID is known now.
    chunk.header = SchemaTable::write([(3, Some(&one))]);
    assert!(!chunk.needs_plan_copy());
    let (_, third) = (chunk.cut_front(2), chunk.cut_front(1));
    assert_eq!(shown_rows(&decoder.decode(&third)), "1|null");
    assert!(SchemaTable::read(&Bytes::from_static(b"n,s")).is_empty() && SchemaTable::read(&Bytes::new()).is_empty());
}

#[test]
fn schemas_that_make_no_sense_are_refused_with_what_is_wrong() {
    for (schema, expected) in [
        ("", "not JSON"),
        ("1", "1 is not a type"),
        ("\"Order\"", "the type `Order` is defined neither in it nor"),
        (r#"{"name":"x"}"#, "a type without `type`"),
        (r#"{"type":"record","fields":[]}"#, "a type without `name`"),
        (r#"{"type":"record","name":"R"}"#, "record without `fields`"),
        (r#"{"type":"array"}"#, "array without `items`"),
        (r#"[["null"]]"#, "a union within a union"),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "not a number of bytes"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"enum","name":"R","symbols":[]}}]}"#,
            "defined twice",
        ),
    ] {
        let why = Schema::parse(schema.as_bytes()).unwrap_err();
        assert!(why.contains(expected), "{schema}: {why}");
    }
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(200), "}".repeat(200));
    assert!(Schema::parse(deep.as_bytes()).is_err());
    let doubts =
        doubts(SCHEMA.as_bytes(), &decoder_columns(&[("id", "text"), ("gone", "int64"), ("rate", "bool")])).unwrap();
    assert_eq!(
        doubts,
        [
            "it has nothing for column `gone`, which is null",
            "column `rate` is bool, and the record has a floating-point number there"
        ]
    );
}

fn decoder_columns(columns: &[(&str, &str)]) -> Vec<ColumnSpec> {
    source(Format::Json, columns).columns
}

#[test]
fn records_that_lie_are_refused_and_take_no_memory() {
    let record = hex::decode(RECORD).unwrap();
    let columns = [("id", "int64"), ("next", "text"), ("tags", "text"), ("tags.1", "text"), ("price", "text")];
    for cut in 0..record.len() {
        assert!(decoded(SCHEMA, &columns, &record[..cut]).starts_with('!'), "{cut} bytes");
    }
    let of = |kind: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{kind}}}]}}"#);
    let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for kind in [
        r#""bytes""#,
        r#""string""#,
        r#"{"type":"array","items":"null"}"#,
        r#"{"type":"array","items":"int"}"#,
        r#"{"type":"map","values":"null"}"#,
    ] {
        for column in ["a", "b", "a.5"] {
            let decoded_value = decoded(&of(kind), &[(column, "text")], &huge);
            assert!(
                decoded_value.starts_with('!') || column == "a.5" || column == "b",
                "{kind} {column}: {decoded_value}"
            );
        }
    }
    // A list within itself, without end.
    let list = r#"{"type":"record","name":"L","fields":[{"name":"a","type":["null","L"]}]}"#;
    let deep = vec![2; 100_000];
    for column in ["a", "b"] {
        let decoded_value = decoded(list, &[(column, "text")], &deep);
        assert!(decoded_value.starts_with("!nested deeper than 64 levels"), "{decoded_value}");
    }
    // Records of two records of two records, without content.
    let mut nothing = String::from(r#"{"type":"record","name":"R0","fields":[]}"#);
    let types: Vec<String> = (1..=60)
        .map(|n| {
            let before = std::mem::replace(&mut nothing, format!("\"R{n}\""));
            let field = |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":{kind}}}"#);
            let inner = if n == 1 { before } else { format!("\"R{}\"", n - 1) };
            let second = format!("\"R{}\"", n - 1);
            let fields = format!("{},{}", field("a", &inner), field("b", &second));
            format!(r#"{{"name":"f{n}","type":{{"type":"record","name":"R{n}","fields":[{fields}]}}}}"#)
        })
        .collect();
    let laughs = format!(r#"{{"type":"record","name":"Top","fields":[{}]}}"#, types.join(","));
    assert_eq!(decoded(&laughs, &[("missing", "text")], &[]), "null");
    assert_eq!(decoded(&laughs, &[("f60", "text")], &[]), "!more than 67108864 bytes as JSON");
    let mut decoder = decoder(SCHEMA, &columns);
    let mut random = Random(1);
    for _ in 0..20_000 {
        let mut bad = record.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.index(bad.len());
            bad[at] = random.next() as u8;
        }
        let decoded = decoder.decode(&chunk(&[bad, record.clone()]));
        let rejected = decoded.rejected.map_or(0, |rows| rows.num_rows());
        assert!(decoded.rows.num_rows() + rejected == 2 && rejected < 2, "a good record beside a bad one is a row");
    }
}
