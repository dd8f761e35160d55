//! Which sinks keep the changes that stages and sources emit: rows in them must be deleted exactly as they were inserted.

use super::operators::replaces_rows;
use super::{Label, Meaning, MeaningBuilder, label};
use crate::checkpoint::meaning::TableMeaning;
use crate::graph::{Graph, part_of};
use millstream_job::spec::{OperatorSpec, SinkSpec, StageSpec};
use std::collections::{BTreeMap, BTreeSet};

impl MeaningBuilder<'_> {
    /// Records the contents of sinks with the tables of the stages that made the changes.
    pub(super) fn sinks(&mut self) {
        for sink in self.graph.spec.sinks.iter().filter(|sink| sink.kind.keeps_rows()) {
            let makers = self.makers_of(sink);
            if makers.is_empty() {
                continue;
            }
            let owner = format!("sink `{}`", sink.name);
            let rows = self.union(&sink.from, &owner);
            let part = |of: Meaning| {
                let label = Label { owner: owner.clone(), ..label("rows", "in a sink") };
                Meaning::new(label, vec![of])
            };
            let name = &sink.name;
            // Columns of a table may change. In other sinks, deleted rows must equal the inserted ones.
            let by_column = rows.columns.iter().map(|(column, of)| (format!("{name}.{column}"), part(of.clone())));
            let of_source: BTreeMap<String, Meaning> = by_column.chain([(name.clone(), part(rows.rows()))]).collect();
            let of_stage = BTreeMap::from([(name.clone(), part(rows.all_columns()))]);
            for maker in makers {
                let is_source = self.graph.spec.sources.iter().any(|source| source.name == maker);
                let sinks = if is_source { of_source.clone() } else { of_stage.clone() };
                let unknown = || TableMeaning { state: None, sinks: BTreeMap::new() };
                self.tables.entry(maker).or_insert_with(unknown).sinks.extend(sinks);
            }
        }
    }

    /// Returns the tables of the stages and sources whose changes a sink keeps: those whose rows pass no other stage with state.
    fn makers_of(&self, sink: &SinkSpec) -> BTreeSet<String> {
        let spec = &self.graph.spec;
        let follows = sink.kind.changes().are_followed();
        let (mut makers, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut streams: Vec<&str> = sink.from.iter().map(String::as_str).collect();
        while let Some(stream) = streams.pop() {
            if !seen.insert(stream) {
                continue;
            }
            let name = part_of(stream);
            let is_side = stream != name;
            if let Some(source) = spec.sources.iter().find(|source| source.name == name) {
                if !is_side && (follows || millstream_job::is_of_changes(source)) {
                    makers.insert(source.name.clone());
                }
                continue;
            }
            let Some(stage) = spec.stages.iter().find(|stage| stage.name == name) else { continue };
            match is_side && !matches!(stage.operator, OperatorSpec::Split(_)) {
                true => {}
                false if replaces_rows(stage) => _ = makers.insert(self.table_of(stage)),
                false if keeps_state(self.graph, stage) => {}
                false => streams.extend(stage.from.iter().map(String::as_str)),
            }
        }
        makers
    }

    fn table_of(&self, stage: &StageSpec) -> String {
        let node = self.graph.stages.iter().find(|node| node.name == stage.name);
        let first = node.and_then(|node| {
            node.tables
                .iter()
                .find(|table| self.tables.contains_key(&table.name) && !table.name.ends_with(".watermark"))
        });
        first.map_or_else(|| stage.name.clone(), |table| table.name.clone())
    }
}

/// Returns whether rows of a stage are computed from state, and not only from its input.
pub(super) fn keeps_state(graph: &Graph, stage: &StageSpec) -> bool {
    let passes =
        matches!(stage.operator, OperatorSpec::Latest(_) | OperatorSpec::Enrich(_) | OperatorSpec::Deduplicate { .. });
    let node = graph.stages.iter().find(|node| node.name == stage.name);
    !passes && node.is_some_and(|node| !node.tables.is_empty())
}
