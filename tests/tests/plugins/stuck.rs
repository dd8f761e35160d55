//! Calls in Python and TypeScript that take too long: the author is told the line where they stand, though the host sees only
//! functions of CPython and QuickJS.

use millstream_tests::{Ended, Process, Trial};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// A toolchain may be slow behind other builds, and so may compiling CPython.
const WITHIN: Duration = Duration::from_secs(600);

/// Plugins that do the same, and how each language tells a place.
struct Language {
    name: &'static str,
    /// Files of the project.
    files: &'static [(&'static str, &'static str)],
    /// Where it stands by what it was told to do, the innermost call.
    places: &'static [(&'static str, &'static str)],
    /// A place in what is called before.
    caller: &'static str,
    /// Where it stands when it loops in `describe`.
    describes: &'static str,
}

const PYTHON: Language = Language {
    name: "python",
    files: &[
        (
            "stuck.py",
            r#"from dataclasses import dataclass

from millstream import log, transform

import helper


@dataclass
class Line:
    value: str


@dataclass
class Config:
    forever: bool = False

    def __post_init__(self) -> None:
        if self.forever:
            helper.forever(0)


@transform
def stuck(line: Line, config: Config) -> Line:
    log.info(f"begins with {line.value}")
    return Line(helper.work(line.value))
"#,
        ),
        (
            "helper.py",
            r#"import re


def forever(turns: int) -> int:
    while True:
        turns += 1


def search(text: str) -> bool:
    return bool(re.search("^(a+)+b$", text))


def caught() -> str:
    def never() -> None:
        while True: pass

    while True:
        try:
            never()
        except BaseException:
            pass


def work(what: str) -> str:
    if what == "loop":
        return str([forever(turn) for turn in range(3)])
    if what == "search":
        return str(search("a" * 40))
    if what == "caught":
        return caught()
    if what == "asyncio":
        import asyncio

        async def later() -> str:
            return what

        return asyncio.run(later())
    return what
"#,
        ),
    ],
    places: &[
        ("loop", "File \"helper.py\", line 5, in forever"),
        ("loop", "File \"helper.py\", line 6, in forever"),
        ("search", "File \"helper.py\", line 10, in search\n        return bool(re.search("),
        ("caught", "File \"helper.py\", line 15, in never\n        while True: pass"),
    ],
    caller: "File \"stuck.py\", line 25, in stuck\n        return Line(helper.work(line.value))",
    describes: "File \"stuck.py\", line 19, in __post_init__\n        helper.forever(0)",
};

const TYPESCRIPT: Language = Language {
    name: "js",
    files: &[
        (
            "src/index.ts",
            r#"import { config, log, row, text, transform } from "millstream-sdk";
import { forever, work } from "./helper.ts";

const Line = row({ value: text });
const Config = { forever: config.boolean({ default: false }) };

const plugin = transform({ input: Line, output: Line, config: Config }, ({ value }) => {
  log.info(`begins with ${value}`);
  return { value: work(value) };
});

export default {
  ...plugin,
  create(stage: Parameters<typeof plugin.create>[0]) {
    if ((stage.config() as { forever?: boolean }).forever) forever(0);
    return plugin.create(stage);
  },
};
"#,
        ),
        (
            "src/helper.ts",
            r#"/** What is gone when types are. */
interface Turns {
  readonly turns: number;
}

export function forever(turns: number): Turns {
  while (true) {
    turns += 1;
    if (turns < 0) return { turns };
  }
}

const search = (text: string): boolean => /^(a+)+b$/.test(text);

function caught(): string {
  for (;;) {
    try {
      while (true) ;
    } catch {
      continue;
    }
  }
}

export function work(what: string): string {
  switch (what) {
    case "loop":
      return [1, 2, 3].map((turn) => forever(turn).turns).join();
    case "search":
      return String(search("a".repeat(40)));
    case "caught":
      return caught();
  }
  return what;
}
"#,
        ),
    ],
    places: &[
        ("loop", "at forever (src/helper.ts:7:"),
        ("loop", "at forever (src/helper.ts:8:"),
        ("loop", "at forever (src/helper.ts:9:"),
        ("search", "at search (src/helper.ts:13:"),
        ("caught", "at caught (src/helper.ts:18:"),
    ],
    caller: "(src/index.ts:9:",
    describes: "at create (src/index.ts:15:",
};

impl Language {
    /// A folder with the plugin, built, and a job for it.
    fn trial(&self) -> Trial {
        let trial = Trial::new("");
        ran(&trial, &["new", "stuck", "--lang", self.name]);
        for (file, text) in self.files {
            fs::write(trial.path("stuck").join(file), text).expect("a file");
        }
        ran(&trial, &["build", "stuck"]);
        trial
    }
}

fn run(trial: &Trial, arguments: &[&str]) -> Ended {
    Process::start(&mut trial.command(arguments)).wait_within(WITHIN)
}

#[track_caller]
fn ran(trial: &Trial, arguments: &[&str]) {
    let ended = run(trial, arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}\n{}{}", ended.stdout, ended.stderr);
}

/// Runs a job whose plugin is called with one line that says what it is to do, and others; `stage` holds more keys of its stage.
fn called(trial: &Trial, what: &str, stage: &str) -> Ended {
    trial.write(
        "job.toml",
        format!(
            r#"
            clock = "manual"
            workers = 2
            [sources.lines]
            kind = "queue"
            path = "input.jsonl"
            schema = {{ value = "text" }}
            [stages.bad]
            from = "lines"
            plugin = "stuck"
            {stage}
            [sinks.out]
            from = "bad"
            kind = "queue"
            path = "out.jsonl"
            [sinks.refused]
            from = "bad.rejected"
            kind = "queue"
            path = "rejected.jsonl"
            "#
        ),
    );
    trial.write("input.jsonl", format!("[\"first\",\"{what}\",\"last\"]\n"));
    run(trial, &["run", "job.toml"])
}

const AGAIN: &str = "Called again with the same rows, only to get this backtrace (the result is discarded)";

fn the_line_is_told_where_it_stands(language: &Language) {
    let trial = language.trial();
    for what in ["loop", "search", "caught"] {
        let ended = called(&trial, what, "limits = { time = \"1500ms\" }");
        let told = &ended.stderr;
        assert_eq!(ended.code, Some(1), "{told}");
        assert!(told.contains("in batch 1: it ran longer than its time limit of 1.5s\n"), "{told}");
        assert!(told.contains(&format!("\n  {AGAIN}. After 1.5s it was here:\n")), "{told}");
        let mut places = language.places.iter().filter(|(of, _)| *of == what);
        assert!(places.any(|(_, place)| told.contains(place)), "{what}: {told}");
        assert!(told.contains(language.caller), "{told}");
        assert!(told.contains("\n  The call had 3 rows."), "{told}");
        assert!(!told.contains("wasm function") && !told.contains("_PyEval"), "no functions of an engine: {told}");
        assert_eq!(told.matches(&format!("begins with {what}")).count(), 1, "a second call logs nothing: {told}");
    }
    let told = called(&trial, "fine", "limits = { time = \"1500ms\" }\nconfig = { forever = true }").stderr;
    assert!(told.contains("in `describe`: it ran longer than"), "{told}");
    assert!(told.contains(AGAIN) && told.contains(language.describes), "{told}");

    // A second call of one that asks others could have an effect there.
    let http = "limits = { time = \"300ms\" }\nreplayable = false\ngrant = { http = { hosts = [\"example.com\"] } }";
    let told = called(&trial, "loop", http).stderr;
    assert!(told.contains("it ran longer than") && !told.contains(AGAIN), "{told}");

    rows_that_are_refused_tell_it(&trial, language);
}

/// What is told of a row is the same on any number of workers.
fn rows_that_are_refused_tell_it(trial: &Trial, language: &Language) {
    let ended = called(trial, "loop", "on_error = \"reject\"\nlimits = { time = \"1s\" }");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let refused: Vec<Value> = trial.rows("rejected.jsonl");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["value"], "loop");
    let backtrace = refused[0]["backtrace"].as_str().unwrap_or_default().to_owned();
    let mut places = language.places.iter().filter(|(of, _)| *of == "loop");
    assert!(places.any(|(_, place)| backtrace.contains(place)), "{backtrace}");
    let ended = run(trial, &["run", "job.toml", "--workers", "1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(trial.rows("rejected.jsonl")[0]["backtrace"], backtrace.as_str());
    assert_eq!(ended.stderr.matches("begins with loop").count(), 1, "{}", ended.stderr);
}

#[test]
fn in_typescript() {
    the_line_is_told_where_it_stands(&TYPESCRIPT);
}

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn in_python() {
        the_line_is_told_where_it_stands(&PYTHON);
    }

    #[test]
    fn an_event_loop_in_python_is_refused_with_words() {
        let trial = PYTHON.trial();
        let told = called(&trial, "asyncio", "").stderr;
        assert!(told.contains("RuntimeError: a plugin has no event loop"), "{told}");
        assert!(told.contains("File \"helper.py\", line 37, in work"), "{told}");
        assert!(!told.contains("tcp_create_socket"), "{told}");
    }
}
