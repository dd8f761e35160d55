//! The servers of a socket source.

use super::{address, is_address};
use crate::job::part_mistakes::PartMistakes;
use crate::job::spec::Addresses;
use crate::limits::SOCKET_ADDRESSES_MAX;
use std::collections::BTreeSet;

/// What is wrong with where they are, as far as text tells.
pub(super) fn check(addresses: &Addresses, part: &PartMistakes<'_>) {
    let list = match addresses {
        Addresses::One(text) => return address("address", text, part),
        Addresses::Several(list) => list,
    };
    let wrong = |message: String| part.wrong("address", message);
    if list.is_empty() {
        return wrong("`address` is an empty list; write address = [\"127.0.0.1:9998\", \"127.0.0.1:9999\"]".into());
    }
    if list.len() > SOCKET_ADDRESSES_MAX {
        return wrong(format!(
            "`address` has {} servers, and one source reads at most {SOCKET_ADDRESSES_MAX}; write a source for the others, and \
             take both together with from = [\"a\", \"b\"]",
            list.len()
        ));
    }
    let mut known = BTreeSet::new();
    for text in list {
        if !is_address(text) {
            return wrong(format!(
                "`{text}` in `address` is not host and port; write it as \"127.0.0.1:9999\" or \"[::1]:9999\""
            ));
        }
        if !known.insert(text.to_ascii_lowercase()) {
            return wrong(format!(
                "`address` names `{text}` twice, and each server is a partition of its own; write it once"
            ));
        }
    }
}
