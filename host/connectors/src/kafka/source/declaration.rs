//! Declaration of sources of kind `kafka`: keys, checks and start.

use super::settings::{KafkaReads, KafkaTopics};
use super::{ReadOrder, reread};
use crate::kafka::cluster::{BROKERS, KafkaCluster, SASL_KEY, TLS_KEY, WAIT, check_topic};
use crate::kafka::limits::POLL_MS;
use millstream_base::error::Result;
use millstream_connect::receiver::{receive_on_thread, wrong};
use millstream_job::PartErrors;
use millstream_job::connector::{RECORDS, ROWS, SourceDeclaration};
use millstream_job::keys::{KeyShape, columns, key};
use millstream_job::spec::{Origin, RereadClient, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::batch::partition::Share;
use millstream_rows::decode::spec::RecordBounds;
use std::collections::BTreeSet;
use std::time::Duration;

const KIND: &str = "kafka";

/// The declaration of `kafka` sources.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "topics of a Kafka cluster",
    keys: &[
        BROKERS,
        SASL_KEY,
        key("topic", KeyShape::TextList, "Topic to read, or a list of topics. `pattern` selects topics instead."),
        key("pattern", KeyShape::Text, "Topics to read, as a pattern: \"orders-*\". `topic` names them instead."),
        key(
            "start",
            KeyShape::Text,
            "Where to begin to read topics without a saved position: \"earliest\", \"latest\", or a time such as \
             \"2026-11-21T12:00:00Z\"; \"earliest\" by default.",
        ),
        key(
            "group",
            KeyShape::Text,
            "Consumer group to which the offsets of the job's checkpoints are committed, so that tools can show its lag.",
        ),
        key("poll", KeyShape::Time, "Time between checks for new topics and partitions, 30s by default."),
        columns(&["key", "timestamp", "offset", "partition", "topic", "headers", "header.NAME"]),
        TLS_KEY,
        WAIT,
    ],
    shared: &[ROWS, RECORDS],
    read: |r| KafkaReads::read(r).into(),
};

impl KafkaReads {
    fn read(r: &Reader<'_>) -> KafkaReads {
        let example = "topic = \"orders\", or topic = [\"a\", \"b\"]";
        let topics = match (r.strings("topic", example), r.text("pattern", "pattern = \"orders-*\"")) {
            (Some(_), Some(_)) => {
                r.wrong("pattern", "`pattern` and `topic` both say which topics are read; remove one of them");
                KafkaTopics::Named(Vec::new())
            }
            (None, Some(pattern)) => KafkaTopics::Pattern(pattern.into()),
            (topics, None) => {
                if !r.has("pattern") {
                    r.need("topic", example);
                }
                KafkaTopics::Named(topics.unwrap_or_default())
            }
        };
        KafkaReads {
            cluster: KafkaCluster::read(r),
            topics,
            start: r.stream_start().unwrap_or_default(),
            group: r.text("group", "group = \"orders-totals\"").map(str::to_owned),
            poll: r.time("poll").unwrap_or(Duration::from_millis(POLL_MS)),
        }
    }
}

impl SourceConfig for KafkaReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        self.cluster.check(part);
        match &self.topics {
            KafkaTopics::Named(topics) => {
                let mut seen = BTreeSet::new();
                for name in topics {
                    check_topic("topic", name, part);
                    if !seen.insert(name) {
                        part.wrong("topic", format!("`topic` names `{name}` twice; remove one"));
                    }
                }
                if topics.is_empty() {
                    part.wrong("topic", "`topic` is empty; write topic = \"orders\"");
                }
            }
            KafkaTopics::Pattern(pattern) => {
                if let Err(error) = glob::Pattern::new(pattern) {
                    part.wrong("pattern", format!("`{pattern}` is not a pattern: {error}; write one as \"orders-*\""));
                }
            }
        }
        part.poll(self.poll);
        if self.group.as_ref().is_some_and(|group| group.is_empty() || group.chars().any(char::is_control)) {
            part.wrong("group", "`group` is not a valid consumer group name; write one such as \"orders-totals\"");
        }
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn reads_tls(&self) -> bool {
        true
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn can_report_ends(&self) -> bool {
        true
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        !matches!(part, ColumnSource::Event | ColumnSource::Id | ColumnSource::Op | ColumnSource::Table)
    }

    fn keeps_rows(&self) -> bool {
        false
    }

    fn reread(
        &self,
        source: &SourceSpec,
        origin: &Origin,
        planned: &[PlannedChunk],
        client: &mut RereadClient,
    ) -> Option<Result<Vec<Chunk>>> {
        let order = ReadOrder { source, spec: self, dir: &origin.dir, share: Share::ALL };
        Some(reread(&order, planned, client))
    }

    /// Checks what can be checked without contacting the cluster.
    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        let settings = crate::kafka::settings(&self.cluster, &origin.dir, "millstream");
        settings.map(drop).map_err(|error| wrong(source, origin, "tls", format!("cannot be used: {error}")))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (source, spec, from) = (start.source.clone(), self.clone(), start.from.clone());
        let (dir, share) = (start.origin.dir.clone(), start.share);
        receive_on_thread(&start, move |inbox, runtime| {
            let order = ReadOrder { source: &source, spec: &spec, dir: &dir, share };
            super::receive(&order, &from, inbox, runtime);
        });
        Ok(())
    }
}
