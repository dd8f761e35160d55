//! Stages that choose or spread rows: top, distinct, deduplicate, sample, split, repartition.

use super::newest::{self, NewestNode};
use super::ranking::{self, RankingNode};
use super::{CheckedStage, Operator, StageCheck};
use crate::checkpoint::types::{Column, Table};
use crate::window::{WINDOW_END, WINDOW_START, WindowNode};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_base::batch::types::{self, ColumnType};
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::OperatorSpec;
use millstream_base::time::microseconds;
use millstream_sql::expression::Expression;
use std::sync::Arc;

/// What such a stage does, checked. Columns are places in the stage's input.
#[derive(Clone)]
pub enum SimpleNode {
    /// The first rows of each batch or window, and key.
    Top {
        /// How many.
        n: usize,
        /// The column that orders them.
        by: usize,
        /// Smallest first.
        ascending: bool,
        /// Start and end of the window, where rows carry them.
        bounds: Option<(usize, usize)>,
    },
    /// The first of all rows that ever came, of each key.
    Ranking(Box<RankingNode>),
    /// The latest row of each key.
    Newest(Box<NewestNode>),
    /// Of rows that are equal in these columns the first of each batch or window.
    Distinct(Vec<usize>),
    /// Drops rows whose key came before within so many microseconds.
    Deduplicate {
        /// How long a key is remembered.
        within_us: i64,
    },
    /// Keeps the rows whose hash is below this: a share of 2^64.
    Sample(u128),
    /// Rows by the first predicate that they fulfil.
    Split(Vec<Expression>),
    /// Rows spread anew over the workers.
    Repartition {
        /// Into so many parts; `None`: as many as there are workers.
        partitions: Option<u32>,
    },
}

impl SimpleNode {
    /// Whether parts only pass through it.
    pub(super) fn keeps_parts(&self, has_event_time: bool) -> bool {
        match self {
            SimpleNode::Top { .. } | SimpleNode::Ranking(_) | SimpleNode::Newest(_) => false,
            // By their times rows of all its clocks are compared, so what comes out has one.
            SimpleNode::Deduplicate { .. } => !has_event_time,
            _ => true,
        }
    }
}

/// What a stage with `deduplicate` holds of a key: the newest of the times at which rows of it were kept, and the others, as
/// eight bytes each.
pub fn deduplicate_state() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("kept_at", ColumnType::Timestamp.arrow(), false),
        Field::new("kept_earlier", ColumnType::Binary.arrow(), true),
    ]))
}

pub(super) fn check(check: &StageCheck<'_>) -> Result<CheckedStage> {
    let spec = &check.spec.operator;
    let deduplicates = matches!(spec, OperatorSpec::Deduplicate { .. });
    if check.event_time.is_some() && check.window.is_none() && !deduplicates {
        return Err(Error::job(
            "`time` has no meaning here without a window; remove it, or write window = { size = \"1m\" }",
        ));
    }
    let input = check.input.clone();
    let node = match spec {
        OperatorSpec::Top { n, by, ascending, rank } if check.window == Some(&WindowNode::All) => {
            let n = usize::try_from(*n).unwrap_or(usize::MAX);
            return ranking::check(check, n, (ordering(check, by)?, *ascending), rank.as_deref());
        }
        OperatorSpec::Top { n, by, ascending, .. } => top(check, *n, by, *ascending)?,
        OperatorSpec::Newest { by } => return newest::check(check, by.as_deref()),
        OperatorSpec::Distinct(columns) => distinct(check, columns)?,
        OperatorSpec::Deduplicate { within } => return deduplicate(check, microseconds(*within)),
        OperatorSpec::Sample(share) => sample(*share)?,
        OperatorSpec::Split(branches) => return split(check, branches),
        OperatorSpec::Repartition { partitions: Some(0) } => {
            return Err(Error::job("`repartition` into 0 partitions; write at least 1"));
        }
        OperatorSpec::Repartition { partitions } => SimpleNode::Repartition { partitions: *partitions },
        _ => return Err(Error::bug("not a stage that chooses or spreads rows")),
    };
    Ok(CheckedStage::of(input, Operator::Simple(node)))
}

fn top(check: &StageCheck<'_>, n: u64, by: &str, ascending: bool) -> Result<SimpleNode> {
    if n == 0 {
        return Err(Error::job("`top` with n = 0 gives no rows; write at least 1"));
    }
    let place = ordering(check, by)?;
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    Ok(SimpleNode::Top { n, by: place, ascending, bounds: bounds(check)? })
}

/// The column that orders rows.
fn ordering(check: &StageCheck<'_>, by: &str) -> Result<usize> {
    let place = types::column(check.input, by).map_err(|error| error.within(format!("top by `{by}`")))?;
    comparable(check, place, "top by")?;
    Ok(place)
}

/// Where the bounds of the window stand, in rows that come out of windows of event time.
fn bounds(check: &StageCheck<'_>) -> Result<Option<(usize, usize)>> {
    if !check.window.is_some_and(|window| window.of_event_time()) {
        return Ok(None);
    }
    Ok(Some((types::column(check.input, WINDOW_START)?, types::column(check.input, WINDOW_END)?)))
}

fn distinct(check: &StageCheck<'_>, columns: &[String]) -> Result<SimpleNode> {
    let mut places = Vec::new();
    for name in columns {
        places.push(types::column(check.input, name).map_err(|error| error.within(format!("distinct `{name}`")))?);
    }
    if places.is_empty() {
        places = (0..check.input.fields().len()).collect();
    } else if let Some((start, end)) = bounds(check)? {
        places.extend([start, end]);
        if matches!(check.window, Some(WindowNode::Session { .. })) {
            // Two keys may have sessions of the same bounds.
            places.extend(check.key);
        }
    }
    for place in &places {
        let field = check.input.field(*place);
        let kind = ColumnType::of(field.data_type());
        if !kind.is_kept() {
            return Err(not_compared("distinct", field.name(), &kind));
        }
    }
    Ok(SimpleNode::Distinct(places))
}

/// An error where the values of a column have no order.
pub(super) fn comparable(check: &StageCheck<'_>, place: usize, what: &str) -> Result<()> {
    let field = check.input.field(place);
    let kind = ColumnType::of(field.data_type());
    if kind.is_scalar() {
        return Ok(());
    }
    Err(not_compared(what, field.name(), &kind))
}

fn not_compared(what: &str, name: &str, kind: &ColumnType) -> Error {
    Error::job(format!(
        "{what} `{name}`: it is of type {kind}, whose values cannot be compared here; name other columns"
    ))
}

fn deduplicate(check: &StageCheck<'_>, within_us: i64) -> Result<CheckedStage> {
    if check.key.is_empty() {
        return Err(Error::job("`deduplicate` remembers keys: write which columns, as `key = \"id\"`"));
    }
    if check.window.is_some() {
        return Err(Error::job(
            "`deduplicate` has a time of its own, `within`, so that a window has no meaning; remove `window`",
        ));
    }
    if within_us == 0 {
        return Err(Error::job("`deduplicate` within no time drops nothing; write, for example, within = \"10m\""));
    }
    let identity = if check.event_time.is_some() { "event time" } else { "batch time" };
    let columns = [Column::of(check.key_schema()?.fields()), Vec::new(), Column::of(deduplicate_state().fields())];
    let table = Table::of_stage(&check.spec.name, identity, columns);
    let operator = Operator::Simple(SimpleNode::Deduplicate { within_us });
    Ok(CheckedStage { tables: vec![table], ..CheckedStage::of(check.input.clone(), operator) })
}

fn sample(share: f64) -> Result<SimpleNode> {
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::job(format!("`sample = {share}` is no share; write a number from 0 to 1, as 0.1")));
    }
    // Exact: a float has fewer bits than this number.
    Ok(SimpleNode::Sample((share * 18_446_744_073_709_551_616.0) as u128))
}

fn split(check: &StageCheck<'_>, branches: &[(String, String)]) -> Result<CheckedStage> {
    let mut predicates = Vec::new();
    for (name, text) in branches {
        let within = |error: Error| error.within(format!("split into `{name}`"));
        let predicate = Expression::new(text, check.input).map_err(within)?;
        if predicate.data_type() != &DataType::Boolean {
            let kind = ColumnType::of(predicate.data_type());
            return Err(within(Error::job(format!(
                "`{text}` is {kind}, and must be true or false, as \"level = 'ERROR'\""
            ))));
        }
        predicates.push(predicate);
    }
    let branches = branches.iter().map(|(name, _)| (name.clone(), check.input.clone())).collect();
    let operator = Operator::Simple(SimpleNode::Split(predicates));
    Ok(CheckedStage { branches, ..CheckedStage::of(check.input.clone(), operator) })
}
