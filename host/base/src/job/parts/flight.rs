//! What must hold of sources and sinks of kind `flight`.

use super::PartMistakes;
use super::http::token_fits;
use super::server::url;
use crate::job::spec::{
    FlightDescriptor, FlightReads, FlightWrites, Format, ServerSinkSpec, ServerSourceSpec, SourceSpec,
};

const SCHEMES: [&str; 2] = ["grpc://", "grpc+tls://"];

/// A source.
pub(super) fn source(source: &SourceSpec, spec: &ServerSourceSpec, reads: &FlightReads, part: &PartMistakes<'_>) {
    url(&spec.url, SCHEMES, source.tls.as_ref(), part);
    descriptor(&reads.wanted, part);
    reads.token.iter().for_each(|token| token_fits(token, part));
    for location in &reads.locations {
        if !SCHEMES.iter().any(|scheme| location.starts_with(scheme)) {
            let shown = location.escape_debug();
            part.wrong(
                "locations",
                format!("`{shown}` is no place of a server; write it as \"grpc+tls://worker-*.example.org:8815\""),
            );
        } else if spec.url.starts_with(SCHEMES[1]) && location.starts_with(SCHEMES[0]) {
            let shown = location.escape_debug();
            part.wrong("locations", format!("`{shown}` is without TLS, and `url` has it; write grpc+tls://"));
        }
    }
    if reads.stall.is_zero() {
        part.wrong("stall", "`stall` is 0s, by which no server could answer; write a time as \"5m\"");
    }
    if source.format != Format::Json {
        let word = source.format.word();
        part.wrong(
            "format",
            format!("streams of Flight have columns and no format, and it says `{word}`; remove `format`"),
        );
    }
}

/// A sink.
pub(super) fn sink(spec: &ServerSinkSpec, writes: &FlightWrites, part: &PartMistakes<'_>) {
    url(&spec.url, SCHEMES, spec.tls.as_ref(), part);
    descriptor(&writes.to, part);
    writes.token.iter().for_each(|token| token_fits(token, part));
    if writes.timeout.is_zero() {
        part.wrong("timeout", "`timeout` is 0s, by which no server could answer; write a time as \"5m\"");
    }
}

fn descriptor(descriptor: &FlightDescriptor, part: &PartMistakes<'_>) {
    match descriptor {
        FlightDescriptor::Path(names) => {
            if names.iter().any(String::is_empty) {
                part.wrong("path", "`path` has an empty name; write it as \"orders\" or [\"shop\", \"orders\"]");
            }
        }
        FlightDescriptor::Command(command) if command.is_empty() => {
            part.wrong("command", "`command` is empty; write what the server understands");
        }
        FlightDescriptor::Command(_) => {}
    }
}
