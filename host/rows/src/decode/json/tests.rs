use super::scan::Scanner;
use super::*;
use millstream_base::random::Random;

const PIECES: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\"",
    "\"a\"",
    "\"k\":1",
    "\"\\u00e9\\n\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\x\"",
    "\"long enough for words é\"",
    "0",
    "-",
    "12",
    "-0.5",
    "1e9",
    "01",
    "1.",
    ".5",
    "1e",
    "true",
    "false",
    "null",
    "nul",
    "\t",
    "\u{1}",
    "\\",
    "é",
    "\"tab\there\"",
];

fn text(random: &mut Random, depth: usize) -> String {
    match random.index(if depth > 3 { 4 } else { 6 }) {
        0 => "null".into(),
        1 => format!("{}{}", ["", "-"][random.index(2)], [0.5, 1e300, 12.25, 7.0][random.index(4)]),
        2 => format!("{}", random.index(1 << 40)),
        3 => ["\"\"", "\"plain text of some length\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0041\\uD834\\udd1e\""]
            [random.index(4)]
        .into(),
        4 => {
            let items: Vec<String> = (0..random.index(4)).map(|_| text(random, depth + 1)).collect();
            format!("[{}]", items.join([",", " , "][random.index(2)]))
        }
        _ => {
            let items: Vec<String> =
                (0..random.index(4)).map(|i| format!("\"k{i}\":{}", text(random, depth + 1))).collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

#[test]
fn what_is_json_and_what_a_string_means_is_as_in_serde_json() {
    let mut random = Random(0xBEEF);
    let (mut accepted, mut rejected) = (0, 0);
    for _ in 0..40_000 {
        let mut json = text(&mut random, 0);
        if random.index(2) == 0 {
            let mut at = random.index(json.len() + 1);
            while !json.is_char_boundary(at) {
                at -= 1;
            }
            json.insert_str(at, PIECES[random.index(PIECES.len())]);
        }
        let mut scanner = Scanner::new(&json);
        let ours = scanner.skip(0).and_then(|()| scanner.end());
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&json);
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{json}: {ours:?}, {theirs:?}");
        if json.starts_with('"') {
            let mut scratch = String::new();
            let ours = Scanner::new(&json).value(&mut scratch).map(|value| match value {
                WrittenValue::Text(text) => text.to_string(),
                other => panic!("{other:?}"),
            });
            let mut de = serde_json::Deserializer::from_str(&json);
            let theirs = <String as serde::Deserialize>::deserialize(&mut de);
            assert_eq!(ours.ok(), theirs.ok(), "{json}");
        }
        if ours.is_ok() { accepted += 1 } else { rejected += 1 }
    }
    assert!(accepted > 10_000 && rejected > 10_000, "both are tried: {accepted}, {rejected}");
}

/// Strings are scanned many bytes at a time: tests each character at each index of a string, and of a string that is followed by more.
#[test]
fn each_character_at_each_place_of_a_string_is_as_in_serde_json() {
    for length in 0..40 {
        for code in (0..=0x180).chain([0x20ac, 0x1f600]) {
            let Some(c) = char::from_u32(code) else { continue };
            for index in 0..=length {
                let json = format!("\"{}{c}{}\"", "x".repeat(index), "y".repeat(length - index));
                for json in [json.clone(), format!("{json}   \n"), format!("{json}, 12")] {
                    let mut de = serde_json::Deserializer::from_str(&json);
                    let theirs = <String as serde::Deserialize>::deserialize(&mut de).ok();
                    let theirs = theirs.as_deref();
                    let mut scratch = String::new();
                    let ours = Scanner::new(&json).value(&mut scratch);
                    assert_eq!(ours.ok(), theirs.map(WrittenValue::Text), "{json:?}");
                    let plain = Scanner::new(&json).plain_text();
                    assert_eq!(plain, theirs.filter(|text| c != '\\' && json[1..].starts_with(text)), "{json:?}");
                }
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for json in ["[".repeat(1_000_000), "{\"a\":".repeat(1_000_000)] {
        let error = Scanner::new(&json).skip(0).unwrap_err();
        assert!(error.starts_with("JSON nested deeper than 128 levels"), "{error}");
    }
}

#[test]
fn the_elements_of_an_array_are_as_they_stand() {
    assert_eq!(array_elements(" [ {\"a\": 1} ,[2], 3.50 ] ").unwrap(), ["{\"a\": 1}", "[2]", "3.50"]);
    assert_eq!(array_elements("[]").unwrap(), [""; 0]);
    assert_eq!(array_elements("{}").unwrap_err(), "not a JSON array");
    assert_eq!(array_elements("[1,]").unwrap_err(), "not JSON: expected a value at byte 3, found `]`");
    assert_eq!(array_elements("[1").unwrap_err(), "not JSON: expected `,` or `]`, but the text ends at byte 2");
}

#[test]
fn what_stands_at_a_path_is_taken_as_it_is_written() {
    let at = |text: &str, path: &str| {
        let path: Vec<String> = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        super::text_at(text, &path)
    };
    let row = r#"{"ts": 1795318072.323456789, "big":100000000000000000003, "a":[{"b":"x\"y"},-1e3], "ts2":null, "n":1, "n":2}"#;
    assert_eq!(at(row, "ts").as_deref(), Some("1795318072.323456789"));
    assert_eq!(at(row, "big").as_deref(), Some("100000000000000000003"));
    assert_eq!(at(row, "a.0.b").as_deref(), Some("x\"y"));
    assert_eq!(at(row, "a.1").as_deref(), Some("-1e3"));
    assert_eq!(at(row, "n").as_deref(), Some("2"));
    assert_eq!(at("7", "").as_deref(), Some("7"));
    for none in ["ts2", "a", "a.2", "b", "ts.0"] {
        assert_eq!(at(row, none), None, "{none}");
    }
    assert_eq!(at("{\"a\":1", "a"), Some("1".into()), "whoever decodes the row tells that it is broken");
    assert_eq!(at("{\"a\" 1}", "a"), None);
}

#[test]
fn what_stands_at_a_path_is_found_as_it_is_written() {
    let at = |text: &'static str, path: &str| {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        super::value_at(text, &path)
    };
    let text = r#" {"a":{"\u0062":[ 1.50 , "x" ],"c":null},"a2":1,"b":[{"a":1}]} "#;
    assert_eq!(at(text, "a.b"), Ok(Some(r#"[ 1.50 , "x" ]"#)));
    assert_eq!(at(text, "a.c"), Ok(Some("null")));
    assert_eq!(at(r#"{"a":1,"a":2}"#, "a"), Ok(Some("2")), "the last counts");
    assert_eq!(at(text, "b.0.a"), Ok(Some("1")));
    for none in ["a.d", "a.b.c", "b.a", "b.1", "x", ""] {
        assert_eq!(at(text, none), Ok(None), "{none}");
    }
    for broken in ["", "{", r#"{"a":1,}"#, r#"{"a":1} 2"#, r#"{"a" 1}"#] {
        assert!(at(broken, "a").is_err(), "{broken}");
    }
}

#[test]
fn a_key_is_expected_as_it_was_written() {
    for written in ["\"a\":", "\"date_time\":", "\"exactly_1234\":", "\"a key of more bytes than a word has\" :"] {
        let expected = ExpectedKey::new(written.as_bytes(), KeyTarget::None);
        for after in ["", "1", "\"and more than a word has, too\""] {
            assert!(expected.begins(format!("{written}{after}").as_bytes()), "{written}{after}");
            for index in 0..written.len() {
                let mut other = format!("{written}{after}").into_bytes();
                other[index] ^= 1;
                assert!(!expected.begins(&other), "{written}{after}, place {index}");
                assert!(!expected.begins(&written.as_bytes()[..index]));
            }
        }
    }
}
