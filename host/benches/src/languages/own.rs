//! Programs that do the tasks in a language's own runtime. They read the data, then take commands: a number of calls, which they time themselves, or
//! a check of their results.

use super::work::{Check, Data};
use super::{ROWS, Style, sources};
use millstream::internals::author::language::Language;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The compiled programs.
pub struct Programs {
    c: PathBuf,
    go: PathBuf,
}

impl Programs {
    /// Compiles them into a directory, and prints the commands and the versions of the runtimes.
    pub fn build(dir: &Path) -> Programs {
        let (c, go) = (dir.join("own-c"), dir.join("own-go"));
        let sources = sources().join("own");
        let compile = |command: &mut Command| {
            println!("  {}", command_line(command));
            let status = command.status().unwrap_or_else(|error| panic!("{}: {error}", command_line(command)));
            assert!(status.success(), "{} failed", command_line(command));
        };
        compile(Command::new("cc").args(["-std=c99", "-O3", "-o"]).arg(&c).arg(sources.join("c/own.c")));
        compile(Command::new("go").args(["build", "-C"]).arg(sources.join("go")).arg("-o").arg(&go).arg("."));
        for version in [["cc", "--version"], ["go", "version"], ["node", "--version"], ["python3", "--version"]] {
            let output = Command::new(version[0]).arg(version[1]).output();
            let output = output.unwrap_or_else(|error| panic!("{}: {error}", version[0]));
            let text = String::from_utf8_lossy(&output.stdout);
            println!("  {}: {}", version[0], text.lines().next().unwrap_or_default());
        }
        Programs { c, go }
    }

    /// Starts the program of a language; `None` for Rust, whose native loop is in this program.
    pub fn start(&self, language: Language, data: &Data, style: Style) -> Option<OwnProgram> {
        let source = |file: &str| sources().join("own").join(language.keyword()).join(file);
        let mut command = match language {
            Language::Rust => return None,
            Language::C => Command::new(&self.c),
            Language::Go => Command::new(&self.go),
            Language::JavaScript => with(Command::new("node"), &source("own.mjs")),
            Language::Python => with(Command::new("python3"), &source("own.py")),
        };
        command.args([data.work.keyword(), style.keyword()]).arg(&data.file).arg(ROWS.to_string());
        let command_line = command_line(&command);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command_line}: {error}"));
        let orders = child.stdin.take().expect("its input");
        let responses = BufReader::new(child.stdout.take().expect("its output"));
        Some(OwnProgram { child, orders: Some(orders), responses, command_line })
    }
}

fn with(mut command: Command, file: &Path) -> Command {
    command.arg(file);
    command
}

fn command_line(command: &Command) -> String {
    let arguments = std::iter::once(command.get_program()).chain(command.get_args());
    arguments.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A running program.
pub struct OwnProgram {
    child: Child,
    /// `None` at the end: it exits when its input is closed.
    orders: Option<ChildStdin>,
    responses: BufReader<ChildStdout>,
    /// The command that started it.
    pub command_line: String,
}

impl OwnProgram {
    /// Returns the nanoseconds per row over this number of calls, by its own clock.
    pub fn ns(&mut self, calls: usize) -> f64 {
        self.run_order(&calls.to_string()).parse().expect("nanoseconds")
    }

    /// Returns the check of its results.
    pub fn check(&mut self) -> Check {
        let response = self.run_order("check");
        let (rows, sum) = response.split_once(' ').expect("two numbers");
        (rows.parse().expect("rows"), sum.parse().expect("a sum"))
    }

    fn run_order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("it runs");
        writeln!(orders, "{order}").expect("it takes orders");
        let mut response = String::new();
        self.responses.read_line(&mut response).expect("it answers");
        assert!(!response.is_empty(), "{} ended", self.command_line);
        response.trim_end().to_owned()
    }
}

impl Drop for OwnProgram {
    fn drop(&mut self) {
        self.orders = None;
        self.child.wait().ok();
    }
}
