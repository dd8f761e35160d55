//! Checks of sources whose records have schemas. The content of the schemas is checked by their users (`receiver`).

use crate::part_errors::PartErrors;
use crate::spec::*;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::{Format, ProtobufSpec, RegistrySpec, WriterSchema};

/// Checks a source of format `avro` or `protobuf`.
pub(crate) fn check(spec: &SourceSpec, part: &PartErrors<'_>) {
    let in_files = spec.kind.bounds() == RecordBounds::File;
    let no_frames = spec.kind.declared().and_then(|config| config.no_frames(&spec.format)).unwrap_or_default();
    if matches!(spec.format, Format::Avro(_) | Format::Protobuf(_)) && !no_frames.is_empty() {
        return part
            .wrong("format", format!("records of format `{}` are not lines: {no_frames}", spec.format.keyword()));
    }
    match &spec.format {
        Format::Parquet if !in_files => {
            let message = "Parquet files are read completely, from their end; write kind = \"directory\" or \"file\", without `follow`";
            part.wrong("format", message);
        }
        Format::Avro(WriterSchema::InFile) if spec.kind.bounds() == RecordBounds::Body => {
            let message =
                "format `avro` needs the schema that all records were written with; write schema_file = \"order.avsc\"";
            part.wrong("format", message);
        }
        Format::Avro(WriterSchema::InFile) if !in_files => {
            let message = "format `avro` needs the schema that records were written with; write registry = \
                           \"http://127.0.0.1:8081\", or schema_file = \"order.avsc\"";
            part.wrong("format", message);
        }
        Format::Avro(WriterSchema::Given(_)) if in_files => {
            part.wrong("schema_file", "Avro files contain the schema of their records; remove `schema_file`");
        }
        Format::Avro(WriterSchema::Registry(_)) if in_files => {
            part.wrong("registry", "Avro files contain the schema of their records; remove `registry`");
        }
        Format::Avro(WriterSchema::Registry(spec)) => registry(spec, part),
        Format::Protobuf(protobuf) => message(protobuf, part),
        _ => {}
    }
}

/// The message that records are.
pub fn message(spec: &ProtobufSpec, part: &PartErrors<'_>) {
    if spec.message.is_empty() {
        part.wrong("message", "`message` is empty; write the full name of a message, for example \"shop.Order\"");
    }
}

/// Checks the settings of a schema registry.
pub fn registry(spec: &RegistrySpec, part: &PartErrors<'_>) {
    let url = &spec.url;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        part.wrong("registry", format!("`{url}` is not a valid URL; write http://host:port or https://host"));
    }
}
