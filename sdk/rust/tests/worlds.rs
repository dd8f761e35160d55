//! Parameters and return values of plugin functions, through the macros and the test runner.

use millstream_sdk::{
    Context, Error, KeyedOut, Out, Rejection, Row, Rows, Timers, Timestamp, cogroup, json, testing, transform, update,
};

/// Every type of field.
#[derive(Row)]
struct All<'a> {
    flag: bool,
    int: i64,
    float: f64,
    text: &'a str,
    owned: String,
    bytes: &'a [u8],
    owned_bytes: Vec<u8>,
    at: Timestamp,
    maybe_flag: Option<bool>,
    maybe_int: Option<i64>,
    maybe_text: Option<&'a str>,
    #[row(name = "maybe bytes")]
    maybe_bytes: Option<Vec<u8>>,
    r#type: Option<Timestamp>,
}

#[transform]
fn same(row: All) -> All {
    row
}

fn all() -> serde_json::Value {
    json!([
        {"flag": true, "int": -1, "float": 0.5, "text": "ü", "owned": "", "bytes": "00ff", "owned_bytes": "", "at": 7,
         "maybe_flag": false, "maybe_int": i64::MIN, "maybe_text": "", "maybe bytes": "01", "type": 0},
        {"flag": false, "int": 2, "float": -1e300, "text": "a longer text than sixteen bytes", "owned": "x", "bytes": "",
         "owned_bytes": "ab", "at": -7, "maybe_flag": null, "maybe_int": null, "maybe_text": null, "maybe bytes": null,
         "type": null}
    ])
}

#[test]
fn every_type_goes_through_unchanged() {
    for batches in [1, 5, 16] {
        let rows: serde_json::Value = (0..batches).flat_map(|_| all().as_array().unwrap().clone()).collect();
        let run = testing::transform::<same>().run(rows.clone()).unwrap();
        assert_eq!((run.rows, run.rejected), (rows, Vec::new()));
    }
    let description = testing::transform::<same>().describe().unwrap();
    assert_eq!((description.name.as_str(), description.input.fields.len()), ("millstream-sdk", 13));
    assert_eq!(description.input, description.output);
    assert!(!description.input.fields[3].nullable && description.input.fields[10].nullable);
    assert_eq!(
        (description.input.fields[11].name.as_str(), description.input.fields[12].name.as_str()),
        ("maybe bytes", "type")
    );
}

#[derive(Row)]
struct Number {
    n: i64,
}

#[derive(Row)]
struct Text<'a> {
    text: &'a str,
}

#[transform]
fn evens(row: Number) -> Option<Number> {
    (row.n % 2 == 0).then_some(row)
}

#[transform]
fn countdown(number: Number) -> impl Iterator<Item = Number> {
    (0..number.n).rev().map(|n| Number { n })
}

#[transform]
fn parsed(text: Text) -> Result<Option<Number>, std::num::ParseIntError> {
    text.text.parse().map(|n| Some(Number { n }).filter(|number| number.n != 0))
}

/// Pushes rows and then rejects: the pushed rows must be removed.
#[transform]
fn halves(row: Text, out: &mut Out<Text>) -> Result<(), Rejection> {
    for text in row.text.split(';') {
        if text == "bad" {
            return Err("a bad part".into());
        }
        out.push(Text { text });
    }
    Ok(())
}

#[test]
fn functions_return_rows_in_several_ways() {
    let numbers = json!([{"n": 2}, {"n": 3}, {"n": 0}]);
    let rows = |run: Result<testing::Run, Error>| run.unwrap().rows;
    assert_eq!(rows(testing::transform::<evens>().run(numbers.clone())), json!([{"n": 2}, {"n": 0}]));
    let down = json!([{"n": 1}, {"n": 0}, {"n": 2}, {"n": 1}, {"n": 0}]);
    assert_eq!(rows(testing::transform::<countdown>().run(numbers)), down);
    let run = testing::transform::<parsed>().run(json!([{"text": "7"}, {"text": "x"}, {"text": "0"}])).unwrap();
    assert_eq!((run.rows, run.rejected), (json!([{"n": 7}]), vec![(1, "invalid digit found in string".into())]));
}

#[test]
fn a_refused_row_leaves_nothing_behind() {
    let rows = json!([{"text": "a;b"}, {"text": "c;bad"}, {"text": null}, {"text": "d"}, {"text": "bad"}]);
    let run = testing::transform::<halves>().run(rows).unwrap();
    assert_eq!(run.rows, json!([{"text": "a"}, {"text": "b"}, {"text": "d"}]));
    let reasons = [(1, "a bad part".to_owned()), (2, "column `text` is null".to_owned()), (4, "a bad part".to_owned())];
    assert_eq!(run.rejected, reasons);
}

/// Parameters may have the names of the generated code's variables.
#[transform]
fn out(rows: Number, context: &Context) -> Number {
    Number { n: rows.n + context.batch as i64 }
}

#[test]
fn a_function_may_have_any_name_and_takes_no_config_unless_it_says_so() {
    assert_eq!(testing::transform::<out>().run(json!([{"n": 1}])).unwrap().rows, json!([{"n": 2}]));
    let error = testing::transform::<out>().config(json!({"x": 1})).run(json!([])).unwrap_err();
    assert_eq!(error, Error::Config("this plugin takes no config".into()));
}

#[derive(Row)]
struct User<'a> {
    user: &'a str,
}

#[derive(Row)]
struct Seen<'a> {
    last: Option<&'a str>,
    count: i64,
}

#[derive(Row)]
struct Said<'a> {
    user: &'a str,
    text: &'a str,
}

/// Emits each text with the previous one, removes users who send `bye` and rejects those who send `bad`.
#[update]
fn remember<'a>(
    key: User,
    texts: Rows<'a, Text>,
    state: Option<Seen<'a>>,
    context: &Context,
    out: &mut Out<Said>,
) -> Result<Option<Seen<'a>>, String> {
    let mut state = state.unwrap_or(Seen { last: None, count: 0 });
    for text in texts {
        out.push(Said { user: key.user, text: state.last.unwrap_or("-") });
        match text.text {
            "bye" => return Ok(None),
            "bad" => return Err(format!("{} is bad", key.user)),
            text => state = Seen { last: Some(text), count: state.count + 1 },
        }
    }
    if context.timed_out {
        out.push(Said { user: key.user, text: "timed out" });
    }
    Ok(Some(state))
}

#[test]
fn a_state_is_kept_until_it_is_dropped_or_times_out() {
    let mut test = testing::update::<remember>().key("user text");
    let first = json!([
        {"user": "ann", "text": "a"}, {"user": "bob", "text": "x"}, {"user": "ann", "text": null}, {"user": "ann", "text": "b"}
    ]);
    let run = test.run(first).unwrap();
    assert_eq!(
        run.rows,
        json!([{"user": "ann", "text": "-"}, {"user": "ann", "text": "a"}, {"user": "bob", "text": "-"}])
    );
    assert_eq!(run.rejected, [(1, "column `text` is null".to_owned())]);

    let second = json!([{"user": "bob", "text": "y"}, {"user": "bob", "text": "bad"}, {"user": "ann", "text": "bye"}]);
    let run = test.run(second).unwrap();
    assert_eq!(run.rows, json!([{"user": "ann", "text": "b"}]));
    assert_eq!(run.rejected, [(0, "bob is bad".to_owned()), (1, "bob is bad".to_owned())]);
    assert_eq!(test.states(), json!([{"user": "bob", "last": "x", "count": 1}]));

    assert_eq!(test.time_out(json!({"user": "bob"})).unwrap().rows, json!([{"user": "bob", "text": "timed out"}]));
    assert_eq!(test.states(), json!([]));
}

/// Emits the number of rows of a group, as that many rows.
#[update]
fn repeat(rows: Rows, out: &mut KeyedOut<Number>) {
    (0..rows.len() as i64).for_each(|n| out.push(Number { n }));
}

#[test]
fn keys_of_any_type_come_back_with_each_row() {
    let mut test = testing::update::<repeat>().key("a text, b bool, c float64");
    let (one, two) = (json!({"a": "x", "b": true, "c": 1.5}), json!({"a": null, "b": null, "c": null}));
    let rows = test.run(json!([one, two, one])).unwrap().rows;
    let with = |key: &serde_json::Value, n: i64| json!({"a": key["a"], "b": key["b"], "c": key["c"], "n": n});
    assert_eq!(rows, json!([with(&one, 0), with(&one, 1), with(&two, 0)]));
    assert_eq!(test.states(), json!([]));
}

#[derive(Row)]
struct Rung {
    at: Timestamp,
    rows: i64,
}

/// Sets a timer at each `n` seconds. `0` cancels second 4. Below 0 it rejects, together with its earlier timer changes.
#[update]
fn alarms(rows: Rows<Number>, timers: &mut Timers, out: &mut KeyedOut<Rung>) -> Result<(), String> {
    let count = rows.len() as i64;
    timers.due().for_each(|at| out.push(Rung { at, rows: count }));
    for row in rows {
        match row.n {
            ..0 => return Err("below 0".into()),
            0 => timers.cancel(Timestamp(4_000_000)),
            n => timers.set(Timestamp(n * 1_000_000)),
        }
    }
    Ok(())
}

#[test]
fn a_timer_calls_its_key_once_when_its_time_has_come() {
    let mut test = testing::update::<alarms>().key("k text");
    let rung = |k: &str, at: i64, rows: i64| json!({"k": k, "at": at * 1_000_000, "rows": rows});
    let row = |k: &str, n: i64| json!({"k": k, "n": n});
    // One timer in the past, which is due in the next batch; one set twice; one of a rejected key.
    let first = json!([row("a", 3), row("a", 0), row("a", 1), row("a", 3), row("b", 4), row("c", 2), row("c", -1)]);
    assert_eq!(test.run(first).unwrap().rows, json!([]));
    assert_eq!(test.run(json!([row("a", 2)])).unwrap().rows, json!([rung("a", 1, 1)]));
    let third = test.run(json!([row("b", 0)])).unwrap();
    assert_eq!(third.rows, json!([rung("a", 2, 0), rung("a", 3, 0)]));
    assert_eq!(test.run(json!([])).unwrap().rows, json!([]), "second 4 of b was cancelled");

    test.run(json!([row("a", 9)])).unwrap();
    test.watermark(Timestamp(8_999_999));
    assert_eq!(test.run(json!([])).unwrap().rows, json!([]), "the batch time no longer counts");
    test.watermark(Timestamp(9_000_000));
    assert_eq!(test.run(json!([])).unwrap().rows, json!([rung("a", 9, 0)]));
}

#[derive(Row)]
struct Summary<'a> {
    user: &'a str,
    texts: i64,
    longest: Option<&'a str>,
    sum: i64,
}

/// Counts and sums. Rejects users with the name `nobody`.
#[cogroup]
fn summary<'a>(key: User<'a>, texts: Rows<'a, Text>, numbers: Rows<Number>) -> Result<Option<Summary<'a>>, String> {
    if key.user == "nobody" {
        return Err("nobody".into());
    }
    let sum = numbers.map(|number| number.n).sum();
    let count = texts.len() as i64;
    let longest = texts.map(|text| text.text).max_by_key(|text| text.len());
    Ok((sum != 0).then_some(Summary { user: key.user, texts: count, longest, sum }))
}

#[test]
fn a_cogroup_sees_the_rows_of_a_key_side_by_side() {
    let test = testing::cogroup::<summary>().key("user text");
    let description = test.describe().unwrap();
    assert_eq!(description.inputs.iter().map(|input| input.fields[0].name.as_str()).collect::<Vec<_>>(), ["text", "n"]);
    let text = |user: &str, text: Option<&str>| json!({"user": user, "text": text});
    let number = |user: &str, n: Option<i64>| json!({"user": user, "n": n});
    let texts = json!([
        text("ann", Some("a")),
        text("nobody", None),
        text("ann", None),
        text("nobody", Some("x")),
        text("ann", Some("bc"))
    ]);
    let numbers =
        json!([number("bob", Some(7)), number("nobody", Some(1)), number("ann", None), number("ann", Some(2))]);
    let run = test.run(json!([texts, numbers])).unwrap();
    assert_eq!(
        run.rows,
        json!([{"user": "ann", "texts": 2, "longest": "bc", "sum": 2}, {"user": "bob", "texts": 0, "longest": null, "sum": 7}])
    );
    // Sorted by key: ann (3 texts, 2 numbers), nobody (2 texts, 1 number), bob (1 number).
    let null = |column: &str| format!("column `{column}` is null");
    let nobody = || "nobody".to_owned();
    assert_eq!(run.rejected, [(1, null("text")), (3, null("text")), (4, nobody()), (5, null("n")), (7, nobody())]);
}

#[derive(Row)]
struct Counts {
    left: i64,
    right: i64,
}

/// Accepts any inputs and any key.
#[cogroup]
fn counts(left: Rows, right: Rows, out: &mut KeyedOut<Counts>) {
    out.push(Counts { left: left.len() as i64, right: right.len() as i64 });
}

#[test]
fn a_cogroup_may_count_rows_of_any_key() {
    let key = |a: i64, b: Option<bool>| json!({"a": a, "b": b});
    let counted =
        |a: i64, b: Option<bool>, left: i64, right: i64| json!({"a": a, "b": b, "left": left, "right": right});
    let test = testing::cogroup::<counts>().key("a int64, b bool");
    let run = test.run(json!([[key(1, None), key(1, None)], [key(1, Some(true)), key(1, None)]])).unwrap();
    assert_eq!(run.rows, json!([counted(1, None, 2, 1), counted(1, Some(true), 0, 1)]));
}

#[derive(Row)]
struct OldNames<'a> {
    first: &'a str,
    last: Option<&'a str>,
}

#[derive(Row)]
struct OldCount {
    count: i64,
}

#[derive(Row)]
struct Named<'a> {
    name: &'a str,
    count: Option<i64>,
}

impl<'a> TryFrom<OldNames<'a>> for Named<'a> {
    type Error = String;

    fn try_from(old: OldNames<'a>) -> Result<Named<'a>, String> {
        match old.last {
            Some(last) => Ok(Named { name: last, count: None }),
            None => Err(format!("{} has no last name", old.first)),
        }
    }
}

impl From<OldCount> for Named<'_> {
    fn from(old: OldCount) -> Self {
        Named { name: "nobody", count: Some(old.count) }
    }
}

/// Keeps its state.
#[update(config_schema = "{}", migrates_from = [OldNames, OldCount])]
fn names<'a>(_rows: Rows, state: Option<Named<'a>>) -> Option<Named<'a>> {
    state
}

#[test]
fn states_of_other_versions_are_taken_over_by_their_columns() {
    let test = testing::update::<names>();
    let made = test.migrate::<OldNames>("0.1.0", json!([{"first": "A", "last": "B"}, {"first": "", "last": "ü"}]));
    assert_eq!(made.unwrap(), json!([{"name": "B", "count": null}, {"name": "ü", "count": null}]));
    let made = test.migrate::<OldCount>("0.2.0", json!([{"count": 3}]));
    assert_eq!(made.unwrap(), json!([{"name": "nobody", "count": 3}]));
    let error = test.migrate::<OldNames>("0.1.0", json!([{"first": "A", "last": null}])).unwrap_err();
    assert_eq!(error, Error::Internal("A has no last name".into()));
    let error = test.migrate::<Number>("0.3.0", json!([])).unwrap_err();
    let words = "states of version 0.3.0 have the columns (n int64); expected (first text, last text) or (count int64)";
    assert_eq!(error, Error::Internal(words.into()));
}
