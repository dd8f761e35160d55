//! The Python package in an environment of its own: the tests in `tests/python` that are written in Python.

use millstream_tests::{Process, packages_of_python, python_with_wheel};
use std::process::Command;
use std::time::Duration;

const TAKES_AT_MOST: Duration = Duration::from_secs(300);

/// Runs the tests of one file.
#[track_caller]
fn run_script_ok(file: &str) {
    run_python_ok(python_with_wheel(), file);
}

#[track_caller]
fn run_python_ok(mut python: Command, file: &str) {
    let ended = Process::start(python.args(["-m", "unittest", file])).wait_within(TAKES_AT_MOST);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nOK"), "{}", ended.stderr);
}

#[test]
fn plugins_work_on_tables_of_all_libraries() {
    run_script_ok("test_plugins");
}

#[test]
fn plugins_are_called_in_processes_of_all_kinds() {
    run_script_ok("test_processes");
}

#[test]
fn compiled_code_is_cached() {
    run_script_ok("test_cache");
}

#[test]
fn jobs_are_run_and_read() {
    run_script_ok("test_jobs");
}

#[test]
fn the_examples_of_the_page_print_what_they_show() {
    run_script_ok("test_docs");
}

#[test]
fn the_notebook_gives_the_saved_output() {
    let mut python = python_with_wheel();
    python.env("PYTHONPATH", packages_of_python("notebook"));
    run_python_ok(python, "test_notebook");
}
