//! The lookup table of a stage with `enrich`, as a source that is not in the job file.

use crate::spec::{EnrichSpec, Origin, SourceKind, SourceSpec};
use millstream_base::limits::ENRICH_BYTES_MAX;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::formats::Format;

/// Returns the name of the source of a stage's table.
pub fn name_of(stage: &str) -> String {
    format!("{stage}.table")
}

/// Returns the stage of a table's source.
pub fn stage_of(source: &str) -> &str {
    source.strip_suffix(".table").unwrap_or(source)
}

/// Creates the source of a stage's table. `enrich` has all columns.
pub fn source(stage: &str, enrich: EnrichSpec) -> SourceSpec {
    SourceSpec {
        // The one record must fit into a batch.
        bytes_per_batch_max: ENRICH_BYTES_MAX,
        record_bytes_max: ENRICH_BYTES_MAX,
        ..SourceSpec::new(name_of(stage), SourceKind::Table(Box::new(enrich)), Format::Binary { record_bytes: None })
            .schema(vec![ColumnSpec::new("content", ColumnType::Binary)])
    }
}

/// Returns the prefix of errors about the table of this source.
pub fn error_prefix(source: &SourceSpec, origin: &Origin) -> String {
    let stage = stage_of(&source.name);
    format!("{}stage `{stage}`: enrich", origin.at(&format!("stages.{stage}.enrich")))
}
