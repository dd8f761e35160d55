//! Stages with `top` over the rows of each batch or window.

use crate::operators::simple::SimpleNode;
use crate::operators::stage_check::StageCheck;
use crate::operators::stage_text::StageText;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::types;

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, n: u64, by: &str, ascending: bool) -> Result<SimpleNode> {
    if n == 0 {
        return Err(Error::job("`top` with n = 0 gives no rows; write at least 1"));
    }
    let index = ordering(check, by)?;
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    Ok(SimpleNode::Top { n, by: index, ascending, bounds: check.bounds()? })
}

/// The column that orders rows.
pub fn ordering(check: &StageCheck<'_>, by: &str) -> Result<usize> {
    let index = types::column(check.input, by).map_err(|error| error.within(format!("top by `{by}`")))?;
    check.comparable(index, "top by")?;
    Ok(index)
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, n: u64, by: &str, ascending: bool) -> String {
    let order = if ascending { "smallest" } else { "largest" };
    format!("top {n} of each {} by {by}, {order} first{}", text.rows(), text.each(", for each "))
}
