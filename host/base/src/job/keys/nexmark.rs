//! The keys of sources of kind `nexmark`.

use super::{KeyShape, TableKey, key};
use crate::limits;

const NEXMARK: &[&str] = &["nexmark"];
/// The kinds of events.
const EVENTS: &[&str] = &["person", "auction", "bid"];
const HOT: KeyShape = KeyShape::Whole(1, 1_000_000);

/// They.
pub(super) const SOURCE: &[TableKey] = &[
    key("event", KeyShape::Word(EVENTS), "Whose rows: `person`, `auction` or `bid`, 1, 3 and 46 of 50 events.")
        .of(NEXMARK)
        .needed(NEXMARK),
    key("events_max", KeyShape::Whole(1, i64::MAX as u64), "Events of all three kinds in all; by default without end.")
        .of(NEXMARK),
    key(
        "events_per_second",
        KeyShape::Whole(1, limits::RATE_ROWS_PER_SECOND_MAX),
        "Events of all three kinds in a second of event time, 10000 by default.",
    )
    .of(NEXMARK),
    key(
        "paced",
        KeyShape::Flag,
        "Whether a second of event time takes a second; false by default, where rows are made as quickly as the job takes them.",
    )
    .of(NEXMARK),
    key("hot_auctions", HOT, "One bid in so many is not for the auction that is hot, 2 by default; 1: none is for it.").of(NEXMARK),
    key("hot_bidders", HOT, "One bid in so many is not of the bidder who is hot, 4 by default; 1: none is of them.").of(NEXMARK),
    key("hot_sellers", HOT, "One auction in so many is not of the seller who is hot, 4 by default; 1: none is of them.").of(NEXMARK),
    key(
        "bytes",
        KeyShape::Whole(1, limits::NEXMARK_BYTES_MAX),
        "How long a row is on average, which `extra` makes it: 200 of a person, 500 of an auction and 100 of a bid by default, not \
         counting its channel and url.",
    )
    .of(NEXMARK),
];
