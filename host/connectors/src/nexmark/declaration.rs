//! Declaration of the `nexmark` source.

use super::RECORD_BYTES;
use super::events::NexmarkDecoder;
use super::settings::{BYTES_MAX, NexmarkEvent, NexmarkReads};
use crate::limits::ROWS_PER_SECOND_MAX;
use millstream_base::error::Result;
use millstream_connect::receiver::receive;
use millstream_connect::receiver::replay::recreate;
use millstream_job::PartErrors;
use millstream_job::connector::{CUT, SourceDeclaration};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{Origin, Replay, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::position::Position;
use millstream_rows::decode::spec::{MakeRows, RecordBounds};
use millstream_rows::formats::Format;

const KIND: &str = "nexmark";
/// The kinds of events.
const EVENTS: &[&str] = &["person", "auction", "bid"];
const HOT: KeyShape = KeyShape::Integer(1, 1_000_000);

/// The source kind.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "generated Nexmark events",
    keys: &[
        key("event", KeyShape::Word(EVENTS), "Kind of event: `person`, `auction` or `bid` (1, 3 and 46 of 50 events).")
            .required(),
        key(
            "events_max",
            KeyShape::Integer(1, i64::MAX as u64),
            "Number of events of all three kinds, unlimited by default.",
        ),
        key(
            "events_per_second",
            KeyShape::Integer(1, ROWS_PER_SECOND_MAX),
            "Events of all three kinds per second of event time, 10000 by default.",
        ),
        key(
            "paced",
            KeyShape::Flag,
            "Generate events at the pace of event time. If false, rows are generated as quickly as the job takes them. false by \
             default.",
        ),
        key(
            "hot_auctions",
            HOT,
            "One in this many bids is for an auction other than the hot one, 2 by default. With 1, all bids are.",
        ),
        key(
            "hot_bidders",
            HOT,
            "One in this many bids is from a bidder other than the hot one, 4 by default. With 1, all bids are.",
        ),
        key(
            "hot_sellers",
            HOT,
            "One in this many auctions is from a seller other than the hot one, 4 by default. With 1, all auctions are.",
        ),
        key(
            "bytes",
            KeyShape::Integer(1, BYTES_MAX),
            "Average bytes of a row, by default 200 for a person, 500 for an auction and 100 for a bid, without its channel and \
             url. The length of `extra` is chosen accordingly.",
        ),
    ],
    shared: &[CUT],
    read: |r| NexmarkReads::read(r).into(),
};

impl NexmarkReads {
    fn read(r: &Reader<'_>) -> NexmarkReads {
        r.need("event", "event = \"bid\", or one of person, auction");
        let defaults = NexmarkReads::new(r.choice("event", &NexmarkEvent::ALL, &[]).unwrap_or(NexmarkEvent::Bid));
        let hot = |key, defaults| r.integer(key, 1, 1_000_000).unwrap_or(defaults);
        let per_second = r.integer("events_per_second", 1, ROWS_PER_SECOND_MAX);
        NexmarkReads {
            events_per_second: per_second.unwrap_or(defaults.events_per_second),
            events_max: r.integer("events_max", 1, i64::MAX as u64),
            paced: r.flag("paced").unwrap_or(false),
            hot_auctions: hot("hot_auctions", defaults.hot_auctions),
            hot_sellers: hot("hot_sellers", defaults.hot_sellers),
            hot_bidders: hot("hot_bidders", defaults.hot_bidders),
            bytes: r.integer("bytes", 1, BYTES_MAX).unwrap_or(defaults.bytes),
            event: defaults.event,
        }
    }
}

impl SourceConfig for NexmarkReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Ends
    }

    fn format(&self) -> Format {
        Format::Binary { record_bytes: Some(RECORD_BYTES) }
    }

    fn makes_records(&self) -> bool {
        true
    }

    fn columns(&self) -> Option<Vec<ColumnSpec>> {
        Some(self.event.columns())
    }

    fn check_format(&self, source: &SourceSpec, part: &PartErrors<'_>) -> bool {
        if source.schema != self.event.columns() {
            let event = self.event.keyword();
            part.wrong(
                "schema",
                format!("a `nexmark` source has the columns of its event, `{event}`; remove `schema`"),
            );
        }
        false
    }

    fn rows(&self) -> Option<MakeRows> {
        let decoder = NexmarkDecoder::new(self);
        Some(Box::new(move |numbers| decoder.rows(numbers)))
    }

    /// Rows are numbered by the kind of their events.
    fn identity<'a>(&'a self, _written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        format!("{KIND} {}", self.event.keyword())
    }

    fn keeps_rows(&self) -> bool {
        false
    }

    fn replay<'a>(
        &'a self,
        _source: &'a SourceSpec,
        _origin: &'a Origin,
        _moved: &'a [(String, Position)],
    ) -> Option<Box<dyn Replay + 'a>> {
        Some(Box::new(NumberedRows))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (reads, from, inbox) = (self.clone(), start.from.clone(), start.inbox.clone());
        receive(&start, async move { super::receive(&reads, &from, &inbox).await });
        Ok(())
    }
}

/// Replays rows: the same numbers always give the same rows.
struct NumberedRows;

impl Replay for NumberedRows {
    fn chunk(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        recreate(planned, super::rows)
    }
}
