//! Phrases shared by several operators in the description of a stage, for readers of what a job does.

use millstream_base::units::show_time;
use millstream_job::spec::{OPERATION, StageSpec, WindowExtent};
use std::time::Duration;

/// A stage as its author wrote it.
pub struct StageText<'a> {
    /// The stage.
    pub spec: &'a StageSpec,
}

impl StageText<'_> {
    /// Returns its inputs.
    pub fn inputs(&self) -> Vec<String> {
        self.spec.reads().cloned().collect()
    }

    /// Returns its key after `before`; an empty string without a key.
    pub fn each(&self, before: &str) -> String {
        match self.spec.key.as_slice() {
            [] => String::new(),
            key => format!("{before}{}", key.join(", ")),
        }
    }

    /// Describes the set of rows that the operator processes at a time.
    pub fn rows(&self) -> &'static str {
        if self.spec.window.is_some() { "window" } else { "batch" }
    }

    /// Returns whether it is over all rows ever received.
    pub fn is_over_all(&self) -> bool {
        matches!(&self.spec.window, Some(window) if window.extent == WindowExtent::All)
    }

    /// Returns the column with a row's operation.
    pub fn op(&self) -> &str {
        self.spec.op.as_deref().unwrap_or(OPERATION)
    }
}

/// Formats pairs of columns that must be equal.
pub fn on(pairs: &[(String, String)]) -> String {
    let pair = |(left, right): &(String, String)| match left == right {
        true => left.clone(),
        false => format!("{left} = {right}"),
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
}

/// Formats a duration in microseconds.
pub fn time(us: i64) -> String {
    show_time(Duration::from_micros(us.unsigned_abs()))
}

/// Formats a duration with its sign.
pub fn signed(us: i64) -> String {
    format!("{}{}", if us < 0 { "-" } else { "" }, time(us))
}
