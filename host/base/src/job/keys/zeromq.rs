//! The keys of sources of kind `zeromq`.

use super::{KeyShape, TableKey, key};

const ZEROMQ: &[&str] = &["zeromq"];

/// They.
pub(super) const SOURCE: &[TableKey] = &[
    key(
        "url",
        KeyShape::Text,
        "The socket to connect with, as \"tcp://host:5556\" or \"tcp://user:${ZEROMQ_PASSWORD}@host:5556\". Instead, `listen` may say where others connect to.",
    )
    .of(ZEROMQ),
    key("listen", KeyShape::Address, "Where sockets that send connect to, as \"0.0.0.0:5556\", in place of `url`.").of(ZEROMQ),
    key(
        "socket",
        KeyShape::Word(&["sub", "pull"]),
        "What the job is to the other side: `sub` (the default) hears PUB sockets, `pull` takes its share of what PUSH sockets send.",
    )
    .of(ZEROMQ),
    key("topic", KeyShape::Texts, "What the messages for a `sub` socket begin with, or a list; by default it hears all.").of(ZEROMQ),
];
