//! Declaration of the `zeromq` source: its keys in job files.

use super::settings::ZeromqReads;
use super::source;
use millstream_base::error::Result;
use millstream_connect::receiver::polled;
use millstream_job::connector::{RECORDS, ROWS, SourceDeclaration};
use millstream_job::http_url;
use millstream_job::keys::{KeyShape, columns, key};
use millstream_job::spec::{Origin, SourceSpec};
use millstream_job::spec::{SourceConfig, SourceStart, Url};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::decode::spec::RecordBounds;
use std::collections::BTreeSet;

const KIND: &str = "zeromq";

/// Sources of kind `zeromq`.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "messages from ZeroMQ sockets",
    keys: &[
        key(
            "url",
            KeyShape::Text,
            "ZeroMQ socket to connect to, for example \"tcp://host:5556\" or \"tcp://user:${ZEROMQ_PASSWORD}@host:5556\". \
             `listen` accepts connections instead.",
        ),
        key(
            "listen",
            KeyShape::Address,
            "Address on which to accept connections from sending sockets, for example \"0.0.0.0:5556\", instead of `url`.",
        ),
        key(
            "socket",
            KeyShape::Word(&["sub", "pull"]),
            "Socket type: `sub` subscribes to PUB sockets, `pull` takes its share of messages from PUSH sockets. `sub` by \
             default.",
        ),
        key(
            "topic",
            KeyShape::TextList,
            "Prefix of the messages that a `sub` socket receives, or a list of prefixes; by default all messages.",
        ),
        columns(&["topic"]),
    ],
    shared: &[ROWS, RECORDS],
    read: |r| ZeromqReads::read(r).into(),
};

impl ZeromqReads {
    fn read(r: &Reader<'_>) -> ZeromqReads {
        let (url, listen) = ("url = \"tcp://127.0.0.1:5556\"", "listen = \"127.0.0.1:5556\"");
        match (r.has("url"), r.has("listen")) {
            (false, false) => {
                r.need("url", &format!("{url} to connect with a socket, or {listen} to let sockets connect"));
            }
            (true, true) => {
                r.wrong("listen", "`url` and `listen` both say where messages come from; remove one of them");
            }
            _ => {}
        }
        let pull = r.choice("socket", &[("sub", false), ("pull", true)], &[]).unwrap_or(false);
        if pull && r.has("topic") {
            r.wrong(
                "topic",
                "`topic` has no effect with socket = \"pull\", which receives all messages; remove one of them",
            );
        }
        ZeromqReads {
            listen: r.text("listen", listen).map(str::to_owned),
            pull,
            topics: r.list("topic", "topic = \"weather.\", or topic = [\"a\", \"b\"]"),
            url: Url(r.text("url", url).unwrap_or_default().to_owned()),
        }
    }
}

impl SourceConfig for ZeromqReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        match &self.listen {
            Some(listen) => parts::address("listen", listen, part),
            None if http_url::begins_with(&self.url, &["tcp://"]).is_err() => {
                part.wrong("url", "`url` does not begin with tcp://; write it as \"tcp://host:5556\"");
            }
            None => {}
        }
        let mut seen = BTreeSet::new();
        for topic in self.topics.iter().filter(|topic| !seen.insert(*topic)) {
            part.wrong("topic", format!("`topic` names `{}` twice; remove one", topic.escape_debug()));
        }
    }

    fn promise(&self) -> Option<&'static str> {
        Some(
            "exactly once after a batch is planned; messages sent while the job is not connected, and messages not \
            planned at a crash, are lost",
        )
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        matches!(part, ColumnSource::Topic)
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        polled::check(source, origin, source::Zeromq::new(source, self, origin))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let readers = polled::readers((start.source, self, start.origin), source::Zeromq::new);
        polled::start(start, readers);
        Ok(())
    }
}
