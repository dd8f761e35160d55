//! What an update may keep for each key: the bytes of its state, and its timers.

use crate::limits::PLUGIN_TIMER_CHANGES_MAX;
use crate::plugin::failure::OutputFault;
use crate::plugin::groups::{Groups, TimerChange};
use arrow::array::RecordBatch;
use millstream_base::units;
use millstream_job::spec::PluginLimits;
use millstream_rows::batch::slices::RowBytes;
use std::collections::BTreeMap;
use std::ops::Range;

/// Checks that no key's state is too large.
pub fn check_states(states: &RecordBatch, limits: &PluginLimits) -> Result<(), OutputFault> {
    let (sizes, most) = (RowBytes::measure([states]), limits.state_bytes_per_key_max);
    let is_within = |rows: Range<usize>| sizes.of_range(&rows) as u64 <= most;
    if is_within(0..states.num_rows()) || (0..states.num_rows()).all(|row| is_within(row..row + 1)) {
        return Ok(());
    }
    let advice = "Raise `limits.state_per_key` of the stage, or fix the plugin if it should keep less.";
    Err((format!("the new state of a key is larger than its limit of {}", units::format_bytes(most)), advice).into())
}

/// Checks the timers that a call sets. Both the key's existing timers and new ones count.
pub fn check_timers(
    groups: &Groups,
    changes: Vec<TimerChange>,
    limits: &PluginLimits,
) -> Result<Vec<TimerChange>, OutputFault> {
    let count = groups.keys.num_rows();
    if changes.len() > PLUGIN_TIMER_CHANGES_MAX {
        return Err(format!("it sets or cancels more than {PLUGIN_TIMER_CHANGES_MAX} timers in one call").into());
    }
    if let Some(wrong) = changes.iter().find(|change| change.group as usize >= count) {
        let message = format!("a timer is for group {}, but there are {count} groups (they count from 0)", wrong.group);
        return Err(message.into());
    }
    let most = limits.timers_per_key_max;
    let mut last: BTreeMap<(u32, i64), bool> = BTreeMap::new();
    last.extend(changes.iter().map(|change| ((change.group, change.at_us), change.is_set)));
    let mut set: BTreeMap<u32, u64> = BTreeMap::new();
    for ((group, _), _) in last.into_iter().filter(|(_, is_set)| *is_set) {
        let before = groups.timers.get(group as usize).copied().unwrap_or_default();
        let timers = set.entry(group).or_insert_with(|| before.into());
        *timers += 1;
        if *timers > most {
            let advice = "Raise `limits.timers_per_key` of the stage, or fix the plugin if it should set fewer.";
            return Err((format!("it sets more than {most} timers of one key"), advice).into());
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, UInt32Array};
    use std::sync::Arc;

    fn groups(timers: &[u32]) -> Groups {
        let none: ArrayRef = Arc::new(Int64Array::from(vec![0; timers.len()]));
        let rows = RecordBatch::try_from_iter([("key", none)]).unwrap();
        let flags = BooleanArray::from(vec![false; timers.len()]);
        Groups {
            keys: rows.clone(),
            rows: rows.slice(0, 0),
            ends: UInt32Array::from(vec![0; timers.len()]),
            states: rows,
            known: flags.clone(),
            timed_out: flags.clone(),
            overdue: flags,
            timers: timers.to_vec(),
            due: Default::default(),
            all: false,
        }
    }

    fn rejection(groups: &Groups, changes: Vec<TimerChange>, limits: &PluginLimits) -> String {
        match check_timers(groups, changes, limits).unwrap_err() {
            OutputFault::Invalid(message) | OutputFault::TooMuch(message, _) => message,
        }
    }

    #[test]
    fn timers_are_for_groups_that_there_are_and_not_without_end() {
        let (limits, two) = (PluginLimits::default(), groups(&[0, 0]));
        let change = |group| TimerChange { group, at_us: i64::MIN, is_set: true };
        assert_eq!(check_timers(&two, vec![change(1), change(0)], &limits).unwrap().len(), 2);
        let shown = rejection(&two, vec![change(1), change(2)], &limits);
        assert_eq!(shown, "a timer is for group 2, but there are 2 groups (they count from 0)");
        let shown = rejection(&groups(&[0]), vec![change(0); PLUGIN_TIMER_CHANGES_MAX + 1], &limits);
        assert_eq!(shown, "it sets or cancels more than 1000000 timers in one call");
    }

    #[test]
    fn a_key_has_so_many_timers_those_before_included() {
        let limits = PluginLimits { timers_per_key_max: 3, ..PluginLimits::default() };
        let set = |group, at_us| TimerChange { group, at_us, is_set: true };
        let cancel = |group, at_us| TimerChange { group, at_us, is_set: false };
        let groups = groups(&[2, 0]);
        let may = [set(0, 1), set(1, 1), set(1, 2), set(1, 3), set(1, 3), set(0, 5), cancel(0, 5)];
        assert!(check_timers(&groups, may.to_vec(), &limits).is_ok());
        assert_eq!(rejection(&groups, vec![set(0, 1), set(0, 2)], &limits), "it sets more than 3 timers of one key");
    }

    #[test]
    fn a_state_has_so_many_bytes() {
        let limits = PluginLimits { state_bytes_per_key_max: 100, ..PluginLimits::default() };
        let strings = |lengths: &[usize]| {
            let strings: ArrayRef = Arc::new(StringArray::from_iter_values(lengths.iter().map(|n| "x".repeat(*n))));
            RecordBatch::try_from_iter([("state", strings)]).unwrap()
        };
        assert!(check_states(&strings(&[90, 96, 90]), &limits).is_ok());
        let Err(OutputFault::TooMuch(message, _)) = check_states(&strings(&[1, 97]), &limits) else {
            panic!("it is too large")
        };
        assert_eq!(message, "the new state of a key is larger than its limit of 100 bytes");
    }
}
