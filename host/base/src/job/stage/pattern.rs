//! `pattern`: sequences of rows of a key, in the order of their event times.

mod check;
mod read;
pub mod steps;

pub(super) use self::check::check;
pub(super) use self::read::read;
use super::{OperatorSpec, StageSpec};
use crate::error::{Error, Result};
use crate::job::keys::{KeyShape, TableKey, key};
use crate::limits;
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

/// Sequences of rows of a key, in the order of their event times.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternSpec {
    /// The steps of a match, in order.
    pub steps: PatternSteps,
    /// The conditions of steps, including those with `not`: SQL expressions by the step's name.
    pub define: Vec<(String, String)>,
    /// The columns of a match, after its key and times: SQL expressions by the column's name.
    pub measures: Vec<(String, String)>,
    /// Maximum time between the first and the last row of a match; `None`: unlimited.
    pub within: Option<Duration>,
    /// Where the search continues after a match.
    pub skip: PatternSkip,
    /// Maximum rows kept for one key.
    pub rows_max: u64,
    /// Maximum partial matches kept for one key.
    pub partials_max: u64,
}

/// The steps of a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternSteps {
    /// The text in the job file.
    pub text: String,
    /// The steps that take rows.
    pub steps: Vec<PatternStep>,
    /// What must not follow the last of them.
    pub end: PatternNots,
}

/// A step that takes rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternStep {
    /// Its name.
    pub name: String,
    /// Whether other rows may come between the previous row and the first row of this step.
    pub relaxed: bool,
    /// What must not come between the previous row and the first row of this step.
    pub nots: PatternNots,
    /// Minimum number of rows.
    pub least: u32,
    /// Maximum number of rows; `None`: any number.
    pub most: Option<u32>,
    /// Whether as few rows as possible are taken, instead of as many.
    pub reluctant: bool,
    /// Whether other rows may come between the rows of this step.
    pub gaps: bool,
    /// What must not come between them, by the names of its conditions.
    pub gap_nots: Vec<String>,
}

/// Steps with `not` between two that take rows, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternNots {
    /// `next not`: what the directly following row must not be.
    pub next: Vec<String>,
    /// `followed by not`: what none of the rows between must be.
    pub between: Vec<String>,
}

/// Where the search for the next match continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PatternSkip {
    /// After the last row of the match.
    #[default]
    PastLastRow,
    /// At the row after the first one of the match.
    ToNextRow,
    /// At the first row that this step took.
    ToFirst(String),
    /// At the last row that this step took.
    ToLast(String),
}

impl PatternSteps {
    /// Returns the names of what must not come; a name may occur several times.
    pub fn negated(&self) -> impl Iterator<Item = &String> {
        let nots = self.steps.iter().map(|step| &step.nots).chain([&self.end]);
        let of_gaps = self.steps.iter().flat_map(|step| &step.gap_nots);
        nots.flat_map(|nots| nots.next.iter().chain(&nots.between)).chain(of_gaps)
    }

    /// Returns whether a step of this name takes rows.
    pub fn uses_step(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.name == name)
    }

    /// Returns whether some match must wait to see that a row does not come: a `followed by not` follows the last step that takes a row.
    pub fn waits_for_nothing(&self) -> bool {
        let optional = self.steps.iter().rev().take_while(|step| step.least == 0);
        !self.end.between.is_empty() || optional.into_iter().any(|step| !step.nots.between.is_empty())
    }
}

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
