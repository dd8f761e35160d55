//! One sink of a job file.

use crate::columns::encoding;
use crate::connector::{Kinds, Nothing};
use crate::errors::JobErrors;
use crate::keys::{self, SINK_KINDS_LATER};
use crate::spec::SinkSpec;
use crate::table::Reader;
use millstream_base::built;

/// Reads `[sinks.<name>]`.
pub(crate) fn sink(name: String, r: &Reader<'_>, kinds: &Kinds) -> SinkSpec {
    r.need("from", "from = \"…\" with the name of a source or stage");
    let word = r.kind(&kinds.of_sinks(), SINK_KINDS_LATER);
    let ignored = JobErrors::default();
    let absent = word.and_then(|word| built::absent_kind(word, kinds.absent_sink(word)));
    // The other keys of a kind that this build lacks are unknown.
    let r = &match absent {
        Some(absent) => {
            r.wrong("kind", absent);
            Reader { errors: &ignored, ..r.clone() }
        }
        None => r.clone(),
    };
    r.check_keys(kinds.sink_keys(), keys::SINK_KEYS_LATER, word);
    let wants_changes = r.choice("changes", &[("rows", true)], &[]).unwrap_or_default();
    let from = r.strings("from", "from = \"words\" or from = [\"a\", \"b\"]").unwrap_or_default();
    let kind = match word.and_then(|word| kinds.sink(word)) {
        Some(declaration) => (declaration.read)(r),
        None => Nothing.into(),
    };
    SinkSpec { name, from, kind, wants_changes, encoding: encoding(r) }
}
