//! `millstream infer`: derives the lines of a job file from a sample file.

use super::output::LogOutput;
use crate::program_limits::{INFER_BYTES_MAX_MAX, INFER_ROWS_MAX};
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::limits::NAME_BYTES_MAX;
use millstream_base::{shown, units};
use millstream_connectors::files::source::infer::{self, Inferred, Sample};
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::formats::Format;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The arguments of `millstream infer`.
#[derive(Args)]
pub struct InferArguments {
    /// File that the source will read
    ///
    /// JSON lines, csv, text, Avro or Parquet; it may be compressed with gzip or zstd.
    sample: PathBuf,
    /// Name of the source (default: derived from the name of the file)
    #[arg(long)]
    name: Option<String>,
    /// Format (default: detected)
    #[arg(long, value_parser = ["json", "csv", "text", "avro", "parquet"])]
    format: Option<String>,
    /// Format csv: whether there is a header line (default: detected)
    #[arg(long, value_name = "BOOL")]
    header: Option<bool>,
    /// Format csv: separator of the cells (default: detected)
    #[arg(long, value_parser = one_byte)]
    separator: Option<u8>,
    /// Maximum records to read
    #[arg(long, default_value_t = INFER_ROWS_MAX, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Maximum bytes to read, for example "64MiB", after decompression
    #[arg(long, value_parser = bytes, default_value = "64MiB")]
    bytes: u64,
}

fn one_byte(text: &str) -> std::result::Result<u8, String> {
    match text {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
            _ => Err("write one character, for example ; or \\t".into()),
        },
    }
}

fn bytes(text: &str) -> std::result::Result<u64, String> {
    let most = INFER_BYTES_MAX_MAX;
    let bytes = text.parse().ok().or_else(|| units::size(text).ok());
    bytes.filter(|bytes| (1..=most).contains(bytes)).ok_or("write a size from 1 to 1GiB, for example 64MiB".into())
}

/// Returns the lines for the job file. Uncertain results are noted on standard error.
pub fn infer(arguments: &InferArguments) -> Result<String> {
    let InferArguments { sample: path, name, format, header, separator, rows, bytes } = arguments;
    let sample =
        Sample { format: format.clone(), header: *header, separator: *separator, rows_max: *rows, bytes_max: *bytes };
    let name = name.clone().unwrap_or_else(|| name_of(path));
    if !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || name.len() > NAME_BYTES_MAX
        || !name.chars().all(is_name_char)
    {
        return Err(Error::job(format!(
            "--name: `{name}` is not a valid name; use a-z, A-Z, 0-9, `-` and `_`, with a letter first"
        )));
    }
    let Inferred { source, notes, records, rejected, is_complete: is_all } = infer::infer(&name, path, &sample)?;
    for note in &notes {
        let _ = writeln!(LogOutput, "{}", shown::message(&format!("note: {note}")));
    }
    let of = if is_all && records < *rows { "all" } else { "the first" };
    let summary = match rejected {
        0 => "all of them decode".to_owned(),
        1 => "1 of them would be rejected".to_owned(),
        more => format!("{more} of them would be rejected"),
    };
    let _ = writeln!(LogOutput, "looked at {of} {records} records: {summary}");
    lines(&source, path)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Returns a name derived from that of the file, up to its first dot.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = file.split('.').find(|part| !part.is_empty()).unwrap_or_default();
    let mut name: String = stem.chars().map(|c| if is_name_char(c) { c } else { '-' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name = format!("source-{}", name.trim_start_matches('-'));
    }
    name.truncate(NAME_BYTES_MAX);
    let name = name.trim_end_matches('-');
    // After the name of a stream, these names refer to its rejected and late rows.
    if matches!(name, "rejected" | "late") { format!("{name}-rows") } else { name.to_owned() }
}

/// Returns the source as in a job file.
fn lines(source: &SourceSpec, path: &Path) -> Result<String> {
    let path = path
        .to_str()
        .ok_or_else(|| Error::job(format!("the path `{}` is not UTF-8, but job files are", path.display())))?;
    let mut text = format!(
        "[sources.{}]\nkind = \"file\"\npath = {}\nformat = \"{}\"\n",
        source.name,
        value(path),
        source.format.keyword()
    );
    if let Format::Csv { header, separator } = source.format {
        if !header {
            text.push_str("header = false\n");
        }
        if separator != b',' {
            let _ = writeln!(text, "separator = {}", value(&char::from(separator).to_string()));
        }
    }
    let only_value = source.format == Format::Text && source.schema == [ColumnSpec::new("value", ColumnType::Text)];
    if !only_value {
        let _ = write!(text, "\n[sources.{}.schema]\n", source.name);
        for column in &source.schema {
            let _ = writeln!(text, "{} = {}", key(&column.name), describe_column(column));
        }
    }
    Ok(text)
}

/// Describes a column, after its name.
fn describe_column(column: &ColumnSpec) -> String {
    let word = value(&column.type_word());
    if column.path == [column.name.as_str()] {
        return word;
    }
    let dotted = column.path.iter().all(|name| !name.is_empty() && !name.contains('.'));
    let path = match dotted {
        true => value(&column.path.join(".")),
        false => format!("[{}]", column.path.iter().map(|name| value(name)).collect::<Vec<_>>().join(", ")),
    };
    format!("{{ type = {word}, path = {path} }}")
}

fn key(name: &str) -> String {
    if !name.is_empty() && name.chars().all(is_name_char) { name.to_owned() } else { quote(name) }
}

/// Returns a string for a job file. `${` is escaped, as it would start a variable.
fn value(text: &str) -> String {
    quote(&text.replace("${", "$${"))
}

/// Returns a basic TOML string, in which everything is escaped that a terminal would not show.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\t' => quoted.push_str("\\t"),
            c if shown::is_unsafe(c) || matches!(c, '\u{200b}'..='\u{200d}') => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_again_as_they_were() {
        for text in [
            "a",
            "a b",
            "",
            "a\"b\\c",
            "l\ti\r\n\u{1b}[2J\u{7f}\u{85}",
            "\u{202e}\u{e0041}\u{feff}\u{200b}",
            "日本 ä",
            "${HOME}",
            "$${",
        ] {
            let line = format!("{} = {}\n", key(text), quote(text));
            let table: toml::Table = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(
                table.iter().next().map(|(key, value)| (key.as_str(), value.as_str())),
                Some((text, Some(text)))
            );
            assert_eq!(shown::text(&line), line, "shown otherwise than it is");
        }
        assert_eq!(value("${HOME}"), "\"$${HOME}\"");
    }

    #[test]
    fn a_source_is_named_as_its_file() {
        for (path, name) in [
            ("a/clicks.jsonl.gz", "clicks"),
            (".x.csv", "x"),
            ("2026-11.log", "source-2026-11"),
            ("ä", "source"),
            ("late.csv", "late-rows"),
        ] {
            assert_eq!(name_of(Path::new(path)).trim_end_matches('-'), name);
        }
    }
}
