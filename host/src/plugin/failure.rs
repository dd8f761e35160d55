//! The story of a failed call: which stage, plugin, version and batch; what happened, in the guest's own words where
//! it left any; its backtrace; and what to do.

use super::guest::Guest;
use super::wasi::Stopped;
use crate::error::{Error, Kind};
use crate::job::spec::PluginLimits;
use crate::limits::{PLUGIN_BACKTRACE_BYTES_MAX, PLUGIN_FRAMES_MAX, PLUGIN_WORDS_BYTES_MAX};
use std::fmt::Write as _;
use wasmtime::WasmBacktrace;
use wasmtime::component::ResourceTableError;

/// Who is called, and for whom, for messages.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The stage; `None` where there is none yet.
    pub stage: Option<String>,
    /// Name and version, or the file as long as they are unknown.
    pub plugin: String,
}

impl Identity {
    /// `stage `words`: plugin split-words 0.1.0`
    pub fn who(&self) -> String {
        match &self.stage {
            Some(stage) => format!("stage `{stage}`: plugin {}", self.plugin),
            None => format!("plugin {}", self.plugin),
        }
    }
}

/// When a call happens, for messages: `in batch 12`.
pub fn when(batch: Option<u64>) -> String {
    batch.map_or("in `describe`".into(), |batch| format!("in batch {batch}"))
}

/// What ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl From<CallFailure> for Error {
    fn from(failure: CallFailure) -> Error {
        failure.error
    }
}

impl CallFailure {
    /// A failure that is not the plugin's.
    pub fn other(error: Error) -> CallFailure {
        CallFailure { trap: None, reason: error.message.clone(), backtrace: None, error }
    }

    /// The failure of a call that wasmtime ended.
    pub fn trapped(identity: &Identity, limits: &PluginLimits, guest: &Guest, error: &wasmtime::Error) -> CallFailure {
        let (trap, what, advice) = cause(limits, guest, error);
        let mut message = format!("{} failed {}: {what}", identity.who(), when(guest.batch));
        let mut lines = guest.error_lines.iter().filter(|line| !what.contains(line.as_str())).peekable();
        if lines.peek().is_some() {
            message.push_str("\n  its last words:");
            lines.for_each(|line| indent(&mut message, line));
        }
        let frames = error.downcast_ref::<WasmBacktrace>().map(frames).filter(|frames| !frames.is_empty());
        if let Some(frames) = &frames {
            message.push_str("\n  backtrace, innermost call first:");
            frames.iter().for_each(|frame| indent(&mut message, frame));
        }
        let _ = write!(message, "\n  {advice}");
        let backtrace = frames.map(|frames| printable(&frames.join("\n"), PLUGIN_BACKTRACE_BYTES_MAX));
        CallFailure { trap: Some(trap), reason: what, backtrace, error: Error { kind: Kind::Plugin, message } }
    }

    /// The failure of a call that returned an error by itself.
    pub fn returned(identity: &Identity, batch: Option<u64>, error: super::bindings::GuestError) -> CallFailure {
        use super::bindings::GuestError::{Config, Input, Internal};
        let (kind, verb, words) = match error {
            Config(words) => (Kind::Job, "refuses its config", words),
            Input(words) => (Kind::Job, "refuses its input", words),
            Internal(words) => (Kind::Plugin, "failed", words),
        };
        let words = printable(&words, PLUGIN_WORDS_BYTES_MAX);
        let error = Error { kind, message: format!("{} {verb} {}: {words}", identity.who(), when(batch)) };
        CallFailure { trap: Some(Trap::Error), reason: words, backtrace: None, error }
    }

    /// The failure of a call whose output is not valid.
    pub fn invalid(identity: &Identity, batch: Option<u64>, words: &str) -> CallFailure {
        let (who, when) = (identity.who(), when(batch));
        let error = Error::plugin(format!(
            "{who} returned invalid output {when}: {words}\n  The plugin, or the SDK that it was built with, must be mended."
        ));
        let reason = format!("it returned invalid output: {words}");
        CallFailure { trap: Some(Trap::Invalid), reason, backtrace: None, error }
    }
}

/// What ended a call, in words too, and what to do.
fn cause(limits: &PluginLimits, guest: &Guest, error: &wasmtime::Error) -> (Trap, String, &'static str) {
    const AUTHOR: &str = "The plugin must be mended; `millstream test` runs its cases.";
    if guest.memory.refused {
        let limit = bytes(limits.memory_bytes_max);
        let advice = "Raise `limits.memory` of the stage, or give the plugin smaller batches.";
        return (Trap::Memory, format!("it needs more memory than its limit of {limit}"), advice);
    }
    if let Some(Stopped { trap, words, advice }) = error.downcast_ref() {
        return (*trap, words.clone(), advice);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        let words = format!("it holds more than {} handles of resources", limits.handles_max);
        return (Trap::Handles, words, "Raise `limits.handles` of the stage, or mend the plugin if it drops none.");
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => {
            let advice = "Raise `limits.time` of the stage, or mend the plugin if it loops for ever.";
            (Trap::Time, format!("it ran longer than its time limit of {:?}", limits.time_max), advice)
        }
        Some(wasmtime::Trap::StackOverflow) => {
            (Trap::Stack, "its call stack overflowed: it recurses too deeply".into(), AUTHOR)
        }
        // A panic is an `unreachable` for the engine; the SDK's panic hook logged what it was.
        Some(wasmtime::Trap::UnreachableCodeReached) => {
            let words = guest.error_lines.last().cloned();
            let bare = || "it trapped: `unreachable` was reached, as after a panic or abort".into();
            (Trap::Trap, words.unwrap_or_else(bare), AUTHOR)
        }
        Some(trap) => {
            (Trap::Trap, format!("it trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")), AUTHOR)
        }
        // wasmtime's allowance of bytes from guest to host has a private error type.
        None if error.root_cause().to_string().contains("fuel allocated for hostcalls") => {
            let limit = bytes(limits.output_bytes_max);
            let advice = "Raise `limits.output` of the stage, or give the plugin smaller batches.";
            (Trap::Output, format!("it returned more than its output limit of {limit}"), advice)
        }
        None => (Trap::Rules, format!("its call broke the component model's rules: {}", error.root_cause()), AUTHOR),
    }
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

/// A demangled name without the hashes of its crates: `std[761429072ce02672]::panicking` is `std::panicking`.
fn without_hashes(name: &str) -> String {
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
fn bytes(count: u64) -> String {
    match count {
        n if n > 0 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n > 0 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

/// A guest's words, safe to print: cut to `bytes_max`, without characters that steer a terminal.
pub fn printable(words: &str, bytes_max: usize) -> String {
    let cut = words.floor_char_boundary(bytes_max);
    let mut clean: String = words[..cut].chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    if cut < words.len() {
        clean.push('…');
    }
    clean
}
