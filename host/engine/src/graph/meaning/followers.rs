//! Which stages and sinks follow the changes that others emit: their contents are computed from all of these, from the first one on.

use super::sinks::keeps_state;
use crate::checkpoint::meaning::{FollowedStages, Followers};
use crate::graph::{Graph, part_of};
use millstream_job::changes_rows;
use millstream_job::spec::{OperatorSpec, SinkChanges, StageSpec};
use std::collections::BTreeSet;

impl Graph {
    /// Returns which stages and sinks follow whose changes.
    pub fn followers(&self) -> Followers {
        let of_stage = |stage: &StageSpec| {
            Some((stage.name.clone(), self.makers(followed(stage)))).filter(|(_, of)| !of.is_empty())
        };
        let sinks = self.spec.sinks.iter().filter(|sink| sink.kind.keeps_rows()).map(|sink| {
            let is_table = matches!(sink.kind.changes(), SinkChanges::PassedOn | SinkChanges::Followed { .. });
            let makers = self.makers(sink.from.iter().collect());
            (sink.name.clone(), FollowedStages { makers, is_table })
        });
        Followers {
            stages: self.spec.stages.iter().filter_map(of_stage).collect(),
            sinks: sinks.collect(),
            makers: self
                .spec
                .stages
                .iter()
                .filter(|stage| changes_rows(stage))
                .map(|stage| stage.name.clone())
                .collect(),
        }
    }

    /// Returns the stages whose changes reach these streams without passing a stage that keeps them.
    fn makers(&self, streams: Vec<&String>) -> BTreeSet<String> {
        let (mut makers, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut rest: Vec<&str> = streams.into_iter().map(String::as_str).collect();
        while let Some(stream) = rest.pop() {
            let name = part_of(stream);
            let Some(stage) = self.spec.stages.iter().find(|stage| stage.name == name) else { continue };
            if !seen.insert(stream) || (stream != name && !matches!(stage.operator, OperatorSpec::Split(_))) {
                continue;
            }
            if changes_rows(stage) {
                makers.insert(stage.name.clone());
            } else if !keeps_state(self, stage) {
                rest.extend(stage.from.iter().map(String::as_str));
            }
        }
        makers
    }
}

/// Returns the streams whose changes a stage keeps.
fn followed(stage: &StageSpec) -> Vec<&String> {
    match &stage.operator {
        OperatorSpec::Latest(latest) => latest.op.iter().map(|_| &latest.stream).collect(),
        _ if stage.op.is_some() => stage.reads().collect(),
        _ => Vec::new(),
    }
}
