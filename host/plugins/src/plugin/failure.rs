//! The error of a failed call: stage, plugin, version and batch; what happened, with the guest's own message if there is one; its backtrace;
//! and what to do.

mod cause;
mod frames;

use super::current_call::CurrentCall;
use super::identity::CallIdentity;
use super::trap::Trap;
pub use cause::is_of_plugin;

use super::guest::Guest;
use crate::limits::PLUGIN_MESSAGE_BYTES_MAX;
use cause::cause;
use frames::frames;
use millstream_base::error::{Error, Kind};
use millstream_base::shown::{in_one_line, printable};
use millstream_job::spec::PluginLimits;
use std::fmt::Write as _;
use std::ops::Range;
use wasmtime::WasmBacktrace;

/// A call that failed.
#[derive(Clone, Debug)]
pub struct CallFailure {
    /// The trap that ended it; `None` if neither the plugin nor its rows are to blame.
    pub trap: Option<Trap>,
    /// What happened, in one or a few lines.
    pub reason: String,
    /// Names of the functions that were being called, the innermost first, one a line.
    pub backtrace: Option<String>,
    /// The complete error.
    pub error: Error,
    /// The part of the error that lists the call stack.
    pub frames_at: Range<usize>,
}

/// Why the result of a call is not accepted.
#[derive(Debug)]
pub enum OutputFault {
    /// It violates the interface.
    Invalid(String),
    /// It is too large; with what to do.
    TooMuch(String, &'static str),
}

impl From<String> for OutputFault {
    fn from(reason: String) -> OutputFault {
        OutputFault::Invalid(reason)
    }
}

impl From<(String, &'static str)> for OutputFault {
    fn from((reason, advice): (String, &'static str)) -> OutputFault {
        OutputFault::TooMuch(reason, advice)
    }
}

impl From<CallFailure> for Error {
    fn from(failure: CallFailure) -> Error {
        failure.error
    }
}

impl CallFailure {
    /// A failure that is not the plugin's.
    pub fn from_error(error: Error) -> CallFailure {
        CallFailure { trap: None, reason: error.message.clone(), backtrace: None, error, frames_at: 0..0 }
    }

    /// The failure of a call that wasmtime ended.
    pub fn from_trap(
        identity: &CallIdentity,
        limits: &PluginLimits,
        guest: &Guest,
        error: &wasmtime::Error,
    ) -> CallFailure {
        let (trap, what, advice) = cause(limits, guest, error);
        let mut message =
            format!("{} failed {}: {}", identity.description(), identity.batch_text(guest.batch), in_one_line(&what));
        let mut lines = guest.error_lines.iter().filter(|line| !what.contains(line.as_str())).peekable();
        if lines.peek().is_some() {
            message.push_str("\n  its last output:");
            lines.for_each(|line| indent(&mut message, line));
        }
        let frames_from = message.len();
        let frames = error.downcast_ref::<WasmBacktrace>().map(frames).filter(|frames| !frames.is_empty());
        if let Some(frames) = &frames {
            message.push_str("\n  backtrace, innermost call first:");
            frames.iter().for_each(|frame| indent(&mut message, frame));
        }
        let frames_at = frames_from..message.len();
        if let (Trap::Time, CurrentCall { rows, rows_before, batch: Some(_), .. }) = (trap, guest.call) {
            let before = match rows_before {
                0 => "It was the first of the batch on this worker.".to_owned(),
                rows => format!("The previous calls, with {rows} rows of the batch on this worker, succeeded."),
            };
            let _ = write!(message, "\n  The call had {rows} rows. {before}");
        }
        let advice = advice.replace("of the stage", &format!("of the {}", identity.role.keyword()));
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

    /// Replaces the call stack with these lines; `head` introduces them.
    pub fn with_calls(mut self, head: &str, calls: &str, limits: &PluginLimits) -> CallFailure {
        let mut text = format!("\n  {head}");
        indent(&mut text, calls);
        let message = &mut self.error.message;
        if message.get(self.frames_at.clone()).is_some() {
            message.replace_range(self.frames_at.clone(), &text);
            self.frames_at.end = self.frames_at.start + text.len();
        }
        let kept = usize::try_from(limits.backtrace_bytes_max).unwrap_or(usize::MAX);
        self.backtrace = (kept > 0).then(|| printable(calls, kept));
        self
    }

    /// Adds the row at which it failed, on its own line: before the advice in the last line, or after the plugin's own message, which has no
    /// advice.
    pub fn with_culprit(mut self, reason: &str) -> CallFailure {
        let message = &mut self.error.message;
        let advice = message.rfind('\n').filter(|_| self.trap != Some(Trap::Error));
        message.insert_str(advice.unwrap_or(message.len()), &format!("\n  {reason}"));
        self
    }

    /// The failure of a call that returned an error.
    pub fn from_guest_error(
        identity: &CallIdentity,
        batch: Option<u64>,
        error: super::bindings::GuestError,
    ) -> CallFailure {
        use super::bindings::GuestError::{Config, Input, Internal};
        // A config is wrong for every row.
        let trap = (!matches!(error, Config(_))).then_some(Trap::Error);
        let (kind, verb, cause) = match error {
            Config(cause) => (Kind::Job, "rejects its config", cause),
            Input(cause) => (Kind::Job, "rejects its input", cause),
            Internal(cause) => (Kind::Plugin, "failed", cause),
        };
        let cause = printable(&cause, PLUGIN_MESSAGE_BYTES_MAX);
        let message =
            format!("{} {verb} {}: {}", identity.description(), identity.batch_text(batch), in_one_line(&cause));
        CallFailure { trap, reason: cause, backtrace: None, error: Error { kind, message }, frames_at: 0..0 }
    }

    /// The failure of a call whose result has a fault.
    pub fn found(identity: &CallIdentity, batch: Option<u64>, fault: OutputFault) -> CallFailure {
        let (who, when) = (identity.description(), identity.batch_text(batch));
        let (trap, reason, message) = match fault {
            OutputFault::Invalid(cause) => {
                let cause = printable(&cause, PLUGIN_MESSAGE_BYTES_MAX);
                let message = format!("{who} returned invalid output {when}: {}\n  {SDK}", in_one_line(&cause));
                (Trap::Invalid, format!("it returned invalid output: {cause}"), message)
            }
            OutputFault::TooMuch(cause, advice) => {
                let message = format!("{who} failed {when}: {cause}\n  {advice}");
                (Trap::Output, cause, message)
            }
        };
        CallFailure { trap: Some(trap), reason, backtrace: None, error: Error::plugin(message), frames_at: 0..0 }
    }
}

const SDK: &str = "Fix the plugin, or the SDK that it was built with.";

fn indent(message: &mut String, text: &str) {
    for line in text.lines() {
        let _ = write!(message, "\n    {line}");
    }
}
