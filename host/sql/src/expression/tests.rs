use super::*;
use crate::limits::SQL_DEPTH_MAX;
use arrow::array::{Array as _, AsArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_rows::batch::types::{ColumnType, schema_of};

fn columns() -> SchemaRef {
    let column = |name: &str, kind| (name.to_owned(), kind);
    schema_of(&[
        column("word", ColumnType::Text),
        column("Word", ColumnType::Text),
        column("n", ColumnType::Int64),
        column("price", ColumnType::Float64),
        column("at", ColumnType::Timestamp),
        column("order-id", ColumnType::Int64),
    ])
}

fn rows() -> RecordBatch {
    let times = TimestampMicrosecondArray::from(vec![0, 60_000_000]).with_timezone("UTC");
    RecordBatch::try_new(
        columns(),
        vec![
            Arc::new(StringArray::from(vec![Some("a"), None])),
            Arc::new(StringArray::from(vec!["A", "B"])),
            Arc::new(Int64Array::from(vec![4, 0])),
            Arc::new(Float64Array::from(vec![0.5, 2.0])),
            Arc::new(times),
            Arc::new(Int64Array::from(vec![7, 8])),
        ],
    )
    .unwrap()
}

/// 1970-01-03 00:00:01
fn context() -> BatchContext {
    BatchContext::new(BatchId(7), BatchTime(2 * 86_400_000_000 + 1_000_000))
}

fn values(text: &str) -> ArrayRef {
    let made = Expression::new(text, &columns()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let values = made.evaluate(context(), &rows()).unwrap();
    assert_eq!(values.data_type(), made.data_type(), "{text}");
    values
}

fn mistake_in(text: &str) -> String {
    Expression::new(text, &columns()).unwrap_err().message
}

#[test]
fn names_count_as_they_are_written() {
    assert_eq!(values("Word").as_string::<i32>().value(0), "A");
    assert_eq!(values("word").as_string::<i32>().value(0), "a");
    assert_eq!(values("\"Word\" || 'x'").as_string::<i32>().value(1), "Bx");
    assert_eq!(values("UPPER(word)").as_string::<i32>().value(0), "A");
    assert_eq!(values("order-id").as_primitive::<Int64Type>().value(1), 8);
    assert_eq!(values("\"order-id\" + 1").as_primitive::<Int64Type>().value(1), 9);
}

#[test]
fn a_plain_column_is_not_copied() {
    let rows = rows();
    let made = Expression::new("price", &columns()).unwrap().evaluate(context(), &rows).unwrap();
    assert!(Arc::ptr_eq(&made, rows.column(3)));
}

#[test]
fn functions_that_stand_for_others_are_computed() {
    for text in [
        "coalesce(word, 'none')",
        "ifnull(word, 'none')",
        "nvl2(word, word, 'none')",
        "arrow_cast(ifnull(word, 'none'), 'Utf8')",
    ] {
        let made = values(text);
        assert_eq!((made.as_string::<i32>().value(0), made.as_string::<i32>().value(1)), ("a", "none"), "{text}");
    }
    assert!(Expression::new("coalesce(n, 0) > 0", &columns()).unwrap().data_type() == &DataType::Boolean);
}

#[test]
fn values_come_in_our_types() {
    assert_eq!(values("cast(n as int)").as_primitive::<Int64Type>().values(), &[4, 0]);
    assert_eq!(values("cast(price as decimal(10, 2))").as_primitive::<Float64Type>().values(), &[0.5, 2.0]);
    assert_eq!(values("n * price").as_primitive::<Float64Type>().values(), &[2.0, 0.0]);
    assert_eq!(values("date_trunc('day', at)").as_primitive::<TimestampMicrosecondType>().values(), &[0, 0]);
    assert_eq!(values("to_timestamp(n)").as_primitive::<TimestampMicrosecondType>().values(), &[4_000_000, 0]);
    assert_eq!(values("date '1970-01-02'").as_primitive::<TimestampMicrosecondType>().value(0), 86_400_000_000);
    let long = values("at + interval '1 second'");
    assert_eq!(long.as_primitive::<TimestampMicrosecondType>().values(), &[1_000_000, 61_000_000]);
    assert!(!values("word = 'a' and n > 3").as_boolean().is_null(0));
    assert!(values("word = 'a'").as_boolean().is_null(1));
    assert_eq!(values("length(word)").as_primitive::<Int64Type>().value(0), 1);
}

#[test]
fn now_is_the_batch_time() {
    let now = context().time.0;
    for text in ["now()", "current_timestamp", "current_timestamp()"] {
        assert_eq!(values(text).as_primitive::<TimestampMicrosecondType>().values(), &[now, now], "{text}");
    }
    let today = values("current_date");
    assert_eq!(today.as_primitive::<TimestampMicrosecondType>().value(0), 2 * 86_400_000_000);
    assert_eq!(values("current_time()").as_string::<i32>().value(0), "00:00:01");
    let aged = values("at < now() - interval '2 days'");
    assert!(aged.as_boolean().value(0) && !aged.as_boolean().value(1));
}

#[test]
fn mistakes_are_pointed_at() {
    let wrong = [
        (
            "n > 3 and wrod = 'a'",
            "unknown column `wrod`; available: word, Word, n, price, at, order-id; did you mean `word`?\n  \
             SQL | n > 3 and wrod = 'a'\n      |           ^^^^",
        ),
        (
            "n > 3 and\n  uper(word) = 'A'",
            "unknown function `uper`; did you mean `upper`?\n  line 2 |   uper(word) = 'A'\n         |   ^",
        ),
        ("n > ", "this is not SQL: expected: an expression, found: EOF\n  SQL | n > \n      |    ^"),
        ("n >> > 1", "this is not SQL: expected: an expression, found: >\n  SQL | n >> > 1\n      |      ^"),
        ("random() > 0.5", "`random()` would give another result in a replay"),
        ("uuid()", "`uuid()` would give another result in a replay"),
        ("sum(n) > 3", "an aggregate is not allowed here, as it needs more than one row"),
        ("row_number() over ()", "a window function is not allowed here"),
        ("n in (select 1)", "a subquery is not allowed here"),
        ("n as m", "a name with `as` is not allowed here"),
        ("n > 1; drop table x", "this is not SQL"),
        (
            "n + order-id",
            "unknown column `order`; available: word, Word, n, price, at, order-id; write \"order-id\" in double quotes\n",
        ),
        (
            "n + upper(word, n)",
            "Function 'upper' expects 1 arguments but received 2\n  SQL | n + upper(word, n)\n      |     ^^^^^",
        ),
    ];
    for (text, words) in wrong {
        let message = mistake_in(text);
        assert!(message.starts_with(words) || (words.len() < 40 && message.contains(words)), "{text}: {message}");
    }
}

#[test]
fn types_that_do_not_fit_are_refused_at_once() {
    for (text, words) in [
        ("word + n", "text + int64 cannot be computed"),
        ("at > 5", "timestamp > int64 cannot be compared"),
        ("not word", "text"),
        ("price and n", "float64"),
    ] {
        let message = mistake_in(text);
        assert!(message.contains(words) && message.contains('^'), "{text}: {message}");
    }
}

#[test]
fn what_cannot_be_computed_names_expression_and_batch() {
    let failing = [
        ("1 / n", "division by zero"),
        ("n % 0 = 1", "division by zero"),
        ("(n + 1) * 9223372036854775807", "verflow"),
        ("cast(Word as bigint)", "A"),
    ];
    for (text, words) in failing {
        let error = Expression::new(text, &columns()).unwrap().evaluate(context(), &rows()).unwrap_err();
        assert!(error.message.starts_with("batch 7: `"), "{text}: {error}");
        assert!(error.message.contains(words), "{text}: {error}");
    }
}

#[test]
fn lists_name_their_columns() {
    let list = |text: &str| {
        let (schema, made) = Expression::list(text, &columns()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(schema.fields().len(), made.len());
        millstream_rows::batch::types::describe(&schema)
    };
    assert_eq!(list("word, n * 2 as double"), "word text, double int64");
    assert_eq!(list("Word, price p"), "Word text, p float64");
    assert_eq!(list("*, n > 1"), format!("{}, n > Int64(1) bool", millstream_rows::batch::types::describe(&columns())));
    assert_eq!(list("* except (word, \"order-id\", at)"), "Word text, n int64, price float64");
    assert_eq!(list("* exclude (word, at, price, \"order-id\")"), "Word text, n int64");
    for (text, words) in [
        ("word from words", "write only what is between `select` and `from`"),
        ("* except (wrod)", "unknown column `wrod`"),
        ("word.*", "name the columns"),
        ("", "this is not SQL"),
    ] {
        let message = Expression::list(text, &columns()).unwrap_err().message;
        assert!(message.contains(words), "{text}: {message}");
    }
}

#[test]
fn texts_that_would_break_the_stack_are_refused() {
    let deep = format!("{}n{}", "(".repeat(60), ")".repeat(60));
    assert!(mistake_in(&deep).starts_with("it is nested too deeply"), "{}", mistake_in(&deep));
    assert!(mistake_in(&"n + ".repeat(500)).contains("operators"));
    assert!(mistake_in(&"n".repeat(70_000)).contains("bytes"));
    let long = format!("{}n", "n + ".repeat(SQL_DEPTH_MAX - 1));
    assert_eq!(values(&long).as_primitive::<Int64Type>().value(0), 4 * SQL_DEPTH_MAX as i64);
    let listed = format!("n in ({}4)", "0 - 1, ".repeat(5_000));
    assert!(values(&listed).as_boolean().value(0));
}
