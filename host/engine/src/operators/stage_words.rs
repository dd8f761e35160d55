//! What the lines of several operators say of a stage, for who reads what a job does.

use millstream_base::job::spec::{OPERATION, StageSpec, WindowExtent};
use millstream_base::units::show_time;
use std::time::Duration;

/// A stage as its author wrote it.
pub struct StageWords<'a> {
    /// The stage.
    pub spec: &'a StageSpec,
}

impl StageWords<'_> {
    /// Its inputs.
    pub fn inputs(&self) -> Vec<String> {
        self.spec.reads().cloned().collect()
    }

    /// Its key behind these words; nothing where it has none.
    pub fn each(&self, before: &str) -> String {
        match self.spec.key.as_slice() {
            [] => String::new(),
            key => format!("{before}{}", key.join(", ")),
        }
    }

    /// Of which rows the operator sees some at a time.
    pub fn rows(&self) -> &'static str {
        if self.spec.window.is_some() { "window" } else { "batch" }
    }

    /// Whether it is over all rows that ever came.
    pub fn is_over_all(&self) -> bool {
        matches!(&self.spec.window, Some(window) if window.extent == WindowExtent::All)
    }

    /// The column that says what a row does.
    pub fn op(&self) -> &str {
        self.spec.op.as_deref().unwrap_or(OPERATION)
    }
}

/// Pairs of columns that must be equal.
pub fn on(pairs: &[(String, String)]) -> String {
    let pair = |(left, right): &(String, String)| match left == right {
        true => left.clone(),
        false => format!("{left} = {right}"),
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
}

/// A length of time in microseconds.
pub fn time(us: i64) -> String {
    show_time(Duration::from_micros(us.unsigned_abs()))
}

/// The same, with its sign.
pub fn signed(us: i64) -> String {
    format!("{}{}", if us < 0 { "-" } else { "" }, time(us))
}
