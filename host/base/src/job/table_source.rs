//! The table of a stage with `enrich`, as a source that the author of a job did not write.

use crate::batch::types::ColumnType;
use crate::job::spec::{ColumnSpec, EnrichSpec, Format, Origin, SourceKind, SourceSpec};
use crate::limits::ENRICH_BYTES_MAX;

/// The name of the source that the table of a stage is.
pub fn name_of(stage: &str) -> String {
    format!("{stage}.table")
}

/// The stage whose table a source is.
pub fn stage_of(source: &str) -> &str {
    source.strip_suffix(".table").unwrap_or(source)
}

/// The source of the table of a stage. `enrich` says all columns.
pub fn source(stage: &str, enrich: EnrichSpec) -> SourceSpec {
    SourceSpec {
        // The one record must fit into a batch.
        bytes_per_batch_max: ENRICH_BYTES_MAX,
        record_bytes_max: ENRICH_BYTES_MAX,
        ..SourceSpec::new(name_of(stage), SourceKind::Table(Box::new(enrich)), Format::Binary { record_bytes: None })
            .schema(vec![ColumnSpec::new("content", ColumnType::Binary)])
    }
}

/// What an error about the table of this source begins with.
pub fn place(source: &SourceSpec, origin: &Origin) -> String {
    let stage = stage_of(&source.name);
    format!("{}stage `{stage}`: enrich", origin.at(&format!("stages.{stage}.enrich")))
}
