//! The current cost of plugins: the difference between the current counts and those some seconds ago. Pure.

use crate::page::view::JobView;
use millstream_runtime::control::PartStatus;
use std::collections::VecDeque;

/// The last ten seconds, as for all other rates.
const KEPT_MAX: usize = 10;

/// The current cost of the plugins of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// The share of one core's time that is spent in the guest.
    pub guest: f64,
    /// Calls per second.
    pub calls: f64,
    /// The maximum memory of a call.
    pub memory_bytes_max: u64,
    /// Whether the part has a plugin.
    pub has_plugin: bool,
}

/// The counts of the last seconds: the time, and by part the nanoseconds of plugins and the number of their calls.
#[derive(Default)]
pub struct CostRates(VecDeque<(i64, Vec<(u64, u64)>)>);

impl CostRates {
    /// Adds the counts of a view.
    pub fn take(&mut self, view: &JobView) {
        if self.0.back().is_some_and(|(last_us, _)| *last_us >= view.status.now_us) {
            return;
        }
        self.0.push_back((view.status.now_us, counted_parts(view).map(plugin_totals).collect()));
        if self.0.len() > KEPT_MAX + 1 {
            self.0.pop_front();
        }
    }

    /// Returns the cost of the part with this index.
    pub fn cost(&self, view: &JobView, index: usize) -> Cost {
        let Some(part) = counted_parts(view).nth(index) else { return Cost::default() };
        let plugins = &part.counts.plugins;
        let memory_bytes_max = plugins.iter().map(|plugin| plugin.costs.memory_bytes_max).max().unwrap_or(0);
        let cost = Cost { memory_bytes_max, has_plugin: !plugins.is_empty(), ..Cost::default() };
        let (Some((from_us, before)), Some((to_us, now))) = (self.0.front(), self.0.back()) else { return cost };
        let us = to_us.saturating_sub(*from_us);
        match (before.get(index), now.get(index)) {
            (Some(before), Some(now)) if us > 0 => Cost {
                guest: now.0.saturating_sub(before.0) as f64 / 1e3 / us as f64,
                calls: now.1.saturating_sub(before.1) as f64 * 1e6 / us as f64,
                ..cost
            },
            _ => cost,
        }
    }
}

fn counted_parts(view: &JobView) -> impl Iterator<Item = &PartStatus> {
    let status = &view.status;
    status.sources.iter().chain(&status.stages).chain(&status.sinks)
}

fn plugin_totals(part: &PartStatus) -> (u64, u64) {
    part.counts.plugins.iter().fold((0, 0), |(ns, calls), plugin| {
        (ns.saturating_add(plugin.costs.guest_ns), calls.saturating_add(plugin.costs.calls))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_metrics::{PluginCosts, PluginId};
    use millstream_plugins::plugin::Costs;

    fn view(now_us: i64, guest_ns: u64, calls: u64) -> JobView {
        let costs = Costs { guest_ns, calls, memory_bytes_max: 5, ..Costs::default() };
        let mut part = PartStatus::default();
        part.counts.plugins = vec![PluginCosts { plugin: PluginId::default(), costs }];
        let mut view = JobView::default();
        (view.status.now_us, view.status.stages) = (now_us, vec![part]);
        view
    }

    #[test]
    fn costs_are_those_of_the_last_seconds() {
        let mut rates = CostRates::default();
        rates.take(&view(0, 1_000_000_000, 10));
        let now = view(2_000_000, 2_000_000_000, 30);
        let cost = rates.cost(&now, 0);
        assert_eq!((cost.guest, cost.calls, cost.memory_bytes_max, cost.has_plugin), (0.0, 0.0, 5, true));
        rates.take(&now);
        assert_eq!(rates.cost(&now, 0), Cost { guest: 0.5, calls: 10.0, memory_bytes_max: 5, has_plugin: true });
        assert_eq!(rates.cost(&now, 1), Cost::default());
        (3..100).for_each(|second| rates.take(&view(second * 1_000_000, 2_000_000_000, 30)));
        assert_eq!((rates.0.len(), rates.cost(&now, 0).guest), (KEPT_MAX + 1, 0.0));
    }
}
