//! The columns of a source.

use crate::batch::binary_text::BinaryEncoding;
use crate::batch::column_type::ColumnType;
use crate::zone::Zone;

/// A column of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Where the value is in a JSON record: a path, as `["user", "name"]`; a number in it is a place in an array. One
    /// element, its name, by default.
    pub path: Vec<String>,
    /// How the times of a `timestamp` are written.
    pub form: TimeForm,
    /// Where clocks showed the times that are written without an offset; UTC by default.
    pub zone: Option<Zone>,
    /// How the text of a `binary` column stands for its bytes; as UTF-8 by default.
    pub encoding: Option<BinaryEncoding>,
    /// Which part of a record of a topic holds it.
    pub from: ColumnSource,
}

/// Which part of a record of a topic, or of an event that a server sent, holds the value of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ColumnSource {
    /// Its value, by the source's format.
    #[default]
    Value,
    /// Its key.
    Key,
    /// Its time.
    Timestamp,
    /// Its offset.
    Offset,
    /// The number of its partition.
    Partition,
    /// The topic that it stands in.
    Topic,
    /// All headers, as a JSON object.
    Headers,
    /// The last header of this name.
    Header(String),
    /// Of an event that a server sent: its type.
    Event,
    /// Of such an event: its id, or that of the last one that had an id.
    Id,
    /// What a change did to its row.
    Op,
    /// The table of that row.
    Table,
}

impl ColumnSource {
    /// As a job file names them.
    pub const WORDS: [&'static str; 11] =
        ["key", "timestamp", "offset", "partition", "topic", "headers", "header.NAME", "event", "id", "op", "table"];

    /// What a job file names so.
    pub fn of(word: &str) -> Option<ColumnSource> {
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

    /// The types that it can have; none named: any.
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

    /// As a job file names it.
    pub fn word(&self) -> String {
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
    /// `timestamp`: as RFC 3339 says. A number is no time, as nothing says of what unit it is.
    #[default]
    Text,
    /// `timestamp(s)`: numbers since 1970 of this unit, or text as RFC 3339 says.
    Number(TimeUnit),
    /// `timestamp(%d/%b/%Y:%H:%M:%S %z)`: text of this pattern, in the letters of `strftime`.
    Pattern(String),
}

/// What numbers count that are times.
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
    /// All of them.
    pub const ALL: [TimeUnit; 4] = [TimeUnit::Seconds, TimeUnit::Millis, TimeUnit::Micros, TimeUnit::Nanos];

    /// The unit as a schema names it, and in words.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            TimeUnit::Seconds => ("s", "seconds"),
            TimeUnit::Millis => ("ms", "milliseconds"),
            TimeUnit::Micros => ("us", "microseconds"),
            TimeUnit::Nanos => ("ns", "nanoseconds"),
        }
    }

    /// Which power of ten of microseconds it is.
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

    /// Sets where the value is in a JSON record, as `["user", "id"]`.
    #[must_use]
    pub fn at<S: Into<String>>(mut self, path: impl IntoIterator<Item = S>) -> ColumnSpec {
        self.path = path.into_iter().map(Into::into).collect();
        self
    }

    /// Where the value is in a record: the path, or the name where there is none.
    pub fn place(&self) -> &[String] {
        if self.path.is_empty() { std::slice::from_ref(&self.name) } else { &self.path }
    }

    /// Sets how times are written.
    #[must_use]
    pub fn written(mut self, form: TimeForm) -> ColumnSpec {
        self.form = form;
        self
    }

    /// Sets which part of a record of a topic holds the value.
    #[must_use]
    pub fn from(mut self, from: ColumnSource) -> ColumnSpec {
        self.from = from;
        self
    }

    /// Sets the zone of times that are written without an offset.
    #[must_use]
    pub fn within(mut self, zone: Zone) -> ColumnSpec {
        self.zone = Some(zone);
        self
    }

    /// Sets how text stands for bytes.
    #[must_use]
    pub fn encoded(mut self, encoding: BinaryEncoding) -> ColumnSpec {
        self.encoding = Some(encoding);
        self
    }

    /// The type of this word of a job file, as `int64` or `timestamp(ms)`; `None` for an unknown one.
    pub fn type_of(word: &str) -> Option<(ColumnType, TimeForm)> {
        let Some(form) = word.strip_prefix("timestamp(").and_then(|rest| rest.strip_suffix(')')) else {
            return ColumnType::from_name(word).map(|kind| (kind, TimeForm::Text));
        };
        let unit = TimeUnit::ALL.into_iter().find(|unit| unit.names().0 == form);
        let pattern = || form.contains('%').then(|| TimeForm::Pattern(form.into()));
        unit.map(TimeForm::Number).or_else(pattern).map(|form| (ColumnType::Timestamp, form))
    }

    /// The type as a job file writes it.
    pub fn type_word(&self) -> String {
        match &self.form {
            TimeForm::Text => self.kind.to_string(),
            TimeForm::Number(unit) => format!("{}({})", self.kind, unit.names().0),
            TimeForm::Pattern(pattern) => format!("{}({pattern})", self.kind),
        }
    }

    /// The column as a job file writes it behind `name =`.
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
            table.insert("from".into(), self.from.word().into());
        }
        table.extend(self.encoding.map(|encoding| ("encoding".to_owned(), encoding.word().into())));
        table.extend(self.zone.map(|zone| ("zone".to_owned(), toml::Value::String(zone.to_string()))));
        table.into()
    }
}
