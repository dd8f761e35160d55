//! What must hold of sources of kind `zeromq`.

use super::{PartMistakes, address};
use crate::job::http_url;
use crate::job::spec::{ServerSourceSpec, ZeromqReads};
use std::collections::BTreeSet;

/// Such a source.
pub(super) fn source(spec: &ServerSourceSpec, reads: &ZeromqReads, part: &PartMistakes<'_>) {
    match &reads.listen {
        Some(listen) => address("listen", listen, part),
        None if http_url::begins_with(&spec.url, &["tcp://"]).is_err() => {
            part.wrong("url", "`url` does not begin with tcp://; write it as \"tcp://host:5556\"");
        }
        None => {}
    }
    let mut seen = BTreeSet::new();
    for topic in reads.topics.iter().filter(|topic| !seen.insert(*topic)) {
        part.wrong("topic", format!("`topic` names `{}` twice; remove one", topic.escape_debug()));
    }
}
