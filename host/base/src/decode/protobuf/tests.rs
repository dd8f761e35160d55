use super::*;
use crate::batch::chunk::Chunk;
use crate::decode::{Decoder, tests::shown_rows, tests::source};
use crate::job::spec::{FileContent, Format};
use crate::random::Random;

/// A field of a message, length first, as protobuf writes it.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &length(content), content].concat()
}

fn length(content: &[u8]) -> Vec<u8> {
    match content.len() {
        short @ 0..128 => vec![short as u8],
        long => vec![long as u8 | 0x80, u8::try_from(long >> 7).unwrap()],
    }
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A field: name, number, label, type, the type's name.
fn field(name: &str, number: u8, label: u8, kind: u8, of: &str) -> Vec<u8> {
    let of = if of.is_empty() { Vec::new() } else { bytes(6, of.as_bytes()) };
    bytes(2, &[bytes(1, name.as_bytes()), varint(3, number), varint(4, label), varint(5, kind), of].concat())
}

/// `package shop; message Order { int64 id = 1; string sku = 2; repeated int32 list = 3; Order next = 4; Colour colour = 5; }`
fn descriptor(syntax: &str) -> Vec<u8> {
    let fields = [
        field("id", 1, 1, 3, ""),
        field("sku", 2, 1, 9, ""),
        field("list", 3, 3, 5, ""),
        field("next", 4, 1, 11, ".shop.Order"),
        field("colour", 5, 1, 14, ".shop.Colour"),
        field("gone", 6, 1, 11, ".shop.Gone"),
    ];
    let order = bytes(4, &[bytes(1, b"Order"), fields.concat()].concat());
    let symbol = |name: &str, number: u8| bytes(2, &[bytes(1, name.as_bytes()), varint(2, number)].concat());
    let colour = bytes(5, &[bytes(1, b"Colour"), symbol("RED", 0), symbol("BLUE", 1)].concat());
    let file = [bytes(1, b"in.proto"), bytes(2, b"shop"), order, colour, bytes(12, syntax.as_bytes())].concat();
    bytes(1, &file)
}

fn spec(syntax: &str, confluent: bool) -> ProtobufSpec {
    let descriptor = FileContent { path: "in.pb".into(), content: descriptor(syntax).into() };
    ProtobufSpec { descriptor, message: "shop.Order".into(), confluent }
}

fn decoder(spec: ProtobufSpec, columns: &[(&str, &str)]) -> Decoder {
    Decoder::new(&source(Format::Protobuf(spec), columns))
}

/// Records of a file: each behind its length.
fn chunk(records: &[&[u8]]) -> Chunk {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for record in records {
        assert!(record.len() < 128);
        bytes.push(record.len() as u8);
        bytes.extend_from_slice(record);
        ends.push(bytes.len() as u32);
    }
    Chunk { bytes: bytes.into(), ends, ..Chunk::default() }
}

fn decoded(syntax: &str, columns: &[(&str, &str)], record: &[u8]) -> String {
    shown_rows(&decoder(spec(syntax, false), columns).decode(&chunk(&[record])))
}

#[test]
fn a_message_goes_to_columns_by_name_and_path() {
    let inner = [&varint(1, 9)[..], &bytes(2, b"b")].concat();
    let message =
        [&varint(1, 7)[..], &bytes(2, b"a"), &bytes(3, &[1, 2]), &varint(3, 3), &bytes(4, &inner), &varint(5, 1)]
            .concat();
    let cases = [
        (&[("id", "int64"), ("sku", "text"), ("colour", "text"), ("colour", "int64")][..], "7|a|BLUE|1"),
        (&[("list", "text"), ("list.2", "int64"), ("list.3", "int64")], "[1,2,3]|3|null"),
        (&[("next.id", "float64"), ("next.sku", "binary"), ("next.next.id", "int64")], "9|[98]|null"),
        (&[("next", "text")], "{\"id\":9,\"sku\":\"b\"}"),
        (
            &[
                ("list", "list<int64>"),
                ("next", "struct<id: int64, sku: text, colour: text, list: list<int64>, next: struct<id: int64>>"),
            ],
            r#"[1,2,3]|{"id":9,"sku":"b","colour":"RED","list":[],"next":null}"#,
        ),
        (&[("id", "decimal(5,1)"), ("next.id", "decimal(5,0)")], "7.0|9"),
    ];
    for (columns, expected) in cases {
        assert_eq!(decoded("proto3", columns, &message), expected, "{columns:?}");
    }
    // What is not written is zero in proto3, and nothing in proto2; fields of a message that is not there are nothing in both.
    let all = [("id", "int64"), ("sku", "text"), ("list", "text"), ("next.id", "int64"), ("colour", "text")];
    assert_eq!(decoded("proto3", &all, b""), "0||[]|null|RED");
    assert_eq!(decoded("proto2", &all, b""), "null|null|[]|null|null");
    // The last of several counts, what is unknown is passed over, groups too, and so is what has another kind.
    let odd = [&varint(1, 1)[..], &[0x9b, 1, 8, 1, 0x9c, 1], &varint(15, 1), &bytes(1, b"x"), &varint(1, 2)].concat();
    assert_eq!(decoded("proto3", &[("id", "int64")], &odd), "2");
    assert_eq!(decoded("proto3", &[("colour", "text")], &varint(5, 9)), "9");
    let framed = [&[0, 0, 0, 0, 7, 2, 0], &varint(1, 5)[..]].concat();
    let confluent =
        decoder(spec("proto3", true), &[("id", "int64")]).decode(&chunk(&[&framed, &[0, 0, 0, 0, 7], &varint(1, 5)]));
    let told = shown_rows(&confluent);
    assert!(told.starts_with("5\n!the message is cut short\n!begins with byte 8"), "{told}");
}

#[test]
fn columns_that_no_message_can_fill_are_told_with_the_job() {
    let messages = Messages::parse(&descriptor("proto3")).unwrap();
    let told = |message: &str, columns: &[(&str, &str)]| {
        let columns = source(Format::Json, columns).schema;
        messages
            .mistakes(message, &columns)
            .into_iter()
            .map(|(key, why)| format!("{key}: {why}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(told("shop.Order", &[("id", "int64"), ("next.list.0", "int64")]), "");
    for (column, kind, expected) in [
        ("nothing", "text", "has no field `nothing`"),
        ("next.nothing", "text", "has no field `nothing`"),
        ("list", "int64", "field `list` is a list; write path = \"list.0\""),
        ("next", "int64", "field `next` is a message"),
        ("id.x", "int64", "is no message, and its path goes on"),
        ("id", "timestamp", "write timestamp(ms)"),
        ("sku", "int64", "field `sku` is text"),
        ("gone", "text", "does not define"),
    ] {
        let told = told("shop.Order", &[(column, kind)]);
        assert!(told.contains(expected) && told.lines().count() == 1, "{column} {kind}: {told}");
    }
    assert!(told("shop.Ordr", &[]).contains("did you mean `shop.Order`"), "{}", told("shop.Ordr", &[]));
    for bad in [&b"\xff\xff"[..], b"", b"hello", b"\x0a\x02\x0a\x00"] {
        assert!(Messages::parse(bad).is_err());
    }
}

#[test]
fn messages_that_lie_are_refused_and_take_no_memory() {
    let columns = [("id", "int64"), ("next", "text"), ("next.next.id", "int64"), ("list", "text"), ("list.1", "int64")];
    for bad in [
        &b"\x0a\xff\xff\xff\xff\x0f"[..],
        b"\x08",
        b"\x00",
        b"\x07",
        b"\x0c",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0b",
        b"\x22\x01\x08",
    ] {
        let told = decoded("proto3", &columns, bad);
        assert!(told.starts_with('!'), "{bad:?}: {told}");
    }
    let deep = vec![0x0b; 120];
    assert_eq!(decoded("proto3", &columns, &deep), "!nested deeper than 100 levels");
    let good = [&varint(1, 7)[..], &bytes(3, &[1, 2]), &bytes(4, &bytes(4, &varint(1, 3))), &bytes(2, b"x")].concat();
    let mut decoder = decoder(spec("proto3", false), &columns);
    let (mut random, whole) = (Random(2), descriptor("proto3"));
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.index(bad.len());
            bad[at] = random.next() as u8;
        }
        let decoded = decoder.decode(&chunk(&[&bad, &good]));
        let rejected = decoded.rejected.map_or(0, |rows| rows.num_rows());
        assert!(decoded.rows.num_rows() + rejected == 2 && rejected < 2, "a good message beside a bad one is a row");
        let mut other = whole.clone();
        let at = random.index(other.len());
        other[at] = random.next() as u8;
        let _ = Messages::parse(&other);
    }
}

/// Values of a few bits are many letters, and each message around them has its own text.
#[test]
fn a_value_that_is_too_long_as_json_is_refused() {
    let long = |number: u8, content: &[u8]| {
        let (mut head, mut left) = (vec![number << 3 | 2], content.len());
        while left >= 128 {
            head.push(left as u8 | 0x80);
            left >>= 7;
        }
        head.push(left as u8);
        [&head, content].concat()
    };
    let shown = |zeros: usize| {
        let inner = (0..90).fold(long(3, &vec![0; zeros]), |inner, _| long(4, &inner));
        // Behind its length, without the number of a field.
        let bytes = long(0, &inner)[1..].to_vec();
        let chunk = Chunk { ends: vec![bytes.len() as u32], bytes: bytes.into(), ..Chunk::default() };
        shown_rows(&decoder(spec("proto3", false), &[("next", "text")]).decode(&chunk))
    };
    assert!(shown(1000).starts_with("{\"next\":"));
    let refused = shown(1 << 20);
    assert!(refused.starts_with("!more than ") && refused.contains(" bytes as JSON"), "{:.100}", refused);
}
