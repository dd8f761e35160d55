//! `millstream test --accept`: writes the actual output to the files of a case.

use super::compare::read_text;
use super::{ExpectedOutcome, OUTPUT, REJECTED, TestCase, compare};
use crate::author::failed;
use millstream_base::error::Result;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes the files that match this result of a case, and returns their paths. Writes none if a job failed that should
/// have emitted rows: that is hardly intended.
pub(super) fn accept(case: &TestCase, result: &Result<()>, out: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut write = |name: &str, text: &str| -> Result<()> {
        let path = case.dir.join(name);
        fs::write(&path, text).map_err(|error| failed("write", &path, &error))?;
        written.push(path);
        Ok(())
    };
    match (&case.expected, result) {
        (ExpectedOutcome::Error(_), Err(error)) => {
            write("expected-error.txt", &format!("{}\n", portable_message(&error.message)))?
        }
        (_, Err(_)) => return Ok(Vec::new()),
        (expected, Ok(())) => {
            let timed = match expected {
                ExpectedOutcome::Rows(lines) => compare::timed_batches(lines),
                _ => BTreeSet::new(),
            };
            write("expected.jsonl", &lines(&read_text(&out.join(OUTPUT))?, &timed))?;
            if let Some(rejected) = &case.rejected {
                let mut got = compare::read_lines(&out.join(REJECTED))?;
                compare::keep_columns_of(rejected, &mut got);
                write("expected-rejected.jsonl", &compare::to_lines(&got))?;
            }
            let error = case.dir.join("expected-error.txt");
            if matches!(expected, ExpectedOutcome::Error(_)) {
                fs::remove_file(&error).map_err(|cause| failed("remove", &error, &cause))?;
            }
        }
    }
    Ok(written)
}

/// Returns what an error says about the plugin, without local paths: a case contains a part of the message.
pub(super) fn portable_message(message: &str) -> &str {
    let starts = [" rejects its ", " failed in ", " returned invalid "];
    let from = starts.iter().filter_map(|start| message.find(start)).min().map_or(0, |at| at + 1);
    message.get(from..).unwrap_or(message).lines().next().unwrap_or_default()
}

/// Returns the lines of a `queue` sink that have rows, with the time only for batches in which it was expected before.
fn lines(output: &str, timed: &BTreeSet<u64>) -> String {
    let mut text = String::new();
    for (batch, line) in (1_u64..).zip(output.lines()) {
        let Some((head, rows)) = line.split_once(",\"rows\":") else { continue };
        if rows == "[]}" {
            continue;
        }
        let has_time = timed.contains(&batch);
        let head = if has_time { head } else { head.split_once(",\"time\":").map_or(head, |(head, _)| head) };
        text.push_str(&format!("{head},\"rows\":{rows}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_with_rows_are_kept_as_they_came() {
        let output = "{\"batch\":1,\"time\":\"T1\",\"rows\":[{\"x\":1.50,\"y\":\",\\\"rows\\\":\"}]}\n{\"batch\":2,\"time\":\"T2\",\"rows\":[]}\n\
                      {\"batch\":3,\"time\":\"T3\",\"rows\":[{\"x\":2}]}\n";
        let expected = "{\"batch\":1,\"rows\":[{\"x\":1.50,\"y\":\",\\\"rows\\\":\"}]}\n{\"batch\":3,\"time\":\"T3\",\"rows\":[{\"x\":2}]}\n";
        assert_eq!(lines(output, &BTreeSet::from([3])), expected);
    }

    #[test]
    fn an_error_is_kept_without_its_place() {
        let message = "/tmp/x/case.toml:2: stage `stage`: plugin a 0.1.0 rejects its config in `describe`: no\n  more";
        assert_eq!(portable_message(message), "rejects its config in `describe`: no");
        assert_eq!(portable_message("no such key"), "no such key");
    }
}
