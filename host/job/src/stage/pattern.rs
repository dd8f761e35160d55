//! `pattern`: sequences of rows of a key, in the order of their event times.

mod check;
mod read;
pub mod steps;

pub(super) use self::check::check;
pub(super) use self::read::read;
use crate::keys::{KeyShape, TableKey, key};
use crate::spec::{OperatorSpec, PatternSkip, PatternSpec, StageSpec};
use millstream_base::error::{Error, Result};
use millstream_base::limits;
use std::time::Duration;

/// `pattern` of a stage.
pub(super) const KEY: TableKey = key(
    "pattern",
    KeyShape::Table(KEYS),
    "Sequences of rows of a key, in order of event time: { steps = \"small{3} followed by large\", define = { small = \
     \"amount < 10\", large = \"amount > 1000\" }, within = \"1h\" }.",
);

const KEYS: &[TableKey] = &[
    key(
        "steps",
        KeyShape::Text,
        "Steps of a match, in order: names with quantifiers (`+`, `*`, `?`, `{3}`, `{2,5}`, each optionally \
         followed by `?` for as few as possible), with `next` or `followed by` between them, and `not` before a step \
         that must not occur.",
    )
    .required(),
    key(
        "define",
        KeyShape::ByName(&KeyShape::Text),
        "Condition of each step: an SQL expression over the columns of a row, and over the rows already in the match: prev.x, \
         a.x, first(a).x, sum(a.x). A step without a condition takes any row.",
    ),
    key(
        "measures",
        KeyShape::ByName(&KeyShape::Text),
        "Columns of a match after its key, `match_start` and `match_end`: SQL expressions over its rows, for example a.x, \
         first(a).x, count(a), sum(a.x).",
    ),
    key("within", KeyShape::Time, "Maximum time from the first to the last row of a match."),
    key(
        "skip",
        KeyShape::Text,
        "Where the search continues after a match: \"past last row\", \"to next row\", \"to first a\" or \"to last a\"; \"past \
         last row\" by default.",
    ),
    key(
        "rows_max",
        KeyShape::Integer(1, limits::PATTERN_ROWS_MAX_MAX),
        "Maximum rows that one key may keep while its matches are open, 100000 by default; with more the job stops.",
    ),
    key(
        "partials_max",
        KeyShape::Integer(1, limits::PATTERN_ROWS_MAX_MAX),
        "Maximum partial matches that one key may keep, 100000 by default; with more the job stops.",
    ),
];

impl PatternSpec {
    /// Steps as a job file writes them, `"small{3} followed by large"`, and the condition of each. Fails for invalid steps.
    pub fn new(steps: &str, define: &[(&str, &str)]) -> Result<PatternSpec> {
        let steps = steps::parse(steps).map_err(|message| Error::job(format!("`pattern.steps`: {message}")))?;
        Ok(PatternSpec {
            steps,
            define: define.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect(),
            measures: Vec::new(),
            within: None,
            skip: PatternSkip::default(),
            rows_max: limits::PATTERN_KEPT_MAX,
            partials_max: limits::PATTERN_KEPT_MAX,
        })
    }

    /// Sets the columns of a match after its key and times, for example `("total", "sum(small.amount)")`.
    #[must_use]
    pub fn measures(mut self, columns: &[(&str, &str)]) -> PatternSpec {
        self.measures = columns.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        self
    }

    /// Sets the maximum time between the first and the last row of a match.
    #[must_use]
    pub fn within(mut self, time: Duration) -> PatternSpec {
        self.within = Some(time);
        self
    }

    /// Sets where the search continues after a match.
    #[must_use]
    pub fn skip(mut self, skip: PatternSkip) -> PatternSpec {
        self.skip = skip;
        self
    }
}

impl StageSpec {
    /// Finds sequences of rows of a key, in the order of their event times.
    pub fn pattern<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        pattern: PatternSpec,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Pattern(Box::new(pattern)))
    }
}
