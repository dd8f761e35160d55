//! Description of what a stage's operator does.

use super::stage_text::StageText;
use super::{
    aggregate, cogroup, deduplicate, distinct, enrich, join, latest, newest, pattern, ranking, repartition, sample,
    split, sql, top,
};
use millstream_job::spec::{OperatorSpec, StageSpec};

/// Returns the line of an operator, if it has one.
pub fn operator(spec: &StageSpec) -> Option<String> {
    let text = &StageText { spec };
    Some(match &spec.operator {
        OperatorSpec::Union | OperatorSpec::Plugin(_) => return None,
        OperatorSpec::Aggregate { inverse, .. } => return aggregate::check::summary(text, *inverse),
        OperatorSpec::Cogroup { .. } => cogroup::check::summary(text),
        OperatorSpec::Sql { functions, .. } => sql::check::summary(text, functions),
        OperatorSpec::Join(join) => join::check::summary(text, join),
        OperatorSpec::Enrich(enrich) => enrich::check::summary(enrich),
        OperatorSpec::Latest(latest) => latest::check::summary(latest),
        OperatorSpec::Pattern(pattern) => pattern::check::summary(text, pattern),
        OperatorSpec::Top { n, by, ascending, rank } if text.is_over_all() => {
            ranking::check::summary(text, *n, (by, *ascending), rank.as_deref())
        }
        OperatorSpec::Top { n, by, ascending, .. } => top::check::summary(text, *n, by, *ascending),
        OperatorSpec::Newest { by } => newest::check::summary(text, by.as_deref()),
        OperatorSpec::Distinct(columns) => distinct::check::summary(text, columns),
        OperatorSpec::Deduplicate { within } => deduplicate::check::summary(text, *within),
        OperatorSpec::Sample(share) => sample::check::summary(*share),
        OperatorSpec::Split(branches) => split::check::summary(text, branches),
        OperatorSpec::Repartition { partitions } => repartition::check::summary(text, *partitions),
    })
}
