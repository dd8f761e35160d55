//! Dispatch to the operator that checks a stage when a job is loaded.

use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::window::node::WindowNode;
use crate::operators::{
    aggregate, cogroup, deduplicate, distinct, enrich, join, latest, newest, pattern, plugin, ranking, repartition,
    sample, split, sql, top,
};
use millstream_base::error::{Error, Result};
use millstream_base::time::microseconds;
use millstream_job::spec::OperatorSpec;

/// Checks the operator of a stage.
pub fn operator(check: &StageCheck<'_>) -> Result<CheckedStage> {
    match &check.spec.operator {
        OperatorSpec::Union => Ok(CheckedStage::new(check.input.clone(), Operator::Union)),
        OperatorSpec::Aggregate { columns, inverse } => aggregate::check::check(check, columns, *inverse),
        OperatorSpec::Plugin(plugin) => plugin::check::check(check, plugin),
        OperatorSpec::Cogroup { plugin, .. } => cogroup::check::check(check, plugin),
        OperatorSpec::Sql { query, functions, limits } => sql::check::check(check, query, functions, *limits),
        OperatorSpec::Join(join) => join::check::check(check, join),
        OperatorSpec::Enrich(enrich) => enrich::check::check(check, enrich),
        OperatorSpec::Latest(latest) => latest::check::check(check, latest),
        OperatorSpec::Pattern(pattern) => pattern::check::check(check, pattern),
        OperatorSpec::Top { .. }
        | OperatorSpec::Newest { .. }
        | OperatorSpec::Distinct(_)
        | OperatorSpec::Deduplicate { .. }
        | OperatorSpec::Sample(_)
        | OperatorSpec::Split(_)
        | OperatorSpec::Repartition { .. } => simple_operator(check),
    }
}

/// Checks operators that select or distribute rows.
fn simple_operator(check: &StageCheck<'_>) -> Result<CheckedStage> {
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
            return ranking::check::check(check, n, (top::check::ordering(check, by)?, *ascending), rank.as_deref());
        }
        OperatorSpec::Top { n, by, ascending, .. } => top::check::check(check, *n, by, *ascending)?,
        OperatorSpec::Newest { by } => return newest::check::check(check, by.as_deref()),
        OperatorSpec::Distinct(columns) => distinct::check::check(check, columns)?,
        OperatorSpec::Deduplicate { within } => return deduplicate::check::check(check, microseconds(*within)),
        OperatorSpec::Sample(share) => sample::check::check(*share)?,
        OperatorSpec::Split(branches) => return split::check::check(check, branches),
        OperatorSpec::Repartition { partitions } => repartition::check::check(*partitions)?,
        _ => return Err(Error::bug("not a stage that chooses or spreads rows")),
    };
    Ok(CheckedStage::new(input, Operator::Simple(node)))
}
