//! What the operator of a stage does, in words.

use super::stage_words::StageWords;
use super::{
    aggregate, cogroup, deduplicate, distinct, enrich, join, latest, newest, pattern, ranking, repartition, sample,
    split, sql, top,
};
use millstream_base::job::spec::{OperatorSpec, StageSpec};

/// The line of an operator that has one.
pub fn operator(spec: &StageSpec) -> Option<String> {
    let words = &StageWords { spec };
    Some(match &spec.operator {
        OperatorSpec::Union | OperatorSpec::Plugin(_) => return None,
        OperatorSpec::Aggregate { inverse, .. } => return aggregate::check::in_words(words, *inverse),
        OperatorSpec::Cogroup { .. } => cogroup::check::in_words(words),
        OperatorSpec::Sql { functions, .. } => sql::check::in_words(words, functions),
        OperatorSpec::Join(join) => join::check::in_words(words, join),
        OperatorSpec::Enrich(enrich) => enrich::check::in_words(enrich),
        OperatorSpec::Latest(latest) => latest::check::in_words(latest),
        OperatorSpec::Pattern(pattern) => pattern::check::in_words(words, pattern),
        OperatorSpec::Top { n, by, ascending, rank } if words.is_over_all() => {
            ranking::check::in_words(words, *n, (by, *ascending), rank.as_deref())
        }
        OperatorSpec::Top { n, by, ascending, .. } => top::check::in_words(words, *n, by, *ascending),
        OperatorSpec::Newest { by } => newest::check::in_words(words, by.as_deref()),
        OperatorSpec::Distinct(columns) => distinct::check::in_words(words, columns),
        OperatorSpec::Deduplicate { within } => deduplicate::check::in_words(words, *within),
        OperatorSpec::Sample(share) => sample::check::in_words(*share),
        OperatorSpec::Split(branches) => split::check::in_words(words, branches),
        OperatorSpec::Repartition { partitions } => repartition::check::in_words(words, *partitions),
    })
}
