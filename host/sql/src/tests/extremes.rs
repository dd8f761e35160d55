//! All functions with extreme arguments: no panic, no excessive memory, no endless loop, and no crash of the process. The functions are the
//! registered ones, so one that a new version of the library adds is tested as well.
//!
//! Each part runs in a separate process, which reports each call before it is made. So if the process exits, or stops responding, the call is known.
//! `MILLSTREAM_SEED` and `MILLSTREAM_CALLS` in the environment select other calls, and more.

use crate::expression::Expression;
use crate::query::Query;
use crate::session::{VisibleNames, state};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use millstream_base::context::BatchContext;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::random::Random;
use millstream_job::spec::SqlLimits;
use millstream_rows::batch::types::{ColumnType, schema_of};
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Maximum time of a call, including planning.
const TIME_MAX: Duration = Duration::from_secs(8);
/// A process without output for this long does not respond.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Maximum resident memory of a process.
const RESIDENT_BYTES_MAX: u64 = 1 << 30;
/// Maximum address space, so that a call that allocates everything ends its process, and not the machine.
const ADDRESSES_BYTES_MAX: u64 = 16 << 30;

const LIMITS: SqlLimits = SqlLimits { memory_bytes_max: 8 << 20, time_max: TIME_MAX };

/// Selects the part that a process tests.
const PART: &str = "MILLSTREAM_EXTREMES";

/// Arguments by kind.
const ARGUMENTS: [&[&str]; 5] = [
    &["i", "f", "t", "b", "y", "at"],
    &[
        "''",
        "'x'",
        "'ä€😀'",
        "'%'",
        "'('",
        "'[a-'",
        "'(a+)+$'",
        "'\\\\1'",
        "'g'",
        "'year'",
        "'day'",
        "'microsecond'",
        "'hex'",
        "'base64'",
        "'sha256'",
        "'Int8'",
        "'America/New_York'",
        "'2026-01-01T00:00:00Z'",
        "'2026-02-30'",
        "'%Y-%m-%d %Q'",
        "repeat('ab ', 30000)",
        "arrow_cast('x', 'Utf8View')",
        "arrow_cast(t, 'LargeUtf8')",
        "arrow_cast(t, 'Dictionary(Int32, Utf8)')",
    ],
    &[
        "null",
        "0",
        "-1",
        "1",
        "2",
        "64",
        "1000000",
        "2147483648",
        "1000000000000",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "0.5",
        "-1.5",
        "1e308",
        "cast('NaN' as double)",
        "cast('-Infinity' as double)",
        "true",
        "cast(1e37 as decimal(38, 0))",
        "arrow_cast(-128, 'Int8')",
        "cast(i as real)",
    ],
    &[
        "interval '1 nanosecond'",
        "interval '1 day'",
        "interval '-1 month'",
        "interval '2000000 year'",
        "interval '0 day'",
        "date '2026-01-31'",
        "date '0001-01-01'",
        "time '23:59:59'",
        "timestamp '2026-01-01 00:00:00'",
        "arrow_cast(2147483647, 'Date32')",
        "arrow_cast(9223372036854775807, 'Date64')",
        "arrow_cast(-9223372036854775808, 'Timestamp(Second, None)')",
        "arrow_cast(9223372036854775807, 'Timestamp(Nanosecond, None)')",
        "arrow_cast(-9223372036854775808, 'Duration(Second)')",
    ],
    &[
        "make_array()",
        "make_array(i, 1)",
        "make_array(i, null, -9223372036854775808)",
        "make_array(f, null)",
        "make_array(1.5, cast('NaN' as double))",
        "make_array(t, '')",
        "make_array(make_array(t))",
        "named_struct('a', i, 'b', t)",
        "map(make_array('a'), make_array(i))",
    ],
];
const COLUMNS: &[&str] = ARGUMENTS[0];
/// Arguments of higher-order functions.
const LAMBDAS: &[&str] = &["x -> x", "x -> x + 9223372036854775807", "(x, y) -> x > y", "x -> repeat(x, 1000000)"];

fn rows() -> RecordBatch {
    let long = "ab(".repeat(20_000);
    let schema = schema_of(&[
        ("i".into(), ColumnType::Int64),
        ("f".into(), ColumnType::Float64),
        ("t".into(), ColumnType::Text),
        ("b".into(), ColumnType::Bool),
        ("y".into(), ColumnType::Binary),
        ("at".into(), ColumnType::Timestamp),
    ]);
    let complete =
        [None, Some(0), Some(-1), Some(i64::MIN), Some(i64::MAX), Some(64), Some(1_000_000_000_000), Some(3)];
    let floats = [
        None,
        Some(-0.0),
        Some(f64::NAN),
        Some(f64::NEG_INFINITY),
        Some(f64::INFINITY),
        Some(1e308),
        Some(5e-324),
        Some(1e16),
    ];
    let strings = [
        None,
        Some(""),
        Some("ä€😀"),
        Some("(a+)+$"),
        Some("%Y-%Q"),
        Some("P1Y"),
        Some(&*long),
        Some("-9223372036854775808"),
    ];
    let bytes: [Option<&[u8]>; 8] =
        [None, Some(b""), Some(b"\xff\xfe"), Some(b"a"), Some(&[0; 64]), Some(b"zz"), Some(b"%"), Some(b"1")];
    let times =
        [None, Some(0), Some(i64::MIN), Some(i64::MAX), Some(-1), Some(253_402_300_800_000_000), Some(1), Some(2)];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(complete.to_vec())),
        Arc::new(Float64Array::from(floats.to_vec())),
        Arc::new(StringArray::from(strings.to_vec())),
        Arc::new(BooleanArray::from(vec![None, Some(true), Some(false), None, Some(true), Some(true), None, None])),
        Arc::new(BinaryArray::from(bytes.to_vec())),
        Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn from_environment(name: &str) -> Option<u64> {
    env::var(name).ok().map(|number| number.parse().unwrap())
}

/// One part, in its own process.
struct ExtremesRun {
    random: Random,
    /// Calls per function and number of arguments.
    calls: usize,
    rows: RecordBatch,
    /// Number of results of each function.
    results: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl ExtremesRun {
    fn new() -> ExtremesRun {
        let random = Random(from_environment("MILLSTREAM_SEED").unwrap_or(11));
        let calls = from_environment("MILLSTREAM_CALLS").unwrap_or(10) as usize;
        ExtremesRun { random, calls, rows: rows(), results: BTreeMap::new(), wrong: Vec::new() }
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.random.below(from.len() as u64) as usize]
    }

    fn argument(&mut self) -> &'static str {
        let kind = self.random.below(ARGUMENTS.len() as u64) as usize;
        self.pick(ARGUMENTS[kind])
    }

    /// Returns arguments of any kind or of one, or previously accepted ones with one of them changed.
    fn arguments(&mut self, count: usize, taken: &[Vec<&'static str>]) -> Vec<&'static str> {
        let mut given: Vec<&str> = (0..count).map(|_| self.argument()).collect();
        match self.random.below(4) {
            0 => {
                let kind = ARGUMENTS[self.random.below(ARGUMENTS.len() as u64) as usize];
                given = (0..count).map(|_| self.pick(kind)).collect();
            }
            1 | 2 if count > 0 && !taken.is_empty() => {
                let index = self.random.below(count as u64) as usize;
                let other = given[index];
                given.clone_from(&taken[self.random.below(taken.len() as u64) as usize]);
                given[index] = other;
            }
            _ => {}
        }
        given
    }

    /// Tries one call. Returns whether its kind is computed.
    fn one(
        &mut self,
        name: &str,
        text: &str,
        work: impl FnOnce(BatchContext, &RecordBatch) -> Option<FunctionResult>,
    ) -> bool {
        writeln!(std::io::stdout(), "trying {text}").unwrap();
        let began = Instant::now();
        let done = work(BatchContext::new(BatchId(1), BatchTime(0)), &self.rows);
        let mut wrong = |message: String| self.wrong.push(format!("{text}: {message}"));
        if began.elapsed() > TIME_MAX {
            wrong(format!("took {:?}", began.elapsed()));
        }
        assert!(resident_bytes() < RESIDENT_BYTES_MAX, "{text} took {} bytes", resident_bytes());
        let count = self.results.entry(name.to_owned()).or_default();
        let planned = done.is_some();
        match done {
            Some(Ok(())) => *count += 1,
            Some(Err(message)) if message.contains("bug in Millstream") => wrong(message),
            _ => {}
        }
        planned
    }

    /// Tries an expression over the rows, and over none.
    fn expression(&mut self, name: &str, text: &str) -> bool {
        self.one(name, text, |context, rows| {
            let made = match Expression::new(text, &rows.schema()) {
                Ok(made) => made,
                Err(error) => return rejection(&error.to_string()),
            };
            let compute = |rows: &RecordBatch| match made.evaluate_within(context, rows, LIMITS) {
                Ok(values) if values.len() == rows.num_rows() => Ok(()),
                Ok(_) => Err("a bug in Millstream: a value for each row is missing".into()),
                Err(error) => Err(error.to_string()),
            };
            Some(any_result(compute, rows))
        })
    }

    fn query(&mut self, name: &str, text: &str) -> bool {
        self.one(name, text, |context, rows| {
            let made = Query::new(text, vec![("rows".into(), rows.schema())], &[], &[]);
            let prepared = match made.and_then(|query| query.prepare("made", &[], LIMITS)) {
                Ok(prepared) => prepared,
                Err(error) => return rejection(&error.to_string()),
            };
            let run = |rows: &RecordBatch| {
                prepared.run(context, vec![rows.clone()]).map(drop).map_err(|error| error.to_string())
            };
            Some(any_result(run, rows))
        })
    }

    /// Checks that most functions were computed; otherwise the test would not test them.
    fn check(self, least: usize) {
        let never: BTreeSet<&str> =
            self.results.iter().filter(|(_, results)| **results == 0).map(|(name, _)| name.as_str()).collect();
        let (all, computed) = (self.results.len(), self.results.len() - never.len());
        assert!(self.wrong.is_empty(), "{} are wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        assert!(computed >= least, "only {computed} of {all} functions were computed, never {never:?}");
        writeln!(std::io::stdout(), "computed {computed} of {all}, never {never:?}").unwrap();
    }
}

type FunctionResult = Result<(), String>;

/// Returns the result for all rows, for none, or for each row alone if all rows together have no result.
fn any_result(compute: impl Fn(&RecordBatch) -> FunctionResult, rows: &RecordBatch) -> FunctionResult {
    let (none, mut results) = (compute(&rows.slice(0, 0)), vec![compute(rows)]);
    if results.iter().any(FunctionResult::is_err) {
        results.extend((0..rows.num_rows()).map(|row| compute(&rows.slice(row, 1))));
    }
    let internal =
        |result: &FunctionResult| result.as_ref().is_err_and(|message| message.contains("bug in Millstream"));
    if let Some(internal_error) = results.iter().chain([&none]).find(|result| internal(result)) {
        return internal_error.clone();
    }
    // Without rows nearly everything has a result.
    let first_ok = results.iter().position(FunctionResult::is_ok).unwrap_or(0);
    results.swap_remove(first_ok)
}

/// Returns what planning rejected. An internal error does not count as a rejection.
fn rejection(message: &str) -> Option<FunctionResult> {
    message.contains("bug in Millstream").then(|| Err(message.to_owned()))
}

fn scalar_functions() {
    let mut trial = ExtremesRun::new();
    let names: BTreeSet<String> = VisibleNames::new(BTreeMap::new(), &[]).scalar_names().collect();
    for name in names {
        trial.expression(&name, &format!("{name}()"));
        for argument in ARGUMENTS.concat() {
            trial.expression(&name, &format!("{name}({argument})"));
        }
        for count in 2..=4 {
            let mut taken = Vec::new();
            for _ in 0..2 * trial.calls {
                let given = trial.arguments(count, &taken);
                if trial.expression(&name, &format!("{name}({})", given.join(", "))) {
                    taken.push(given);
                }
            }
        }
    }
    trial.check(200);
}

fn operators() {
    let mut trial = ExtremesRun::new();
    let between = [
        "+",
        "-",
        "*",
        "/",
        "%",
        "<<",
        ">>",
        "&",
        "|",
        "#",
        "||",
        "=",
        "<",
        "is distinct from",
        "like",
        "~",
        "!~*",
        "similar to",
        "and",
        "@>",
        "at time zone",
    ];
    for operator in between {
        for _ in 0..10 * trial.calls {
            let text = format!("{} {operator} {}", trial.argument(), trial.argument());
            trial.expression(operator, &text);
        }
    }
    let kinds = [
        "bigint",
        "int",
        "smallint unsigned",
        "real",
        "double",
        "text",
        "boolean",
        "timestamp",
        "date",
        "time",
        "decimal(9, 2)",
        "decimal(38, 38)",
        "interval",
        "bytea",
    ];
    for kind in kinds {
        for _ in 0..2 * trial.calls {
            let text = format!("cast({} as {kind})", trial.argument());
            trial.expression(kind, &text);
        }
    }
    for form in [
        "-a",
        "not a",
        "a between b and c",
        "a in (b, c)",
        "a[b]",
        "a[b:c]",
        "case a when b then c end",
        "extract(century from a)",
    ] {
        for _ in 0..4 * trial.calls {
            let of = |trial: &mut ExtremesRun, character: char| (character, trial.argument());
            let given = [of(&mut trial, 'a'), of(&mut trial, 'b'), of(&mut trial, 'c')];
            let mut text = String::new();
            let mut last = ' ';
            for (index, character) in form.char_indices() {
                let next = form[index + character.len_utf8()..].chars().next().unwrap_or(' ');
                let alone = !last.is_alphanumeric() && !next.is_alphanumeric();
                match given.iter().find(|(name, _)| alone && *name == character) {
                    Some((_, argument)) => text.push_str(&format!("({argument})")),
                    None => text.push(character),
                }
                last = character;
            }
            trial.expression(form, &text);
        }
    }
    trial.check(35);
}

fn functions_of_functions() {
    let mut trial = ExtremesRun::new();
    let names: BTreeSet<&String> = state().higher_order_functions().keys().collect();
    for name in names {
        for count in 1..=3 {
            for _ in 0..2 * trial.calls {
                let mut arguments: Vec<&str> = (0..count).map(|_| trial.argument()).collect();
                arguments.insert(trial.random.below(count as u64 + 1) as usize, trial.pick(LAMBDAS));
                let text = format!("{name}({})", arguments.join(", "));
                trial.expression(name, &text);
            }
        }
    }
    trial.check(0);
}

fn aggregates_and_window_functions() {
    let mut trial = ExtremesRun::new();
    let names: BTreeSet<&String> =
        state().aggregate_functions().keys().chain(state().window_functions().keys()).collect();
    let frames = [
        "rows between 1 preceding and current row",
        "rows between current row and 2 following",
        "rows between 9223372036854775807 preceding and 18446744073709551615 following",
        "range between unbounded preceding and 1 following",
        "range between 9223372036854775807 preceding and 9223372036854775807 following",
        "groups between 1 preceding and 1 following",
    ];
    for name in names {
        for count in 0..=3 {
            let mut taken = Vec::new();
            for _ in 0..2 * trial.calls {
                let given = trial.arguments(count, &taken);
                let call = format!("{name}({})", given.join(", "));
                let (column, frame) = (trial.pick(COLUMNS), trial.pick(&frames));
                let text = match trial.random.below(8) {
                    0 => format!("select {call} as x from rows"),
                    1 => format!("select {call} as x from rows group by {column}"),
                    2 => format!("select {call} over (partition by b order by {column}) as x from rows"),
                    3 => format!("select {call} within group (order by {column}) as x from rows"),
                    4 => format!("select {call} filter (where b) as x from rows group by i"),
                    5 => format!("select {} as x from rows group by b", call.replacen('(', "(distinct ", 1)),
                    6 => format!("select {call} ignore nulls over (order by {column} {frame}) as x from rows"),
                    _ => format!("select {call} over (order by {column} {frame}) as x from rows"),
                };
                if trial.query(name, &text) {
                    taken.push(given);
                }
            }
        }
    }
    trial.check(40);
}

const PARTS: [(&str, fn()); 4] = [
    ("scalar functions", scalar_functions),
    ("operators", operators),
    ("functions of functions", functions_of_functions),
    ("aggregates and window functions", aggregates_and_window_functions),
];

/// Tests a part, in its own process.
fn tried(part: &str) {
    let limit = libc::rlimit { rlim_cur: ADDRESSES_BYTES_MAX, rlim_max: ADDRESSES_BYTES_MAX };
    // SAFETY: the call only reads the two numbers.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let (_, work) = PARTS.iter().find(|(name, _)| *name == part).unwrap();
    work();
}

#[test]
fn extreme_arguments_break_nothing() {
    if let Ok(part) = env::var(PART) {
        return tried(&part);
    }
    for (part, _) in PARTS {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "sql::tests::extremes::extreme_arguments_break_nothing", "--nocapture"])
            .env(PART, part)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let errors = BufReader::new(process.stderr.take().unwrap());
        let errors = std::thread::spawn(move || errors.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        let mut last = String::new();
        loop {
            match lines.recv_timeout(IDLE_MAX) {
                Ok(line) if line.starts_with("trying ") => last = line,
                Ok(line) if line.starts_with("computed ") => println!("{part}: {line}"),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    process.kill().unwrap();
                    panic!("{part}: nothing for {IDLE_MAX:?} after {last}");
                }
            }
        }
        let status = process.wait().unwrap();
        let errors = errors.join().unwrap();
        assert!(status.success(), "{part}: {status} after {last}\n{errors}");
    }
}
