//! Stages with `deduplicate`.

use crate::checkpoint::types::{Column, Table};
use crate::operators::deduplicate::state::deduplicate_state;
use crate::operators::simple::SimpleNode;
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::StageText;
use millstream_base::error::{Error, Result};
use millstream_base::units::show_time;
use std::time::Duration;

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, within_us: i64) -> Result<CheckedStage> {
    if check.key.is_empty() {
        return Err(Error::job("`deduplicate` needs `key`, the columns to compare: write key = \"id\""));
    }
    if check.window.is_some() {
        return Err(Error::job(
            "`deduplicate` has its own time limit, `within`, so a window has no effect; remove `window`",
        ));
    }
    if within_us == 0 {
        return Err(Error::job("`deduplicate` with `within` of 0 drops nothing; write, for example, within = \"10m\""));
    }
    let identity = if check.event_time.is_some() { "event time" } else { "batch time" };
    let columns = [
        Column::from_fields(check.key_schema()?.fields()),
        Vec::new(),
        Column::from_fields(deduplicate_state().fields()),
    ];
    let table = Table::of_stage(&check.spec.name, identity, columns);
    let operator = Operator::Simple(SimpleNode::Deduplicate { within_us });
    Ok(CheckedStage { tables: vec![table], ..CheckedStage::new(check.input.clone(), operator) })
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, within: Duration) -> String {
    let time = if text.spec.event_time.is_some() { "event" } else { "processing" };
    format!("the first row of each {} within {} of {time} time", text.each(""), show_time(within))
}
