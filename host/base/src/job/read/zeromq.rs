//! What a job file says of sources of kind `zeromq`.

use super::server::texts;
use crate::job::spec::{ServerReads, ServerSourceSpec, ZeromqReads};
use crate::job::table::Reader;

/// A source.
pub(super) fn source(r: &Reader<'_>) -> ServerSourceSpec {
    let (url, listen) = ("url = \"tcp://127.0.0.1:5556\"", "listen = \"127.0.0.1:5556\"");
    match (r.has("url"), r.has("listen")) {
        (false, false) => r.need("url", &format!("{url} to connect with a socket, or {listen} to let sockets connect")),
        (true, true) => r.wrong("listen", "`url` and `listen` both say where messages come from; remove one of them"),
        _ => {}
    }
    let pull = r.choice("socket", &[("sub", false), ("pull", true)], &[]).unwrap_or(false);
    if pull && r.has("topic") {
        r.wrong(
            "topic",
            "`topic` does nothing with socket = \"pull\", which takes what it is sent; remove one of both",
        );
    }
    let reads = ZeromqReads {
        listen: r.text("listen", listen).map(str::to_owned),
        pull,
        topics: texts(r, "topic", "topic = \"weather.\", or topic = [\"a\", \"b\"]"),
    };
    ServerSourceSpec { url: r.text("url", url).unwrap_or_default().to_owned(), reads: ServerReads::Zeromq(reads) }
}
