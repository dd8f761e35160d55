//! A pattern of the job file.

use std::time::Duration;

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
