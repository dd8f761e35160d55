//! The Python package in an environment of its own: the tests in `tests/python` that are written in Python.

use millstream_tests::{Process, packages_of_python, python_with_wheel};
use std::process::Command;
use std::time::Duration;

const TAKES_AT_MOST: Duration = Duration::from_secs(300);

/// Runs the tests of one file.
#[track_caller]
fn went_well(file: &str) {
    goes_well(python_with_wheel(), file);
}

#[track_caller]
fn goes_well(mut python: Command, file: &str) {
    let ended = Process::start(python.args(["-m", "unittest", file])).wait_within(TAKES_AT_MOST);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nOK"), "{}", ended.stderr);
}

#[test]
fn plugins_work_on_tables_of_all_libraries() {
    went_well("test_plugins");
}

#[test]
fn plugins_are_called_in_processes_of_all_kinds() {
    went_well("test_processes");
}

#[test]
fn compiled_code_is_kept_and_made_once() {
    went_well("test_cache");
}

#[test]
fn jobs_are_run_and_read() {
    went_well("test_jobs");
}

#[test]
fn the_page_tells_what_is_so() {
    went_well("test_docs");
}

#[test]
fn the_notebook_gives_what_stands_in_it() {
    let mut python = python_with_wheel();
    python.env("PYTHONPATH", packages_of_python("notebook"));
    goes_well(python, "test_notebook");
}
