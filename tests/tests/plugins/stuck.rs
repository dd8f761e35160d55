//! Calls in Python and TypeScript that take too long: the author gets the line where they are stuck, although the host sees only
//! functions of CPython and QuickJS.

use millstream_tests::{Ended, Process, Trial};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// A toolchain, and the compilation of CPython, may be slow next to other builds.
const WITHIN: Duration = Duration::from_secs(600);

/// Plugins that do the same, and how each language reports a location.
struct Language {
    name: &'static str,
    /// Files of the project.
    files: &'static [(&'static str, &'static str)],
    /// The location for each kind of call, with the innermost frame.
    places: &'static [(&'static str, &'static str)],
    /// A location in an earlier frame.
    caller: &'static str,
    /// The location when it loops in `describe`.
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
    /// A directory with the built plugin and a job for it.
    fn trial(&self) -> Trial {
        let trial = Trial::new("");
        run_ok(&trial, &["new", "stuck", "--lang", self.name]);
        for (file, text) in self.files {
            fs::write(trial.path("stuck").join(file), text).expect("a file");
        }
        run_ok(&trial, &["build", "stuck"]);
        trial
    }
}

fn run(trial: &Trial, arguments: &[&str]) -> Ended {
    Process::start(&mut trial.command(arguments)).wait_within(WITHIN)
}

#[track_caller]
fn run_ok(trial: &Trial, arguments: &[&str]) {
    let ended = run(trial, arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}\n{}{}", ended.stdout, ended.stderr);
}

/// Runs a job whose plugin is called with one line that selects its behavior, and others; `stage` has more keys of its stage.
fn run_call(trial: &Trial, what: &str, stage: &str) -> Ended {
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

fn check_reported_line(language: &Language) {
    let trial = language.trial();
    for what in ["loop", "search", "caught"] {
        let ended = run_call(&trial, what, "limits = { time = \"1500ms\" }");
        let output = &ended.stderr;
        assert_eq!(ended.code, Some(1), "{output}");
        assert!(output.contains("in batch 1: it ran longer than its time limit of 1.5s\n"), "{output}");
        assert!(output.contains(&format!("\n  {AGAIN}. After 1.5s it was at:\n")), "{output}");
        let mut places = language.places.iter().filter(|(of, _)| *of == what);
        assert!(places.any(|(_, place)| output.contains(place)), "{what}: {output}");
        assert!(output.contains(language.caller), "{output}");
        assert!(output.contains("\n  The call had 3 rows."), "{output}");
        assert!(
            !output.contains("wasm function") && !output.contains("_PyEval"),
            "no functions of an engine: {output}"
        );
        assert_eq!(output.matches(&format!("begins with {what}")).count(), 1, "a second call logs nothing: {output}");
    }
    let output = run_call(&trial, "fine", "limits = { time = \"1500ms\" }\nconfig = { forever = true }").stderr;
    assert!(output.contains("in `describe`: it ran longer than"), "{output}");
    assert!(output.contains(AGAIN) && output.contains(language.describes), "{output}");

    // There, a second call of a plugin that sends requests could have an effect.
    let http = "limits = { time = \"300ms\" }\nreplayable = false\ngrant = { http = { hosts = [\"example.com\"] } }";
    let output = run_call(&trial, "loop", http).stderr;
    assert!(output.contains("it ran longer than") && !output.contains(AGAIN), "{output}");

    check_rejected_rows_report_it(&trial, language);
}

/// The message for a row is the same on any number of workers.
fn check_rejected_rows_report_it(trial: &Trial, language: &Language) {
    let ended = run_call(trial, "loop", "on_error = \"reject\"\nlimits = { time = \"1s\" }");
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
    check_reported_line(&TYPESCRIPT);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn in_python() {
        check_reported_line(&PYTHON);
    }

    #[test]
    fn an_event_loop_in_python_is_rejected_with_a_message() {
        let trial = PYTHON.trial();
        let output = run_call(&trial, "asyncio", "").stderr;
        assert!(output.contains("RuntimeError: a plugin has no event loop"), "{output}");
        assert!(output.contains("File \"helper.py\", line 37, in work"), "{output}");
        assert!(!output.contains("tcp_create_socket"), "{output}");
    }
}
