//! World `update`: keys whose timer was due and whose rows the plugin refused, all of them. It refused the timer with them, as
//! its function says no to all that it was called for, and a timer comes only once: these keys are called without their rows.

use super::update::taken;
use crate::plugin::groups::{Groups, Updated};
use millstream_base::batch::rejected::RefusedRow;
use millstream_base::error::Result;

impl Groups {
    /// Whether a key has a timer that is due, and rows beside it.
    pub fn may_refuse_timers(&self) -> bool {
        (0..self.keys.num_rows()).any(|group| self.is_due(group) && !self.rows_of(group).is_empty())
    }

    /// The groups that were called for a timer and of which every row was refused, but for those that were called without
    /// rows already.
    fn undelivered(&self, updated: &Updated) -> Vec<usize> {
        let refused_all = |group: &usize| {
            let rows = self.rows_of(*group);
            // They stand in order.
            let first = updated.rejections.partition_point(|refusal| (refusal.row as usize) < rows.start);
            let last = updated.rejections.partition_point(|refusal| (refusal.row as usize) < rows.end);
            !rows.is_empty() && last - first == rows.len() && !updated.emptied.contains(&(*group as u32))
        };
        (0..self.keys.num_rows()).filter(|group| self.is_due(*group)).filter(refused_all).collect()
    }

    /// The groups without the rows of some of them, and the places that the others had.
    fn without_rows_of(&self, emptied: &[usize]) -> Result<(Groups, Vec<u32>)> {
        let (mut left, mut ends) = (Vec::new(), Vec::new());
        for group in 0..self.keys.num_rows() {
            if emptied.binary_search(&group).is_err() {
                left.extend(self.rows_of(group).map(|row| row as u32));
            }
            ends.push(left.len() as u32);
        }
        let rows = taken(&self.rows, left.clone())?;
        Ok((Groups { rows, ends: ends.into(), ..self.clone() }, left))
    }
}

/// What a call made of groups; where it refused rows together with a timer, what another `call` makes of them without those rows
/// (what the first one made is dropped, also what it counted). The rows stay refused.
pub fn delivered(
    groups: &Groups,
    mut updated: Updated,
    call: impl FnOnce(&Groups) -> Result<Updated>,
) -> Result<Updated> {
    updated.rejections.sort_by_key(|refusal| refusal.row);
    let emptied = groups.undelivered(&updated);
    if emptied.is_empty() {
        return Ok(updated);
    }
    let (others, places) = groups.without_rows_of(&emptied)?;
    let of_emptied =
        |refusal: &RefusedRow| emptied.iter().any(|group| groups.rows_of(*group).contains(&(refusal.row as usize)));
    let mut rejections: Vec<_> = updated.rejections.into_iter().filter(of_emptied).collect();
    let again = call(&others)?;
    let place = |refusal: RefusedRow| Some(RefusedRow { row: *places.get(refusal.row as usize)?, ..refusal });
    rejections.extend(again.rejections.into_iter().filter_map(place));
    rejections.sort_by_key(|refusal| refusal.row);
    Ok(Updated { rejections, ..again })
}
