//! The columns of a source.

use crate::batch::binary_text::BinaryEncoding;
use crate::batch::column_type::ColumnType;
use millstream_base::zone::Zone;

/// A column of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Path of the value in a JSON record, for example `["user", "name"]`; a number is an index of an array. The column's name by default.
    pub path: Vec<String>,
    /// How times of a `timestamp` column are written.
    pub form: TimeForm,
    /// Time zone of times without an offset; UTC by default.
    pub zone: Option<Zone>,
    /// Encoding of the bytes of a `binary` column in text; UTF-8 by default.
    pub encoding: Option<BinaryEncoding>,
    /// Which part of a topic's record holds the value.
    pub from: ColumnSource,
}

/// The part of a topic's record, or of an event sent by a server, that holds a column's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ColumnSource {
    /// The record's value, in the source's format.
    #[default]
    Value,
    /// The record's key.
    Key,
    /// The record's time.
    Timestamp,
    /// The record's offset.
    Offset,
    /// The number of the record's partition.
    Partition,
    /// The record's topic.
    Topic,
    /// All headers, as a JSON object.
    Headers,
    /// The last header of this name.
    Header(String),
    /// The type of an event sent by a server.
    Event,
    /// The ID of such an event, or the last ID if the event has none.
    Id,
    /// The operation of a change on its row.
    Op,
    /// The table of the changed row.
    Table,
}

impl ColumnSource {
    /// The names in job files.
    pub const NAMES: [&'static str; 11] =
        ["key", "timestamp", "offset", "partition", "topic", "headers", "header.NAME", "event", "id", "op", "table"];

    /// Returns the part with this name in job files.
    pub fn parse(word: &str) -> Option<ColumnSource> {
        Some(match word {
            "key" => ColumnSource::Key,
            "timestamp" => ColumnSource::Timestamp,
            "offset" => ColumnSource::Offset,
            "partition" => ColumnSource::Partition,
            "topic" => ColumnSource::Topic,
            "headers" => ColumnSource::Headers,
            "event" => ColumnSource::Event,
            "id" => ColumnSource::Id,
            "op" => ColumnSource::Op,
            "table" => ColumnSource::Table,
            word => ColumnSource::Header(word.strip_prefix("header.").filter(|name| !name.is_empty())?.to_owned()),
        })
    }

    /// Returns the allowed types; empty if all are.
    pub fn types(&self) -> &'static [&'static str] {
        match self {
            ColumnSource::Value => &[],
            ColumnSource::Key | ColumnSource::Header(_) => &["text", "binary"],
            ColumnSource::Timestamp => &["timestamp"],
            ColumnSource::Offset | ColumnSource::Partition => &["int64"],
            ColumnSource::Topic
            | ColumnSource::Headers
            | ColumnSource::Event
            | ColumnSource::Id
            | ColumnSource::Op
            | ColumnSource::Table => &["text"],
        }
    }

    /// Returns the name in job files.
    pub fn keyword(&self) -> String {
        match self {
            ColumnSource::Value => "value".into(),
            ColumnSource::Key => "key".into(),
            ColumnSource::Timestamp => "timestamp".into(),
            ColumnSource::Offset => "offset".into(),
            ColumnSource::Partition => "partition".into(),
            ColumnSource::Topic => "topic".into(),
            ColumnSource::Headers => "headers".into(),
            ColumnSource::Event => "event".into(),
            ColumnSource::Id => "id".into(),
            ColumnSource::Op => "op".into(),
            ColumnSource::Table => "table".into(),
            ColumnSource::Header(name) => format!("header.{name}"),
        }
    }
}

/// How times are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TimeForm {
    /// `timestamp`: RFC 3339. Numbers are rejected, as their unit is unknown.
    #[default]
    Text,
    /// `timestamp(s)`: numbers of this unit since 1970, or RFC 3339.
    Number(TimeUnit),
    /// `timestamp(%d/%b/%Y:%H:%M:%S %z)`: text in this pattern of `strftime`.
    Pattern(String),
}

/// Unit of times that are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl TimeUnit {
    /// All units.
    pub const ALL: [TimeUnit; 4] = [TimeUnit::Seconds, TimeUnit::Millis, TimeUnit::Micros, TimeUnit::Nanos];

    /// Returns the unit's name in schemas and its English name.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            TimeUnit::Seconds => ("s", "seconds"),
            TimeUnit::Millis => ("ms", "milliseconds"),
            TimeUnit::Micros => ("us", "microseconds"),
            TimeUnit::Nanos => ("ns", "nanoseconds"),
        }
    }

    /// Returns the unit as a power of ten of microseconds.
    pub fn power(self) -> i32 {
        match self {
            TimeUnit::Seconds => 6,
            TimeUnit::Millis => 3,
            TimeUnit::Micros => 0,
            TimeUnit::Nanos => -3,
        }
    }
}

impl ColumnSpec {
    /// A column whose value has the column's name in a JSON record.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> ColumnSpec {
        let name = name.into();
        ColumnSpec {
            path: vec![name.clone()],
            name,
            kind,
            form: TimeForm::Text,
            zone: None,
            encoding: None,
            from: ColumnSource::Value,
        }
    }

    /// Sets the path of the value in a JSON record, for example `["user", "id"]`.
    #[must_use]
    pub fn at<S: Into<String>>(mut self, path: impl IntoIterator<Item = S>) -> ColumnSpec {
        self.path = path.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the path of the value in a record, by default the name.
    pub fn value_path(&self) -> &[String] {
        if self.path.is_empty() { std::slice::from_ref(&self.name) } else { &self.path }
    }

    /// Sets how times are written.
    #[must_use]
    pub fn written(mut self, form: TimeForm) -> ColumnSpec {
        self.form = form;
        self
    }

    /// Sets which part of a topic's record holds the value.
    #[must_use]
    pub fn from(mut self, from: ColumnSource) -> ColumnSpec {
        self.from = from;
        self
    }

    /// Sets the time zone of times without an offset.
    #[must_use]
    pub fn within(mut self, zone: Zone) -> ColumnSpec {
        self.zone = Some(zone);
        self
    }

    /// Sets how text encodes bytes.
    #[must_use]
    pub fn encoded(mut self, encoding: BinaryEncoding) -> ColumnSpec {
        self.encoding = Some(encoding);
        self
    }

    /// Parses a type of a job file, for example `int64` or `timestamp(ms)`; `None` if it is unknown.
    pub fn type_of(word: &str) -> Option<(ColumnType, TimeForm)> {
        let Some(form) = word.strip_prefix("timestamp(").and_then(|rest| rest.strip_suffix(')')) else {
            return ColumnType::from_name(word).map(|kind| (kind, TimeForm::Text));
        };
        let unit = TimeUnit::ALL.into_iter().find(|unit| unit.names().0 == form);
        let pattern = || form.contains('%').then(|| TimeForm::Pattern(form.into()));
        unit.map(TimeForm::Number).or_else(pattern).map(|form| (ColumnType::Timestamp, form))
    }

    /// Returns the type as written in job files.
    pub fn type_word(&self) -> String {
        match &self.form {
            TimeForm::Text => self.kind.to_string(),
            TimeForm::Number(unit) => format!("{}({})", self.kind, unit.names().0),
            TimeForm::Pattern(pattern) => format!("{}({pattern})", self.kind),
        }
    }

    /// Returns the column as the TOML value after `name =` in a job file.
    pub fn toml(&self) -> toml::Value {
        let kind = toml::Value::String(self.type_word());
        let own_path = self.path.is_empty() || self.path == [self.name.as_str()];
        let of_value = self.from == ColumnSource::Value;
        if own_path && self.zone.is_none() && self.encoding.is_none() && of_value {
            return kind;
        }
        let mut table = toml::Table::from_iter([("type".to_owned(), kind)]);
        if !own_path {
            table.insert("path".into(), self.path.iter().cloned().map(toml::Value::String).collect::<Vec<_>>().into());
        }
        if !of_value {
            table.insert("from".into(), self.from.keyword().into());
        }
        table.extend(self.encoding.map(|encoding| ("encoding".to_owned(), encoding.keyword().into())));
        table.extend(self.zone.map(|zone| ("zone".to_owned(), toml::Value::String(zone.to_string()))));
        table.into()
    }
}
