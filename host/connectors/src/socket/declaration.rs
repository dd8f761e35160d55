//! Declaration of the `socket` and `raw-socket` sources.

use super::settings::{Addresses, SocketReads};
use super::several::Servers;
use super::{Server, check_address};
use millstream_base::error::Result;
use millstream_base::limits::SOCKET_ADDRESSES_MAX;
use millstream_connect::receiver::{receive, wrong};
use millstream_connect::tls::Tls;
use millstream_job::connector::{COLUMNS, RECORDS, ROWS, SourceDeclaration};
use millstream_job::keys::{
    CLIENT_CERTIFICATE, KeyShape, PRIVATE_KEY, RECORD_FORMATS, SEPARATOR, TRUSTED_CA, TableKey, key,
};
use millstream_job::spec::{Origin, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;
use std::collections::BTreeSet;

const HEADER: TableKey = key(
    "header",
    KeyShape::Flag,
    "Format csv: whether the first record of each connection names the columns; false by default.",
);
const TLS: TableKey = key(
    "tls",
    KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS_KEYS)]),
    "Use TLS: true, or { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\", name = \"feed.example.org\" }. The server's certificate \
     is checked. false by default.",
);
const TLS_KEYS: &[TableKey] = &[
    TRUSTED_CA,
    CLIENT_CERTIFICATE,
    PRIVATE_KEY,
    key("name", KeyShape::Text, "Name in the server's certificate, by default the host of `address`."),
];

/// The `socket` source, which reads lines.
pub const LINES: SourceDeclaration = SourceDeclaration {
    kind: "socket",
    doc: "lines from a TCP server",
    keys: &[
        key(
            "address",
            KeyShape::Addresses,
            "TCP server to read from, for example \"127.0.0.1:9999\", or a list of servers. Each server is a partition.",
        )
        .required(),
        key(
            "format",
            KeyShape::Word(&["text", "json", "csv"]),
            "Format of the lines. With `text`, each line is one column. `text` by default.",
        ),
        HEADER,
        TLS,
    ],
    shared: &[ROWS, COLUMNS, &[SEPARATOR]],
    read: |r| SocketReads::lines(addresses(r)).into(),
};

/// The `raw-socket` source, which reads frames.
pub const FRAMES: SourceDeclaration = SourceDeclaration {
    kind: "raw-socket",
    doc: "length-prefixed frames from a TCP server",
    keys: &[
        key(
            "address",
            KeyShape::Addresses,
            "TCP server that sends length-prefixed frames, or a list of servers. Each server is a partition.",
        )
        .required(),
        key("format", RECORD_FORMATS, "Format of the records, `binary` by default."),
        HEADER,
        TLS,
    ],
    shared: &[ROWS, COLUMNS, RECORDS],
    read: |r| SocketReads::frames(addresses(r)).into(),
};

fn addresses(r: &Reader<'_>) -> Addresses {
    let example = "address = \"127.0.0.1:9999\"";
    r.need("address", example);
    match r.is_list("address") {
        true => {
            let example = "address = [\"127.0.0.1:9998\", \"127.0.0.1:9999\"]";
            Addresses::Several(r.strings("address", example).unwrap_or_default())
        }
        false => Addresses::One(r.text("address", example).unwrap_or_default().to_string()),
    }
}

impl SourceConfig for SocketReads {
    fn kind(&self) -> &'static str {
        if self.frames { FRAMES.kind } else { LINES.kind }
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        check(&self.address, part);
    }

    fn bounds(&self) -> RecordBounds {
        if self.frames { RecordBounds::Prefix } else { RecordBounds::Format }
    }

    fn format(&self) -> Format {
        if self.frames { Format::Binary { record_bytes: None } } else { Format::Text }
    }

    fn check_format(&self, source: &SourceSpec, part: &PartErrors<'_>) -> bool {
        let fits = self.frames || !matches!(source.format, Format::Binary { .. });
        if !fits {
            part.wrong(
                "format",
                "a `socket` source reads lines, not binary records; write kind = \"raw-socket\", which reads frames",
            );
        }
        fits
    }

    fn no_frames(&self, _format: &Format) -> Option<&'static str> {
        (!self.frames).then_some("a `socket` source reads lines; write kind = \"raw-socket\", which reads frames")
    }

    fn has_partitions(&self) -> bool {
        self.address.is_list()
    }

    /// For a list, positions name their servers, and servers may be added and removed.
    fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        match &self.address {
            Addresses::One(address) => format!("{} {}", self.kind(), written("address").unwrap_or(address)),
            Addresses::Several(_) => format!("several {}s", self.kind()),
        }
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        self.address.all().iter().try_for_each(|address| check_address(source, address, origin))?;
        let tls = source.tls.as_ref().map(|tls| Tls::from_spec(tls, &origin.dir).config());
        tls.transpose().map(drop).map_err(|error| wrong(source, origin, "tls", format!("cannot be used: {error}")))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let SourceStart { source, origin, from, share, .. } = start;
        let inbox = start.inbox.clone();
        match &self.address {
            Addresses::One(address) => {
                let (server, dir) = (Server::only(source, address, from), origin.dir.clone());
                receive(&start, async move { server.receive(&dir, &inbox).await });
            }
            Addresses::Several(addresses) => {
                let servers = Servers::new(source, addresses, origin, from, share, &inbox);
                receive(&start, async move { servers.receive(&inbox).await });
            }
        }
        Ok(())
    }
}

/// Notes errors in the addresses that the text shows.
fn check(addresses: &Addresses, part: &PartErrors<'_>) {
    let list = match addresses {
        Addresses::One(text) => return parts::address("address", text, part),
        Addresses::Several(list) => list,
    };
    let wrong = |message: String| part.wrong("address", message);
    if list.is_empty() {
        return wrong("`address` is an empty list; write address = [\"127.0.0.1:9998\", \"127.0.0.1:9999\"]".into());
    }
    if list.len() > SOCKET_ADDRESSES_MAX {
        return wrong(format!(
            "`address` has {} servers, but one source reads at most {SOCKET_ADDRESSES_MAX}; write another source \
             for the others, and combine them with from = [\"a\", \"b\"]",
            list.len()
        ));
    }
    let mut seen = BTreeSet::new();
    for text in list {
        if !parts::is_address(text) {
            return wrong(format!(
                "`{text}` in `address` is not host and port; write it as \"127.0.0.1:9999\" or \"[::1]:9999\""
            ));
        }
        if !seen.insert(text.to_ascii_lowercase()) {
            return wrong(format!(
                "`address` names `{text}` twice, but each server is its own partition; write it once"
            ));
        }
    }
}
