//! The same plugins in every language do the same: each plugin of `tests/conformance/` is built by `millstream build`, runs the
//! cases that all languages share by `millstream test`, and does what cases cannot show.
//!
//! A language whose tools are missing fails; one that lacks a plugin is listed as lacking it in `sdk/README.md`.

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
        fn what_is_printed_is_logged() {
            runtime::prints($language);
        }

        #[test]
        fn a_failure_names_its_place() {
            runtime::fails_at_its_place($language);
        }

        #[test]
        fn clocks_and_random_numbers_are_virtual() {
            runtime::is_virtual($language);
        }

        #[test]
        fn counts_and_logs() {
            runtime::counts($language);
        }

        #[test]
        fn sources_go_on_where_they_were() {
            sources::rows_and_positions($language);
        }

        #[test]
        fn sources_tell_what_goes_wrong() {
            sources::what_goes_wrong($language);
        }

        #[test]
        fn sources_take_datagrams() {
            sources::datagrams($language);
        }

        #[test]
        fn sinks_write_each_batch_once() {
            sinks::each_batch_once($language);
        }

        #[test]
        fn sinks_without_a_promise_lose_nothing() {
            sinks::at_least_once($language);
        }

        #[test]
        fn sinks_tell_what_goes_wrong() {
            sinks::what_goes_wrong($language);
        }

        /// What takes long: `make torture` runs it, `make test` does not.
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

/// Builds all plugins of a language and runs their cases; tells of all that fail.
fn all_cases(language: Language) {
    let is_tried = |case: &String| has(case, language) && dir(case, language).with_file_name("cases").is_dir();
    let cases: Vec<String> = case_names().into_iter().filter(is_tried).collect();
    assert!(!cases.is_empty(), "there is no plugin in {language}");
    let failures: Vec<String> =
        cases.iter().filter_map(|case| difference(case, language).map(|words| format!("{case}:\n{words}"))).collect();
    assert!(failures.is_empty(), "{language}\n{}", failures.join("\n"));
}

/// The same cases where plugins are called from Python, but for those that need a job: the same rows.
fn all_cases_in_python(language: Language) {
    // These are ends of jobs.
    let is_tried = |case: &String| has(case, language) && !["entries", "lines"].contains(&case.as_str());
    let mut failures = Vec::new();
    for case in case_names().into_iter().filter(is_tried) {
        let component = component(&case, language).unwrap_or_else(|words| panic!("{case}: {words}"));
        let mut command = python_with_wheel();
        command.arg("conformance.py").arg(dir(&case, language).with_file_name("cases")).arg(component);
        let ended = Process::start(&mut command).wait_within(TAKES_AT_MOST);
        if ended.code != Some(0) {
            failures.push(format!("{case}: {}{}", ended.stdout, ended.stderr));
        }
    }
    assert!(failures.is_empty(), "{language}\n{}", failures.join("\n"));
}

/// What a plugin does that it should not; `None` where all is well.
fn difference(case: &str, language: Language) -> Option<String> {
    let component = match component(case, language) {
        Ok(component) => component,
        Err(words) => return Some(words),
    };
    let trial = TempDir::new().expect("a temporary folder");
    for manifest in ["Cargo.toml", "pyproject.toml", "package.json", "plugin.toml"] {
        let from = dir(case, language).join(manifest);
        if from.is_file() {
            fs::copy(from, trial.path().join(manifest)).expect("a manifest can be copied");
        }
    }
    // Last, so that it is newer than what it was made of.
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
fn the_table_tells_which_plugins_there_are() {
    for case in case_names() {
        assert!(has(&case, Language::Rust), "{case} is missing in Rust, which comes first");
    }
    table::check();
}
