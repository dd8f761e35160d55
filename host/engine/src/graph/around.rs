//! The view that operators have of neighboring stages.

use super::{Graph, part_of};
use crate::operators::context::StagesAround;
use crate::operators::stage::{Operator, StageNode};
use millstream_job::retry_source;
use std::collections::BTreeSet;

impl StagesAround for Graph {
    fn order_is_fixed(&self, streams: &[String]) -> bool {
        self.all_pass(streams, |_| true)
    }

    fn reads_only_sources(&self, stage: &StageNode) -> bool {
        let made_of_rows = |stage: &StageNode| matches!(stage.operator, Operator::Union | Operator::Transform(_));
        stage.inputs.iter().all(|input| self.all_pass(&input.from, made_of_rows))
    }

    fn shares_stream(&self, stage: &str) -> bool {
        let (mut downstream, mut seen) = (vec![stage], BTreeSet::new());
        while let Some(name) = downstream.pop() {
            let reads =
                |from: &[String]| from.iter().any(|stream| part_of(stream) == name && !retry_source::is_name(stream));
            let merges = |from: &[String]| from.len() > 1 && reads(from);
            let stages = || self.stages.iter().flat_map(|stage| stage.inputs.iter().map(move |input| (stage, input)));
            if self.spec.sinks.iter().any(|sink| merges(&sink.from)) || stages().any(|(_, input)| merges(&input.from)) {
                return true;
            }
            let readers = stages().filter(|(_, input)| reads(&input.from)).map(|(stage, _)| stage.name.as_str());
            downstream.extend(readers.filter(|name| seen.insert(*name)));
        }
        false
    }

    fn held_index(&self, stage: &StageNode) -> Option<u32> {
        let index = self.stage_index(&stage.name);
        let times = self.stages.iter().filter_map(|stage| stage.event_time.as_ref());
        let wants_index = times.flat_map(|time| time.holding.values()).any(|stages| stages.contains_key(&index));
        wants_index.then_some(index)
    }
}
