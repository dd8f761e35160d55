//! A value of every type, with and without nulls: every output column is computed, so that a value that is
//! read or written incorrectly is detected.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Row, Timestamp, transform};

#[derive(Row)]
struct Values<'a> {
    flag: bool,
    int: i64,
    float: f64,
    text: &'a str,
    binary: &'a [u8],
    at: Timestamp,
    flag_or_null: Option<bool>,
    int_or_null: Option<i64>,
    float_or_null: Option<f64>,
    text_or_null: Option<&'a str>,
    binary_or_null: Option<&'a [u8]>,
    at_or_null: Option<Timestamp>,
    r#type: Option<&'a str>,
    class: Option<i64>,
    func: Option<bool>,
    #[row(name = "two words")]
    two_names: Option<&'a str>,
    #[row(name = "größe")]
    size: Option<i64>,
}

#[derive(Row)]
struct Computed<'a> {
    flag: bool,
    int: i64,
    float: f64,
    is_negative: bool,
    text: String,
    length: i64,
    binary: Vec<u8>,
    at: Timestamp,
    flag_or_null: Option<bool>,
    int_or_null: Option<i64>,
    float_or_null: Option<f64>,
    text_or_null: Option<String>,
    length_or_null: Option<i64>,
    binary_or_null: Option<Vec<u8>>,
    at_or_null: Option<Timestamp>,
    r#type: Option<&'a str>,
    class: Option<i64>,
    func: Option<bool>,
    #[row(name = "two words")]
    two_names: Option<&'a str>,
    #[row(name = "größe")]
    size: Option<i64>,
}

/// Computes a value of every type.
#[transform]
fn types(row: Values) -> Computed {
    Computed {
        flag: !row.flag,
        int: !row.int,
        float: row.float * 2.0,
        is_negative: row.float.is_sign_negative() && !row.float.is_nan(),
        text: longer(row.text),
        length: length(row.text),
        binary: reversed(row.binary),
        at: later(row.at),
        flag_or_null: row.flag_or_null.map(|flag| !flag),
        int_or_null: row.int_or_null.map(|int| !int),
        float_or_null: row.float_or_null.map(|float| float * 2.0),
        text_or_null: row.text_or_null.map(longer),
        length_or_null: row.text_or_null.map(length),
        binary_or_null: row.binary_or_null.map(reversed),
        at_or_null: row.at_or_null.map(later),
        r#type: row.r#type,
        class: row.class.map(|int| !int),
        func: row.func.map(|flag| !flag),
        two_names: row.two_names,
        size: row.size.map(|int| !int),
    }
}

fn longer(text: &str) -> String {
    format!("{text}!")
}

fn length(text: &str) -> i64 {
    text.chars().count() as i64
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

fn later(at: Timestamp) -> Timestamp {
    Timestamp(at.0 + 1_000_000)
}
