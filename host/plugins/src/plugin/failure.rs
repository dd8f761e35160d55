//! The story of a failed call: which stage, plugin, version and batch; what happened, in the guest's own words where
//! it left any; its backtrace; and what to do.

use super::guest::Guest;
use super::instances::{fuel, time};
use super::wasi::{Call, Stopped};
use crate::error::{Error, Kind};
use crate::job::spec::PluginLimits;
use crate::limits::{PLUGIN_FRAMES_MAX, PLUGIN_MEMORIES_MAX, PLUGIN_WORDS_BYTES_MAX};
pub use crate::shown::{in_one_line, is_unsafe, printable};
use std::fmt::Write as _;
use std::ops::Range;
use wasmtime::WasmBacktrace;
use wasmtime::component::ResourceTableError;

/// Who is called, and for whom, for messages.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The stage; `None` where there is none yet.
    pub stage: Option<String>,
    /// Name and version, or the file as long as they are unknown.
    pub plugin: String,
    /// The function that is called where no batch is.
    pub outside: &'static str,
}

impl Identity {
    /// `stage `words`: plugin split-words 0.1.0`
    pub fn who(&self) -> String {
        match &self.stage {
            Some(stage) => format!("stage `{stage}`: plugin {}", self.plugin),
            None => format!("plugin {}", self.plugin),
        }
    }

    /// When a call happens: `in batch 12`, `in `describe``.
    pub fn when(&self, batch: Option<u64>) -> String {
        batch.map_or_else(|| format!("in `{}`", self.outside), |batch| format!("in batch {batch}"))
    }
}

/// What ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
// Statuses and metrics call the one that WebAssembly calls so a trap, too.
#[allow(clippy::enum_variant_names)]
pub enum Trap {
    /// It ran for too long.
    Time,
    /// It ran too many instructions.
    Fuel,
    /// It needed too much memory.
    Memory,
    /// Its tables got too large.
    Tables,
    /// Its call stack overflowed.
    Stack,
    /// It returned too much.
    Output,
    /// It held too many handles.
    Handles,
    /// It consists of too many instances, memories or tables.
    Instances,
    /// It panicked or aborted, or did what WebAssembly does not allow, as a division by zero.
    Trap,
    /// What it returned is not valid.
    Invalid,
    /// It returned an error by itself.
    Error,
    /// Its call broke the component model's rules.
    Rules,
}

impl Trap {
    /// Its name in statuses and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Trap::Time => "time",
            Trap::Fuel => "fuel",
            Trap::Memory => "memory",
            Trap::Tables => "tables",
            Trap::Stack => "stack",
            Trap::Output => "output",
            Trap::Handles => "handles",
            Trap::Instances => "instances",
            Trap::Trap => "trap",
            Trap::Invalid => "invalid",
            Trap::Error => "error",
            Trap::Rules => "rules",
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug)]
pub struct CallFailure {
    /// What ended it; `None`: the plugin is not to blame, so neither are its rows.
    pub trap: Option<Trap>,
    /// What happened, in a line or a few.
    pub reason: String,
    /// Names of the functions that were being called, the innermost first, one a line.
    pub backtrace: Option<String>,
    /// The whole story.
    pub error: Error,
    /// Where in it the functions stand that were being called.
    pub frames_at: Range<usize>,
}

/// What is wrong with the result of a call.
#[derive(Debug)]
pub enum Fault {
    /// It is not what the interface promises.
    Invalid(String),
    /// It is too much; with what to do.
    TooMuch(String, &'static str),
}

impl From<String> for Fault {
    fn from(words: String) -> Fault {
        Fault::Invalid(words)
    }
}

impl From<(String, &'static str)> for Fault {
    fn from((words, advice): (String, &'static str)) -> Fault {
        Fault::TooMuch(words, advice)
    }
}

impl From<CallFailure> for Error {
    fn from(failure: CallFailure) -> Error {
        failure.error
    }
}

impl CallFailure {
    /// A failure that is not the plugin's.
    pub fn other(error: Error) -> CallFailure {
        CallFailure { trap: None, reason: error.message.clone(), backtrace: None, error, frames_at: 0..0 }
    }

    /// The failure of a call that wasmtime ended.
    pub fn trapped(identity: &Identity, limits: &PluginLimits, guest: &Guest, error: &wasmtime::Error) -> CallFailure {
        let (trap, what, advice) = cause(limits, guest, error);
        let mut message = format!("{} failed {}: {}", identity.who(), identity.when(guest.batch), in_one_line(&what));
        let mut lines = guest.error_lines.iter().filter(|line| !what.contains(line.as_str())).peekable();
        if lines.peek().is_some() {
            message.push_str("\n  its last words:");
            lines.for_each(|line| indent(&mut message, line));
        }
        let frames_from = message.len();
        let frames = error.downcast_ref::<WasmBacktrace>().map(frames).filter(|frames| !frames.is_empty());
        if let Some(frames) = &frames {
            message.push_str("\n  backtrace, innermost call first:");
            frames.iter().for_each(|frame| indent(&mut message, frame));
        }
        let frames_at = frames_from..message.len();
        if let (Trap::Time, Call { rows, rows_before, batch: Some(_), .. }) = (trap, guest.call) {
            let before = match rows_before {
                0 => "It was the first of the batch on this worker.".to_owned(),
                rows => format!("Those before it, with {rows} rows of the batch on this worker, went well."),
            };
            let _ = write!(message, "\n  The call had {rows} rows. {before}");
        }
        let _ = write!(message, "\n  {advice}");
        let kept = usize::try_from(limits.backtrace_bytes_max).unwrap_or(usize::MAX);
        let backtrace = frames.filter(|_| kept > 0).map(|frames| printable(&frames.join("\n"), kept));
        CallFailure {
            trap: Some(trap),
            reason: what,
            backtrace,
            error: Error { kind: Kind::Plugin, message },
            frames_at,
        }
    }

    /// Says what was being called in these lines, and not in the names of functions; `head` tells what the lines are.
    pub fn with_calls(mut self, head: &str, calls: &str, limits: &PluginLimits) -> CallFailure {
        let mut told = format!("\n  {head}");
        indent(&mut told, calls);
        let message = &mut self.error.message;
        if message.get(self.frames_at.clone()).is_some() {
            message.replace_range(self.frames_at.clone(), &told);
            self.frames_at.end = self.frames_at.start + told.len();
        }
        let kept = usize::try_from(limits.backtrace_bytes_max).unwrap_or(usize::MAX);
        self.backtrace = (kept > 0).then(|| printable(calls, kept));
        self
    }

    /// The failure of a call that returned an error by itself.
    pub fn returned(identity: &Identity, batch: Option<u64>, error: super::bindings::GuestError) -> CallFailure {
        use super::bindings::GuestError::{Config, Input, Internal};
        // A config is wrong for every row.
        let trap = (!matches!(error, Config(_))).then_some(Trap::Error);
        let (kind, verb, words) = match error {
            Config(words) => (Kind::Job, "refuses its config", words),
            Input(words) => (Kind::Job, "refuses its input", words),
            Internal(words) => (Kind::Plugin, "failed", words),
        };
        let words = printable(&words, PLUGIN_WORDS_BYTES_MAX);
        let message = format!("{} {verb} {}: {}", identity.who(), identity.when(batch), in_one_line(&words));
        CallFailure { trap, reason: words, backtrace: None, error: Error { kind, message }, frames_at: 0..0 }
    }

    /// The failure of a call whose result has a fault.
    pub fn found(identity: &Identity, batch: Option<u64>, fault: Fault) -> CallFailure {
        let (who, when) = (identity.who(), identity.when(batch));
        let (trap, reason, message) = match fault {
            Fault::Invalid(words) => {
                let words = printable(&words, PLUGIN_WORDS_BYTES_MAX);
                let message = format!("{who} returned invalid output {when}: {}\n  {SDK}", in_one_line(&words));
                (Trap::Invalid, format!("it returned invalid output: {words}"), message)
            }
            Fault::TooMuch(words, advice) => {
                let message = format!("{who} failed {when}: {words}\n  {advice}");
                (Trap::Output, words, message)
            }
        };
        CallFailure { trap: Some(trap), reason, backtrace: None, error: Error::plugin(message), frames_at: 0..0 }
    }
}

const SDK: &str = "The plugin, or the SDK that it was built with, must be mended.";
const TOO_LONG: &str = "Raise `limits.time` of the stage, which is that of one call, and start again: a batch that was planned runs \
                        again under the limits that the job has then. Or mend the plugin if it loops for ever.";
const AUTHOR: &str = "The plugin must be mended; `millstream test` runs its cases.";

/// Whether the plugin is to blame that no instance could be made: its code ran and failed, or it is larger than it may be.
/// Otherwise the machine is, which has no memory left for it.
pub fn is_of_plugin(guest: &Guest, error: &wasmtime::Error) -> bool {
    guest.memory.refused
        || guest.tables.refused
        || error.is::<wasmtime::Trap>()
        || error.is::<WasmBacktrace>()
        || error.is::<Stopped>()
        || error.root_cause().to_string().contains("resource limit exceeded")
}

fn too_long(limits: &PluginLimits, call: &Call) -> (String, &'static str) {
    let limit = match call.times {
        1 => format!("{:?}", limits.time_max),
        times => format!("{:?}, {times} times that of one call, for so many rows", time(limits, times)),
    };
    (format!("it ran longer than its time limit of {limit}"), TOO_LONG)
}

fn too_many_handles(limits: &PluginLimits) -> (Trap, String, &'static str) {
    let advice = "Raise `limits.handles` of the stage, or mend the plugin if it does not give back its handles.";
    (Trap::Handles, format!("it holds more than {} handles of resources", limits.handles_max), advice)
}

/// What ended a call, in words too, and what to do.
fn cause(limits: &PluginLimits, guest: &Guest, error: &wasmtime::Error) -> (Trap, String, &'static str) {
    use wasmtime::Trap::{Interrupt, OutOfFuel, StackOverflow};
    let trap = error.downcast_ref::<wasmtime::Trap>();
    // A guest may go on without the memory that it did not get, and meet another limit.
    let is_other = matches!(trap, Some(Interrupt | OutOfFuel | StackOverflow));
    if guest.memory.refused && !is_other {
        let limit = bytes(limits.memory_bytes_max);
        let advice = "Raise `limits.memory` of the stage, or give the plugin smaller batches.";
        return (Trap::Memory, format!("it needs more memory than its limit of {limit}"), advice);
    }
    if guest.tables.refused && !is_other {
        let limit = limits.table_elements_max;
        let advice = "Raise `limits.tables` of the stage.";
        return (Trap::Tables, format!("its tables need more elements than their limit of {limit}"), advice);
    }
    if let Some(Stopped { trap, words, advice }) = error.downcast_ref() {
        return (*trap, words.clone(), advice);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return too_many_handles(limits);
    }
    match trap {
        Some(Interrupt) => {
            let (what, advice) = too_long(limits, &guest.call);
            (Trap::Time, what, advice)
        }
        Some(OutOfFuel) => {
            let advice = "Raise `limits.time` or `limits.fuel` of the stage, or mend the plugin if it loops for ever.";
            let most = fuel(limits, guest.call.times);
            (Trap::Fuel, format!("it ran more than {most} instructions, the limit of one call"), advice)
        }
        Some(StackOverflow) => {
            let advice = "Raise `limits.stack` of the stage, or mend the plugin if it calls itself for ever.";
            (Trap::Stack, "its call stack overflowed: it recurses too deeply".into(), advice)
        }
        // A panic is an `unreachable` for the engine; the SDK's panic hook logged what it was.
        Some(wasmtime::Trap::UnreachableCodeReached) => {
            let words = what_happened(&guest.error_lines).cloned();
            let bare = || "it trapped: `unreachable` was reached, as after a panic or abort".into();
            (Trap::Trap, words.unwrap_or_else(bare), AUTHOR)
        }
        Some(trap) => {
            (Trap::Trap, format!("it trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")), AUTHOR)
        }
        None => cause_in_words(limits, guest, &error.root_cause().to_string()),
    }
}

/// The line of a guest's last words that says what happened: runtimes as Go's say where behind it, others before it.
fn what_happened(lines: &[String]) -> Option<&String> {
    const BEGINS: [&str; 3] = ["panic: ", "fatal error: ", "Assertion failed: "];
    lines.iter().rfind(|line| BEGINS.iter().any(|begin| line.starts_with(begin))).or(lines.last())
}

/// The same for what wasmtime tells in words only: its error types for these are private.
fn cause_in_words(limits: &PluginLimits, guest: &Guest, words: &str) -> (Trap, String, &'static str) {
    if words.contains("fuel allocated for hostcalls") {
        let (what, advice) = guest.allowance.too_many_bytes();
        return (Trap::Output, what, advice);
    }
    if words.contains("handle limit exceeded") {
        return too_many_handles(limits);
    }
    if words.contains("resource limit exceeded: instance count") {
        let what = format!("it is made of more than {} core instances", limits.instances_max);
        return (Trap::Instances, what, "Raise `limits.instances` of the stage.");
    }
    if let Some(kind) =
        ["memory", "table"].iter().find(|kind| words.contains(&format!("resource limit exceeded: {kind} count")))
    {
        let what = format!("it has more than {PLUGIN_MEMORIES_MAX} core parts of the kind `{kind}`");
        return (Trap::Instances, what, AUTHOR);
    }
    let words = printable(words, PLUGIN_WORDS_BYTES_MAX);
    (Trap::Rules, format!("its call broke the component model's rules: {words}"), AUTHOR)
}

/// Names of the guest's functions, demangled, each repeated call once. The crate that demangles is wasmtime's own,
/// reached by its `Display`.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let printed = backtrace.to_string();
    let names = printed.lines().filter_map(|line| {
        let (number, name) = line.trim_start().split_once(": ")?;
        number.parse::<u32>().ok()?;
        let name = name.split_once(" - ").filter(|(at, _)| at.trim().starts_with("0x")).map_or(name, |(_, name)| name);
        Some(without_hashes(&printable(name.trim(), 300)))
    });
    let mut frames: Vec<(String, u32)> = Vec::new();
    for name in names.take(PLUGIN_FRAMES_MAX) {
        match frames.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            _ => frames.push((name, 1)),
        }
    }
    let shown = |(name, times)| if times == 1 { name } else { format!("{name} ({times} times)") };
    frames.into_iter().map(shown).collect()
}

/// A demangled name without the hashes of its crates: `std[761429072ce02672]::panicking` is `std::panicking`. Older names
/// end with one of the function: `std::panicking::h761429072ce02672`.
fn without_hashes(name: &str) -> String {
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let name = name.rsplit_once("::h").filter(|(_, hash)| is_hash(hash)).map_or(name, |(name, _)| name);
    let mut parts = name.split('[');
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(']') {
            Some((hash, rest)) if hash.len() > 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => clean.push_str(rest),
            _ => {
                clean.push('[');
                clean.push_str(part);
            }
        }
    }
    clean
}

fn indent(message: &mut String, text: &str) {
    for line in text.lines() {
        let _ = write!(message, "\n    {line}");
    }
}

/// `256 MiB`, or bytes where that is not whole.
pub fn bytes(count: u64) -> String {
    match count {
        n if n > 0 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n > 0 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_what_happened_is_found() {
        let found = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            what_happened(&lines).cloned().unwrap_or_default()
        };
        let go = ["before", "panic: no [recovered]", "goroutine 6 [running]:", "main.f()", " main.go:46 +0x2"];
        assert_eq!(found(&go), "panic: no [recovered]");
        assert_eq!(
            found(&["fatal error: all goroutines are asleep - deadlock!", " <autogenerated>:1"])[..12],
            *"fatal error:"
        );
        assert_eq!(found(&["a", "src/lib.rs:5: panicked"]), "src/lib.rs:5: panicked");
        assert_eq!(found(&[]), "");
    }
}
