//! SQL over the checkpoint of a job, in a process with limits.

use super::command::{self, Order};
use millstream_base::error::{Error, Result};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The time limit of a query.
const TIME_MAX: Duration = Duration::from_secs(15);
/// Maximum bytes of its result.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Maximum bytes of a query.
pub const SQL_BYTES_MAX: usize = 8 << 10;
/// One query at a time. More are rejected.
static RUNNING: Semaphore = Semaphore::const_new(1);

/// Returns the rows of a query over the state of a job, as JSON lines. `sets`: values that replace those of its file,
/// as `--set` does.
pub async fn state(job: PathBuf, sets: Vec<OsString>, sql: String) -> Result<String> {
    let Ok(permit) = RUNNING.try_acquire() else {
        return Err(Error::environment("another query is running; retry when it has ended"));
    };
    let queried = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        query_socket(&job, sets, &sql)
    });
    queried.await.map_err(Error::environment)?
}

/// Returns the body of a response with these JSON lines as `rows`, and the names of their columns in the query's order
/// as `columns`. The lines are copied and not parsed, so numbers keep all their digits.
pub fn to_json(lines: &str) -> String {
    let names = lines
        .lines()
        .next()
        .and_then(|first| serde_json::from_str(first).ok())
        .map_or_else(Vec::new, |Names(names)| names);
    let names: Vec<String> = names.into_iter().map(|name| serde_json::Value::from(name).to_string()).collect();
    let rows: Vec<&str> = lines.lines().collect();
    format!("{{\"columns\":[{}],\"rows\":[{}]}}", names.join(","), rows.join(","))
}

/// The keys of an object, in their order.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Names, D::Error> {
        deserializer.deserialize_map(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            names.push(name);
        }
        Ok(Names(names))
    }
}

fn query_socket(job: &Path, sets: Vec<OsString>, sql: &str) -> Result<String> {
    let sql = OsString::from(format!("--sql={sql}"));
    let mut arguments: Vec<OsString> = vec!["state".into(), "--json".into(), sql];
    arguments.extend(sets);
    arguments.extend(["--".into(), job.as_os_str().to_owned()]);
    let order = Order { arguments, time_max: TIME_MAX, output_bytes_max: OUTPUT_BYTES_MAX };
    let outcome = command::run(&order)?;
    if outcome.too_much {
        return Err(Error::job("the result is larger than 1 MiB; add `limit 100` to the query"));
    }
    match outcome.status {
        Some(status) if status.success() => Ok(outcome.output),
        Some(_) => Err(Error::job(outcome.errors)),
        None => Err(Error::job(format!("the query did not finish within {TIME_MAX:?}; make it read less"))),
    }
}

#[cfg(test)]
mod tests {
    use super::to_json;

    #[test]
    fn an_answer_keeps_the_order_of_columns_and_all_digits() {
        let lines = "{\"z\":1234567890123456789,\"a\\\"b\":0.10}\n{\"z\":null,\"a\\\"b\":2}\n";
        let expected = r#"{"columns":["z","a\"b"],"rows":[{"z":1234567890123456789,"a\"b":0.10},{"z":null,"a\"b":2}]}"#;
        assert_eq!(to_json(lines), expected);
        assert_eq!(to_json(""), r#"{"columns":[],"rows":[]}"#);
    }
}
