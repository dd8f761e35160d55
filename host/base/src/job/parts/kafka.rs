//! What must hold of a Kafka cluster, and of what is read of it.

use super::is_address;
use crate::job::part_mistakes::PartMistakes;
use crate::job::read;
use crate::job::spec::{
    ColumnSource, ColumnSpec, KafkaCluster, KafkaSourceSpec, KafkaTopics, RecordBounds, SourceKind, SourceSpec,
    TimeForm,
};
use crate::job::suggest;
use std::collections::BTreeSet;

/// Letters of a name of a topic, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

/// A source.
pub(super) fn source(spec: &KafkaSourceSpec, part: &PartMistakes<'_>) {
    spec.cluster.check(part);
    match &spec.topics {
        KafkaTopics::Named(topics) => {
            let mut seen = BTreeSet::new();
            for name in topics {
                topic("topic", name, part);
                if !seen.insert(name) {
                    part.wrong("topic", format!("`topic` names `{name}` twice; remove one"));
                }
            }
            if topics.is_empty() {
                part.wrong("topic", "`topic` names none; write topic = \"orders\"");
            }
        }
        KafkaTopics::Pattern(pattern) => {
            if let Err(error) = glob::Pattern::new(pattern) {
                part.wrong("pattern", format!("`{pattern}` is not a pattern: {error}; write one as \"orders-*\""));
            }
        }
    }
    if let Err(message) = read::poll_fits(spec.poll) {
        part.wrong("poll", message);
    }
    if spec.group.as_ref().is_some_and(|group| group.is_empty() || group.chars().any(char::is_control)) {
        part.wrong("group", "`group` is not a valid consumer group name; write one such as \"orders-totals\"");
    }
}

impl KafkaCluster {
    /// Notes what is wrong with it.
    pub fn check(&self, part: &PartMistakes<'_>) {
        for broker in self.brokers.iter().filter(|broker| !is_address(broker)) {
            part.wrong("brokers", format!("`{broker}` is not host and port; write it as \"127.0.0.1:9092\""));
        }
        if self.brokers.is_empty() {
            part.wrong("brokers", "`brokers` names none; write brokers = \"127.0.0.1:9092\"");
        }
        if let Some(sasl) = &self.sasl {
            for (key, text) in [("sasl.user", &sasl.user), ("sasl.password", &sasl.password)] {
                if text.is_empty() || text.contains('\0') {
                    part.wrong(key, format!("`{key}` is empty, or has a zero byte; write what the cluster knows"));
                }
            }
        }
    }
}

/// The name of a topic.
pub fn topic(key: &str, name: &str, part: &PartMistakes<'_>) {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_BYTES_MAX || !name.bytes().all(good) || [".", ".."].contains(&name) {
        let hint = match name.contains(['*', '?', '[']) {
            true => "write pattern = \"orders-*\" for all topics of a pattern".to_owned(),
            false => format!("names are of up to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and `-`"),
        };
        part.wrong(key, format!("`{}` is not a valid topic name; {hint}", name.escape_debug()));
    }
}

/// What is wrong with a column that does not stand in the value of a record.
pub(super) fn column(spec: &SourceSpec, column: &ColumnSpec) -> Option<String> {
    let (name, word) = (column.name.escape_debug(), column.from.word());
    let of_event = matches!(column.from, ColumnSource::Event | ColumnSource::Id);
    let has_parts = match &spec.kind {
        SourceKind::Kafka(_) => !of_event,
        SourceKind::Declared(config) => config.gives(&column.from),
        _ => false,
    };
    if spec.kind.declared().is_some_and(|config| config.bounds() == RecordBounds::Envelope) && !has_parts {
        let kind = spec.kind.word();
        return Some(format!("column `{name}` is `{word}`, which messages of kind `{kind}` do not have; remove it"));
    }
    if of_event && !has_parts {
        return Some(format!(
            "column `{name}` is `{word}` of an event, which only sources with stream = \"sse\" read; remove it"
        ));
    }
    if !has_parts {
        let kind = spec.kind.word();
        return Some(format!("column `{name}` has a `from`, and records of kind `{kind}` have one part; remove it"));
    }
    if !column.from.types().contains(&column.type_word().as_str()) {
        let types = suggest::list(column.from.types().iter().copied());
        let is = column.type_word();
        return Some(format!("column `{name}` is {is}, and `{word}` of a record is {types}; write that"));
    }
    if column.path != [column.name.as_str()] || column.zone.is_some() || column.form != TimeForm::Text {
        return Some(format!(
            "column `{name}` is `{word}` of a record, for which `path` and `zone` do nothing; remove them"
        ));
    }
    if column.encoding.is_some() {
        return Some(format!(
            "column `{name}` is `{word}` of a record, which holds bytes as they are; remove `encoding`"
        ));
    }
    None
}
