//! What a job file says of sources and sinks of kind `flight`.

use super::server::{texts, url};
use super::server_sink;
use crate::job::spec::{
    FlightDescriptor, FlightReads, FlightWrites, ServerReads, ServerSinkSpec, ServerSourceSpec, ServerWrites,
};
use crate::job::table::Reader;
use crate::limits;

const URL: &str = "url = \"grpc://127.0.0.1:8815\"";
const PATH: &str = "path = \"orders\", or path = [\"shop\", \"orders\"]";
const COMMAND: &str = "command = \"SELECT * FROM orders\"";

/// A source.
pub(super) fn source(r: &Reader<'_>) -> ServerSourceSpec {
    r.need("schema", "schema = { id = \"int64\", name = \"text\" }, columns of the stream");
    let usual = FlightReads::new(descriptor(r));
    let reads = FlightReads {
        token: token(r),
        locations: texts(r, "locations", "locations = \"grpc+tls://worker-*.example.org:8815\", or a list"),
        message_bytes_max: r
            .size("message_bytes_max", 1, limits::FLIGHT_MESSAGE_BYTES_MAX_MAX)
            .unwrap_or(usual.message_bytes_max),
        stall: r.time("stall").unwrap_or(usual.stall),
        ..usual
    };
    ServerSourceSpec { url: url(r, URL), reads: ServerReads::Flight(reads) }
}

/// A sink.
pub(super) fn sink(r: &Reader<'_>) -> ServerSinkSpec {
    let usual = FlightWrites::new(descriptor(r));
    let writes = FlightWrites { token: token(r), timeout: r.time("timeout").unwrap_or(usual.timeout), ..usual };
    server_sink::server(r, URL, ServerWrites::Flight(writes))
}

/// How the server knows the stream, which one of two keys says.
fn descriptor(r: &Reader<'_>) -> FlightDescriptor {
    match (r.has("path"), r.has("command")) {
        (false, true) => return FlightDescriptor::Command(r.text("command", COMMAND).unwrap_or("?").to_owned()),
        (false, false) => r.need("path", &format!("{PATH}, or {COMMAND}")),
        (true, true) => r.wrong("command", "`path` and `command` both say what is meant; remove one of them"),
        (true, false) => {}
    }
    FlightDescriptor::Path(texts(r, "path", PATH))
}

fn token(r: &Reader<'_>) -> Option<String> {
    r.text("token", "token = \"${NAME}\"").map(str::to_owned)
}
