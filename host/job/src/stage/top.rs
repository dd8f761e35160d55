//! `top`: the first rows in an order.

use super::window;
use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, StageSpec};
use crate::table::Reader;

/// `top` of a stage.
pub(super) const KEY: TableKey = key(
    "top",
    KeyShape::Table(KEYS),
    "The top rows in an order, per key if the stage has one: { n = 10, by = \"total\" }.",
);

/// What keys of the stage mean with this operator.
pub(super) const DOCS: &[(&str, &str)] = &[window::OP_OF_ALL];

const KEYS: &[TableKey] = &[
    key("n", KeyShape::Integer(1, i64::MAX as u64), "Number of rows.").required(),
    key("by", KeyShape::Text, "Column that orders the rows.").required(),
    key(
        "order",
        KeyShape::Word(&["desc", "asc"]),
        "Order: largest first (`desc`), or smallest first (`asc`). `desc` by default.",
    ),
    key("key", KeyShape::TextList, "Same as `key` of the stage."),
    key(
        "rank",
        KeyShape::Text,
        "With `window = \"all\"`: name of a column for the rank of each row, from 1. A row whose rank changes is deleted and \
         inserted again.",
    ),
];

impl StageSpec {
    /// Keeps the `n` rows with the largest or smallest values of a column.
    pub fn top<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        n: u64,
        by: impl Into<String>,
        ascending: bool,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Top { n, by: by.into(), ascending, rank: None })
    }

    /// For `top` over all rows: sets the column for the rank of each row.
    #[must_use]
    pub fn rank(mut self, column: impl Into<String>) -> StageSpec {
        if let OperatorSpec::Top { rank, .. } = &mut self.operator {
            *rank = Some(column.into());
        }
        self
    }
}

/// Reads `top`; its `key` is read with that of the stage.
pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    let none = OperatorSpec::Top { n: 1, by: String::new(), ascending: false, rank: None };
    let Some(r) = r.inner("top", "top = { n = 10, by = \"total\" }") else { return none };
    r.check_keys(KEYS, &[], None);
    r.need("n", "n = 10");
    r.need("by", "by = \"total\"");
    OperatorSpec::Top {
        n: r.integer("n", 1, i64::MAX as u64).unwrap_or(1),
        by: r.text("by", "by = \"total\"").unwrap_or_default().into(),
        ascending: r.choice("order", &[("desc", false), ("asc", true)], &[]).unwrap_or_default(),
        rank: r.text("rank", "rank = \"rank\"").map(Into::into),
    }
}

pub(super) fn check(n: u64, by: &str, part: &PartErrors<'_>) {
    if n == 0 {
        part.wrong("top.n", "`top.n` is 0; write at least 1");
    }
    if by.is_empty() {
        part.wrong("top.by", "`top.by` is empty; write the name of a column, for example by = \"total\"");
    }
}
