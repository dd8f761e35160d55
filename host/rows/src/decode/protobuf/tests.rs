use super::*;
use crate::batch::chunk::Chunk;
use crate::decode::{Decoder, tests::shown_rows, tests::source};
use crate::formats::{FileContent, Format};
use millstream_base::random::Random;

/// Returns a length-prefixed field, as Protobuf writes it.
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

/// Returns a field's descriptor: name, number, label, type, the type's name.
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
    Decoder::new(source(Format::Protobuf(spec), columns))
}

/// Returns records of a file, each after its length.
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
    // Absent fields are zero in proto3 and null in proto2; fields of an absent message are null in both.
    let all = [("id", "int64"), ("sku", "text"), ("list", "text"), ("next.id", "int64"), ("colour", "text")];
    assert_eq!(decoded("proto3", &all, b""), "0||[]|null|RED");
    assert_eq!(decoded("proto2", &all, b""), "null|null|[]|null|null");
    // The last of several wins. Unknown fields are skipped, also groups, and so are fields of another kind.
    let odd = [&varint(1, 1)[..], &[0x9b, 1, 8, 1, 0x9c, 1], &varint(15, 1), &bytes(1, b"x"), &varint(1, 2)].concat();
    assert_eq!(decoded("proto3", &[("id", "int64")], &odd), "2");
    assert_eq!(decoded("proto3", &[("colour", "text")], &varint(5, 9)), "9");
    let framed = [&[0, 0, 0, 0, 7, 2, 0], &varint(1, 5)[..]].concat();
    let confluent =
        decoder(spec("proto3", true), &[("id", "int64")]).decode(&chunk(&[&framed, &[0, 0, 0, 0, 7], &varint(1, 5)]));
    let shown = shown_rows(&confluent);
    assert!(shown.starts_with("5\n!the message is cut short\n!begins with byte 8"), "{shown}");
}

/// `message All { All inner = 1; repeated All items = 2; map<string, All> by = 3; oneof either { All x = 4; string y = 5; int64 z = 6; }
/// repeated int32 nums = 7; uint64 u = 8; group G = 9 { string g = 1; } string s = 10; map<int32, string> numbers = 11; }`
fn all_kinds(syntax: &str) -> ProtobufSpec {
    let one_of = |field: Vec<u8>| bytes(2, &[&field[field.len() - usize::from(field[1])..], &[9 << 3, 0]].concat());
    let entry = |name: &str, key: u8, kind: u8, of: &str| {
        let fields = [field("key", 1, 1, key, ""), field("value", 2, 1, kind, of)].concat();
        bytes(3, &[bytes(1, name.as_bytes()), fields, bytes(7, &varint(7, 1))].concat())
    };
    let group = bytes(3, &[bytes(1, b"G"), field("g", 1, 1, 9, "")].concat());
    let fields = [
        field("inner", 1, 1, 11, ".All"),
        field("items", 2, 3, 11, ".All"),
        field("by", 3, 3, 11, ".All.ByEntry"),
        one_of(field("x", 4, 1, 11, ".All")),
        one_of(field("y", 5, 1, 9, "")),
        one_of(field("z", 6, 1, 3, "")),
        field("nums", 7, 3, 5, ""),
        field("u", 8, 1, 4, ""),
        field("g", 9, 1, 10, ".All.G"),
        field("s", 10, 1, 9, ""),
        field("numbers", 11, 3, 11, ".All.NumbersEntry"),
        entry("ByEntry", 9, 11, ".All"),
        entry("NumbersEntry", 5, 9, ""),
        group,
        bytes(8, &bytes(1, b"either")),
    ];
    let file =
        [bytes(1, b"a.proto"), bytes(4, &[bytes(1, b"All"), fields.concat()].concat()), bytes(12, syntax.as_bytes())];
    let descriptor = FileContent { path: "a.pb".into(), content: bytes(1, &file.concat()).into() };
    ProtobufSpec { descriptor, message: "All".into(), confluent: false }
}

fn all_decoded(columns: &[(&str, &str)], record: &[u8]) -> String {
    shown_rows(&decoder(all_kinds("proto3"), columns).decode(&chunk(&[record])))
}

#[test]
fn columns_share_the_ways_to_their_values() {
    let item = |text: &str, number: u8| [bytes(10, text.as_bytes()), varint(8, number)].concat();
    let deep = bytes(1, &bytes(2, &item("deep", 9)));
    let message = [
        bytes(2, &item("a", 1)),
        bytes(2, &[item("b", 2), deep].concat()),
        bytes(3, &[bytes(1, b"k"), bytes(2, &item("c", 3))].concat()),
        bytes(11, &[varint(1, 5), bytes(2, b"five")].concat()),
    ]
    .concat();
    let columns = [
        ("items.0.s", "text"),
        ("items.0.u", "int64"),
        ("items.0.u", "decimal(20,0)"),
        ("items.0", "struct<s: text>"),
        ("items.1.s", "text"),
        ("items.1.inner.items.0.s", "text"),
        ("items.1.inner.items.0.u", "int64"),
        ("items.2.s", "text"),
        ("by.k.s", "text"),
        ("by.k.s", "text"),
        ("by.k.u", "text"),
        ("by.l.u", "text"),
        ("numbers.5", "text"),
        ("numbers.5", "binary"),
    ];
    let expected = r#"a|1|1|{"s":"a"}|b|deep|9|null|c|c|3|null|five|[102, 105, 118, 101]"#;
    assert_eq!(all_decoded(&columns, &message), expected);
}

#[test]
fn what_comes_twice_is_merged_and_of_keys_the_last_wins() {
    let item = |text: &str| bytes(2, &bytes(10, text.as_bytes()));
    let entry = |key: &str, value: &[u8]| bytes(3, &[bytes(1, key.as_bytes()), bytes(2, value)].concat());
    let merged = "proto3: lists go on, the last of other values wins";
    for (what, message, columns, expected) in [
        (
            merged,
            [
                bytes(1, &[item("a"), varint(8, 1), bytes(10, b"n")].concat()),
                bytes(1, &[item("b"), varint(8, 2)].concat()),
            ]
            .concat(),
            &[("inner.u", "int64"), ("inner.s", "text"), ("inner.items.1.s", "text"), ("inner", "text")][..],
            r#"2|n|b|{"items":[{"s":"a"},{"s":"b"}],"u":2,"s":"n"}"#,
        ),
        (
            "nothing of a value that was replaced stays",
            [entry("k", &bytes(10, b"n")), entry("l", b""), entry("k", &varint(8, 2))].concat(),
            &[("by.k.s", "text"), ("by.k.u", "int64"), ("by", "text")],
            r#"|2|{"k":{"u":2},"l":{}}"#,
        ),
        (
            "an entry is a message, too",
            bytes(3, &[bytes(2, &varint(8, 1)), bytes(1, b"k"), bytes(2, &bytes(10, b"n"))].concat()),
            &[("by.k.s", "text"), ("by.k.u", "int64"), ("by", "text")],
            r#"n|1|{"k":{"u":1,"s":"n"}}"#,
        ),
        (
            "of a oneof the last wins",
            [bytes(4, &varint(8, 1)), bytes(5, b"y")].concat(),
            &[("x.u", "int64"), ("x", "text"), ("y", "text"), ("z", "int64")],
            "null|null|y|null",
        ),
        (
            "a message is not merged with one before another field of its oneof",
            [bytes(4, &varint(8, 1)), varint(6, 0), bytes(4, &bytes(10, b"s"))].concat(),
            &[("x.u", "int64"), ("x.s", "text"), ("z", "int64"), ("x", "text")],
            r#"0|s|null|{"s":"s"}"#,
        ),
        (
            "but with one right before",
            [bytes(4, &varint(8, 1)), bytes(4, &bytes(10, b"s"))].concat(),
            &[("x.u", "int64"), ("x.s", "text"), ("x", "struct<u: int64, s: text>")],
            r#"1|s|{"u":1,"s":"s"}"#,
        ),
        (
            "a list in pieces",
            [bytes(7, &[1, 2]), varint(7, 3), bytes(7, &[]), bytes(7, &[4])].concat(),
            &[("nums", "text"), ("nums.0", "int64"), ("nums.2", "int64"), ("nums.3", "int64"), ("nums", "list<int64>")],
            "[1,2,3,4]|1|3|4|[1,2,3,4]",
        ),
        (
            "groups are messages",
            [&[9_u8 << 3 | 3][..], &bytes(1, b"a"), &[9 << 3 | 4, 9 << 3 | 3], &[9 << 3 | 4]].concat(),
            &[("g.g", "text"), ("g", "text")],
            r#"a|{"g":"a"}"#,
        ),
        (
            "a whole number that is not written is zero",
            Vec::new(),
            &[
                ("u", "decimal(20,0)"),
                ("u", "float64"),
                ("u", "timestamp(s)"),
                ("u", "text"),
                ("s", "date"),
                ("s", "text"),
            ],
            "0|0|0|0|null|",
        ),
    ] {
        assert_eq!(all_decoded(columns, &message), expected, "{what}");
    }
    let max = [&[8_u8 << 3][..], &[0xff; 9], &[1]].concat();
    assert_eq!(
        all_decoded(&[("u", "decimal(20,0)"), ("u", "text")], &max),
        "18446744073709551615|18446744073709551615"
    );
    let shown = all_decoded(&[("u", "int64")], &max);
    assert_eq!(shown, "!column `u`: 18446744073709551615 is out of range of int64");
    // Two incomplete pieces must not become a message together.
    let torn = [bytes(1, &[8 << 3]), bytes(1, &[1])].concat();
    assert_eq!(all_decoded(&[("inner.u", "int64")], &torn), "!the message is cut short");
    assert_eq!(all_decoded(&[("items", "text"), ("items.0", "text")], &bytes(2, &torn)), "!the message is cut short");
}

/// `enum E { ONE = 0; BEEF = 1; } message M { repeated string s = 1; repeated bytes b = 2; repeated E e = 3; repeated float f = 4;
/// In in = 5; map<string, bytes> by = 6; repeated In many = 7; message In { string s = 1; bytes b = 2; E e = 3; In in = 4; } }`
fn nested_kinds() -> ProtobufSpec {
    let inner =
        [field("s", 1, 1, 9, ""), field("b", 2, 1, 12, ""), field("e", 3, 1, 14, ".E"), field("in", 4, 1, 11, ".M.In")];
    let entry = [field("key", 1, 1, 9, ""), field("value", 2, 1, 12, "")];
    let symbol = |name: &str, number: u8| bytes(2, &[bytes(1, name.as_bytes()), varint(2, number)].concat());
    let fields = [
        field("s", 1, 3, 9, ""),
        field("b", 2, 3, 12, ""),
        field("e", 3, 3, 14, ".E"),
        field("f", 4, 3, 2, ""),
        field("in", 5, 1, 11, ".M.In"),
        field("by", 6, 3, 11, ".M.ByEntry"),
        field("many", 7, 3, 11, ".M.In"),
        bytes(3, &[bytes(1, b"In"), inner.concat()].concat()),
        bytes(3, &[bytes(1, b"ByEntry"), entry.concat(), bytes(7, &varint(7, 1))].concat()),
    ];
    let message = bytes(4, &[bytes(1, b"M"), fields.concat()].concat());
    let symbols = bytes(5, &[bytes(1, b"E"), symbol("ONE", 0), symbol("BEEF", 1)].concat());
    let file = [bytes(1, b"m.proto"), message, symbols, bytes(12, b"proto3")].concat();
    let descriptor = FileContent { path: "m.pb".into(), content: bytes(1, &file).into() };
    ProtobufSpec { descriptor, message: "M".into(), confluent: false }
}

/// What a column of the type would store for each value alone.
#[test]
fn values_within_others_are_taken_as_columns_take_them() {
    let inner = [bytes(1, b"cafe"), bytes(2, b"abc"), varint(3, 1)].concat();
    let entry = |key: &[u8], value: &[u8]| bytes(6, &[bytes(1, key), bytes(2, value)].concat());
    for (message, column, wanted, expected) in [
        (bytes(1, b"cafe"), "s", "list<binary>", r#"["63616665"]"#),
        (bytes(1, b"cafe"), "s", "list<text>", r#"["cafe"]"#),
        (bytes(2, b"abc"), "b", "list<text>", r#"["abc"]"#),
        (bytes(2, b"abc"), "b", "list<binary>", r#"["616263"]"#),
        (bytes(2, b"abc"), "b", "text", r#"["616263"]"#),
        (bytes(2, b"a\xff"), "b", "list<text>", "!column `b`: bytes that are not UTF-8 at byte 1"),
        (bytes(2, b"12"), "b", "list<int64>", "!column `b`: the record has bytes where int64 is wanted"),
        (bytes(3, &[0, 1, 7]), "e", "list<int64>", "[0,1,7]"),
        (bytes(3, &[0, 1, 7]), "e", "list<text>", r#"["ONE","BEEF","7"]"#),
        (bytes(3, &[1]), "e", "list<binary>", "!column `e`: the record has an enum where binary is wanted"),
        (bytes(4, &0.1_f32.to_le_bytes()), "f", "list<text>", r#"["0.1"]"#),
        (bytes(4, &0.1_f32.to_le_bytes()), "f", "list<float64>", "[0.10000000149011612]"),
        (bytes(5, &inner), "in", "struct<s: binary, b: text, e: int64>", r#"{"s":"63616665","b":"abc","e":1}"#),
        (bytes(5, &inner), "in", "struct<s: text, b: binary, e: text>", r#"{"s":"cafe","b":"616263","e":"BEEF"}"#),
        (bytes(5, &inner), "in", "text", r#"{"s":"cafe","b":"616263","e":"BEEF"}"#),
        ([entry(b"k", b"\xff"), entry(b"l", b"abc")].concat(), "by", "struct<l: text>", r#"{"l":"abc"}"#),
        (bytes(7, &inner), "many", "list<struct<b: text>>", r#"[{"b":"abc"}]"#),
        // An absent field has the same value as in a column, and so has a message as text.
        (bytes(5, b""), "in", "struct<s: date, b: text, e: int64>", r#"{"s":null,"b":"","e":0}"#),
        (bytes(5, &bytes(4, &varint(3, 1))), "in", "struct<in: text>", r#"{"in":"{\"e\":\"BEEF\"}"}"#),
        (bytes(5, &bytes(4, &varint(3, 1))), "in.in", "text", r#"{"e":"BEEF"}"#),
    ] {
        let shown = shown_rows(&decoder(nested_kinds(), &[(column, wanted)]).decode(&chunk(&[&message])));
        assert_eq!(shown, expected, "{column} as {wanted}");
    }
}

#[test]
fn columns_that_no_message_can_fill_are_told_with_the_job() {
    let messages = Messages::parse(&descriptor("proto3")).unwrap();
    let messages_of = |message: &str, columns: &[(&str, &str)]| {
        let columns = source(Format::Json, columns).columns;
        messages
            .errors(message, &columns)
            .into_iter()
            .map(|(key, why)| format!("{key}: {why}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(messages_of("shop.Order", &[("id", "int64"), ("next.list.0", "int64")]), "");
    for (column, kind, expected) in [
        ("nothing", "text", "has no field `nothing`"),
        ("next.nothing", "text", "has no field `nothing`"),
        ("list", "int64", "field `list` is a list; write path = \"list.0\""),
        ("next", "int64", "field `next` is a message"),
        ("id.x", "int64", "is not a message, but its path continues"),
        ("id", "timestamp", "write timestamp(ms)"),
        ("sku", "int64", "field `sku` is text"),
        ("gone", "text", "does not define"),
    ] {
        let messages_of = messages_of("shop.Order", &[(column, kind)]);
        assert!(messages_of.contains(expected) && messages_of.lines().count() == 1, "{column} {kind}: {messages_of}");
    }
    assert!(messages_of("shop.Ordr", &[]).contains("did you mean `shop.Order`"), "{}", messages_of("shop.Ordr", &[]));
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
        let shown = decoded("proto3", &columns, bad);
        assert!(shown.starts_with('!'), "{bad:?}: {shown}");
    }
    let deep = vec![0x0b; 120];
    assert_eq!(decoded("proto3", &columns, &deep), "!nested deeper than 100 levels");
    let good = [&varint(1, 7)[..], &bytes(3, &[1, 2]), &bytes(4, &bytes(4, &varint(1, 3))), &bytes(2, b"x")].concat();
    let mut decoder = decoder(spec("proto3", false), &columns);
    let (mut random, original) = (Random(2), descriptor("proto3"));
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.index(bad.len());
            bad[at] = random.next() as u8;
        }
        let decoded = decoder.decode(&chunk(&[&bad, &good]));
        let rejected = decoded.rejected.map_or(0, |rows| rows.num_rows());
        assert!(decoded.rows.num_rows() + rejected == 2 && rejected < 2, "a good message beside a bad one is a row");
        let mut other = original.clone();
        let at = random.index(other.len());
        other[at] = random.next() as u8;
        let _ = Messages::parse(&other);
    }
}

/// Values of a few bits are many characters, and each enclosing message has its own text.
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
        // After its length, without the number of a field.
        let bytes = long(0, &inner)[1..].to_vec();
        let chunk = Chunk { ends: vec![bytes.len() as u32], bytes: bytes.into(), ..Chunk::default() };
        shown_rows(&decoder(spec("proto3", false), &[("next", "text")]).decode(&chunk))
    };
    assert!(shown(1000).starts_with("{\"next\":"));
    let rejected = shown(1 << 20);
    assert!(rejected.starts_with("!more than ") && rejected.contains(" bytes as JSON"), "{:.100}", rejected);
}
