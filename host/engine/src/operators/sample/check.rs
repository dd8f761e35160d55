//! Stages with `sample`.

use crate::operators::simple::SimpleNode;
use millstream_base::error::{Error, Result};

/// Checks the stage.
pub fn check(share: f64) -> Result<SimpleNode> {
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::job(format!("`sample = {share}` must be a number from 0 to 1; write for example 0.1")));
    }
    // Exact: a float has fewer bits than this number.
    Ok(SimpleNode::Sample((share * 18_446_744_073_709_551_616.0) as u128))
}

/// Describes what the stage does.
pub fn summary(share: f64) -> String {
    format!("a share of {share} of the rows")
}
