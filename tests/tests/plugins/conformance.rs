//! The same plugins in every language behave the same. Each plugin of `tests/conformance/` is built by `millstream build`, runs
//! the cases that all languages share with `millstream test`, and passes checks that cases cannot express.
//!
//! A language whose tools are missing fails. A language without a plugin is listed as such in `sdk/README.md`.

mod built;
mod generated;
mod runtime;
mod sinks;
mod sources;
mod table;

use built::{TAKES_AT_MOST, case_names, component, dir, has};
use millstream::internals::author::language::Language;
use millstream_tests::{Process, millstream, python_with_wheel};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

macro_rules! languages {
    ($($name:ident: $language:expr),*) => { $(mod $name {
        use super::*;

        #[test]
        fn cases() {
            all_cases($language);
        }

        #[test]
        fn printed_output_is_logged() {
            runtime::check_prints($language);
        }

        #[test]
        fn a_failure_names_its_line() {
            runtime::check_failure_line($language);
        }

        #[test]
        fn clocks_and_random_numbers_are_virtual() {
            runtime::check_virtual_time($language);
        }

        #[test]
        fn counts_and_logs() {
            runtime::counts($language);
        }

        #[test]
        fn sources_resume_at_their_positions() {
            sources::check_rows_and_positions($language);
        }

        #[test]
        fn sources_report_errors() {
            sources::check_errors($language);
        }

        #[test]
        fn sources_receive_datagrams() {
            sources::datagrams($language);
        }

        #[test]
        fn sinks_write_each_batch_once() {
            sinks::each_batch_once($language);
        }

        #[test]
        fn sinks_without_exactly_once_lose_nothing() {
            sinks::at_least_once($language);
        }

        #[test]
        fn sinks_report_errors() {
            sinks::check_errors($language);
        }

        /// Long tests: `make torture` runs them, `make test` does not.
        mod long {
            use super::*;

            #[test]
            fn cases_in_python() {
                all_cases_in_python($language);
            }
        }
    })* };
}

languages! { rust: Language::Rust, python: Language::Python, js: Language::JavaScript, go: Language::Go, c: Language::C }

#[test]
fn cases_in_python_of_one_language() {
    all_cases_in_python(Language::Rust);
}

/// Builds all plugins of a language and runs their cases; reports all failures.
fn all_cases(language: Language) {
    let is_tried = |case: &String| has(case, language) && dir(case, language).with_file_name("cases").is_dir();
    let cases: Vec<String> = case_names().into_iter().filter(is_tried).collect();
    assert!(!cases.is_empty(), "there is no plugin in {language}");
    let failures: Vec<String> =
        cases.iter().filter_map(|case| difference(case, language).map(|text| format!("{case}:\n{text}"))).collect();
    assert!(failures.is_empty(), "{language}\n{}", failures.join("\n"));
}

/// The same cases with plugins called from Python, except those that need a job: the same rows.
fn all_cases_in_python(language: Language) {
    // These are the ends of jobs.
    let is_tried = |case: &String| has(case, language) && !["entries", "lines"].contains(&case.as_str());
    let mut failures = Vec::new();
    for case in case_names().into_iter().filter(is_tried) {
        let component = component(&case, language).unwrap_or_else(|text| panic!("{case}: {text}"));
        let mut command = python_with_wheel();
        command.arg("conformance.py").arg(dir(&case, language).with_file_name("cases")).arg(component);
        let ended = Process::start(&mut command).wait_within(TAKES_AT_MOST);
        if ended.code != Some(0) {
            failures.push(format!("{case}: {}{}", ended.stdout, ended.stderr));
        }
    }
    assert!(failures.is_empty(), "{language}\n{}", failures.join("\n"));
}

/// Describes how a plugin deviates; `None` if all is well.
fn difference(case: &str, language: Language) -> Option<String> {
    let component = match component(case, language) {
        Ok(component) => component,
        Err(text) => return Some(text),
    };
    let trial = TempDir::new().expect("a temporary folder");
    for manifest in ["Cargo.toml", "pyproject.toml", "package.json", "plugin.toml"] {
        let from = dir(case, language).join(manifest);
        if from.is_file() {
            fs::copy(from, trial.path().join(manifest)).expect("a manifest can be copied");
        }
    }
    // Copied last, so that it is newer than its sources.
    fs::copy(component, trial.path().join(format!("conformance-{case}.wasm"))).expect("a component can be copied");
    copy_all(&dir(case, language).with_file_name("cases"), &trial.path().join("cases"));
    generated::write(case, &trial.path().join("cases"));
    let mut command = Command::new(millstream());
    command.arg("test").arg(trial.path()).env("MILLSTREAM_LOG", "off");
    let ended = Process::start(&mut command).wait_within(TAKES_AT_MOST);
    (ended.code != Some(0)).then(|| format!("{}{}", ended.stdout, ended.stderr))
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a file has a type").is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a file can be copied")),
        }
    }
}

#[test]
fn the_table_lists_the_plugins() {
    for case in case_names() {
        assert!(has(&case, Language::Rust), "{case} is missing in Rust, which comes first");
    }
    table::check();
}
