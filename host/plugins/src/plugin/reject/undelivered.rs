//! World `update`: keys with a due timer whose rows the plugin rejected, all of them. The rejection also covers the timer, and a timer is
//! due only once. So these keys are called again without their rows.

use super::update::take_rows;
use crate::plugin::groups::{Groups, Updated};
use millstream_base::error::Result;
use millstream_rows::batch::rejected::RejectedRow;

impl Groups {
    /// Whether a key has a due timer, and rows as well.
    pub fn may_refuse_timers(&self) -> bool {
        (0..self.keys.num_rows()).any(|group| self.is_due(group) && !self.rows_of(group).is_empty())
    }

    /// The groups that were called for a timer and whose rows were all rejected, without those that were already called without rows.
    fn undelivered(&self, updated: &Updated) -> Vec<usize> {
        let refused_all = |group: &usize| {
            let rows = self.rows_of(*group);
            // Rejections are sorted by row.
            let first = updated.rejections.partition_point(|rejection| (rejection.row as usize) < rows.start);
            let last = updated.rejections.partition_point(|rejection| (rejection.row as usize) < rows.end);
            !rows.is_empty() && last - first == rows.len() && !updated.emptied.contains(&(*group as u32))
        };
        (0..self.keys.num_rows()).filter(|group| self.is_due(*group)).filter(refused_all).collect()
    }

    /// The groups without the rows of some of them, and the indexes that the other rows had.
    fn without_rows_of(&self, emptied: &[usize]) -> Result<(Groups, Vec<u32>)> {
        let (mut left, mut ends) = (Vec::new(), Vec::new());
        for group in 0..self.keys.num_rows() {
            if emptied.binary_search(&group).is_err() {
                left.extend(self.rows_of(group).map(|row| row as u32));
            }
            ends.push(left.len() as u32);
        }
        let rows = take_rows(&self.rows, left.clone())?;
        Ok((Groups { rows, ends: ends.into(), ..self.clone() }, left))
    }
}

/// Returns the result of a call on groups. If it rejected rows together with a timer, the result is that of another `call` without those
/// rows; the first result and its counts are dropped. The rows stay rejected.
pub fn delivered(
    groups: &Groups,
    mut updated: Updated,
    call: impl FnOnce(&Groups) -> Result<Updated>,
) -> Result<Updated> {
    updated.rejections.sort_by_key(|rejection| rejection.row);
    let emptied = groups.undelivered(&updated);
    if emptied.is_empty() {
        return Ok(updated);
    }
    let (others, indexes) = groups.without_rows_of(&emptied)?;
    let of_emptied = |rejection: &RejectedRow| {
        emptied.iter().any(|group| groups.rows_of(*group).contains(&(rejection.row as usize)))
    };
    let mut rejections: Vec<_> = updated.rejections.into_iter().filter(of_emptied).collect();
    let again = call(&others)?;
    let original =
        |rejection: RejectedRow| Some(RejectedRow { row: *indexes.get(rejection.row as usize)?, ..rejection });
    rejections.extend(again.rejections.into_iter().filter_map(original));
    rejections.sort_by_key(|rejection| rejection.row);
    Ok(Updated { rejections, ..again })
}
