//! The OTLP messages in Protobuf, with the JSON names of their fields. Only fields that rows use are listed.
//!
//! Why not `opentelemetry-proto`: version 0.33 reads a complete request without limiting its values, while two bytes may become a structure of
//! hundreds. It rejects text that is not UTF-8, and does not distinguish zero from missing. In JSON it rejects the number `"NaN"`
//! (open-telemetry/opentelemetry-rust#3496), and its errors do not name the field. Converting its structures to rows would take more code than this
//! module.

use super::tree::{Leaf, Tree};
use millstream_connect::receiver::json_text::text_of;
use millstream_rows::decode::protobuf::wire::{Raw, Wire};
use millstream_rows::decode::varint::unzigzag;

/// Maximum nesting depth of messages: attributes may hold lists of lists.
const DEPTH_MAX: usize = 64;

/// The fields of a message.
pub struct Message(&'static [Field]);

struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
    repeated: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Message(&'static Message),
    Text,
    Bytes,
    Id,
    Flag,
    Int,
    Zigzag,
    Unsigned,
    Fixed,
    SignedFixed,
    Double,
}
use Kind::{Bytes, Double, Fixed, Flag, Id, Int, SignedFixed, Text, Unsigned, Zigzag};

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

/// Requests with logs, metrics or traces.
pub static LOGS: Message = Message(&[many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))]);
pub static METRICS: Message = Message(&[many(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))]);
pub static TRACES: Message = Message(&[many(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))]);

const RESOURCE: Field = one(1, "resource", Kind::Message(&HAS_ATTRIBUTES));
const SCOPE: Field = one(1, "scope", Kind::Message(&INSTRUMENTATION_SCOPE));
static HAS_ATTRIBUTES: Message = Message(&[attributes(1)]);
static INSTRUMENTATION_SCOPE: Message = Message(&[one(1, "name", Text), one(2, "version", Text)]);

const fn attributes(number: u32) -> Field {
    many(number, "attributes", Kind::Message(&KEY_VALUE))
}

static KEY_VALUE: Message = Message(&[one(1, "key", Text), one(2, "value", Kind::Message(&ANY_VALUE))]);
static ANY_VALUE: Message = Message(&[
    one(1, "stringValue", Text),
    one(2, "boolValue", Flag),
    one(3, "intValue", Int),
    one(4, "doubleValue", Double),
    one(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
    one(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
    one(7, "bytesValue", Bytes),
]);
static ARRAY_VALUE: Message = Message(&[many(1, "values", Kind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = Message(&[many(1, "values", Kind::Message(&KEY_VALUE))]);

static RESOURCE_LOGS: Message = Message(&[RESOURCE, many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS))]);
static SCOPE_LOGS: Message = Message(&[SCOPE, many(2, "logRecords", Kind::Message(&LOG_RECORD))]);
static LOG_RECORD: Message = Message(&[
    one(1, "timeUnixNano", Fixed),
    one(11, "observedTimeUnixNano", Fixed),
    one(2, "severityNumber", Int),
    one(3, "severityText", Text),
    one(5, "body", Kind::Message(&ANY_VALUE)),
    attributes(6),
    one(9, "traceId", Id),
    one(10, "spanId", Id),
    one(12, "eventName", Text),
]);

static RESOURCE_METRICS: Message = Message(&[RESOURCE, many(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS))]);
static SCOPE_METRICS: Message = Message(&[SCOPE, many(2, "metrics", Kind::Message(&METRIC))]);
static METRIC: Message = Message(&[
    one(1, "name", Text),
    one(2, "description", Text),
    one(3, "unit", Text),
    one(5, "gauge", Kind::Message(&NUMBERS)),
    one(7, "sum", Kind::Message(&NUMBERS)),
    one(9, "histogram", Kind::Message(&HISTOGRAM)),
    one(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL)),
    one(11, "summary", Kind::Message(&SUMMARY)),
]);
const TEMPORALITY: Field = one(2, "aggregationTemporality", Int);
static NUMBERS: Message =
    Message(&[many(1, "dataPoints", Kind::Message(&NUMBER)), TEMPORALITY, one(3, "isMonotonic", Flag)]);
static HISTOGRAM: Message = Message(&[many(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)), TEMPORALITY]);
static EXPONENTIAL: Message = Message(&[many(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)), TEMPORALITY]);
static SUMMARY: Message = Message(&[many(1, "dataPoints", Kind::Message(&SUMMARY_POINT))]);
const START: Field = one(2, "startTimeUnixNano", Fixed);
const TIME: Field = one(3, "timeUnixNano", Fixed);
const COUNT: Field = one(4, "count", Fixed);
const SUM: Field = one(5, "sum", Double);
static NUMBER: Message =
    Message(&[attributes(7), START, TIME, one(4, "asDouble", Double), one(6, "asInt", SignedFixed)]);
static HISTOGRAM_POINT: Message = Message(&[
    attributes(9),
    START,
    TIME,
    COUNT,
    SUM,
    many(6, "bucketCounts", Fixed),
    many(7, "explicitBounds", Double),
    one(11, "min", Double),
    one(12, "max", Double),
]);
static EXPONENTIAL_POINT: Message = Message(&[
    attributes(1),
    START,
    TIME,
    COUNT,
    SUM,
    one(6, "scale", Zigzag),
    one(7, "zeroCount", Fixed),
    one(8, "positive", Kind::Message(&BUCKETS)),
    one(9, "negative", Kind::Message(&BUCKETS)),
    one(12, "min", Double),
    one(13, "max", Double),
]);
static BUCKETS: Message = Message(&[one(1, "offset", Zigzag), many(2, "bucketCounts", Unsigned)]);
static SUMMARY_POINT: Message =
    Message(&[attributes(7), START, TIME, COUNT, SUM, many(6, "quantileValues", Kind::Message(&QUANTILE))]);
static QUANTILE: Message = Message(&[one(1, "quantile", Double), one(2, "value", Double)]);

static RESOURCE_SPANS: Message = Message(&[RESOURCE, many(2, "scopeSpans", Kind::Message(&SCOPE_SPANS))]);
static SCOPE_SPANS: Message = Message(&[SCOPE, many(2, "spans", Kind::Message(&SPAN))]);
static SPAN: Message = Message(&[
    one(1, "traceId", Id),
    one(2, "spanId", Id),
    one(4, "parentSpanId", Id),
    one(5, "name", Text),
    one(6, "kind", Int),
    one(7, "startTimeUnixNano", Fixed),
    one(8, "endTimeUnixNano", Fixed),
    attributes(9),
    many(11, "events", Kind::Message(&EVENT)),
    many(13, "links", Kind::Message(&LINK)),
    one(15, "status", Kind::Message(&STATUS)),
]);
static EVENT: Message = Message(&[one(1, "timeUnixNano", Fixed), one(2, "name", Text), attributes(3)]);
static LINK: Message = Message(&[one(1, "traceId", Id), one(2, "spanId", Id), attributes(4)]);
static STATUS: Message = Message(&[one(2, "message", Text), one(3, "code", Int)]);

/// Why bytes are not a valid OpenTelemetry message.
#[derive(Debug)]
pub enum MessageFault {
    /// They are not such a message.
    Wrong(String),
    /// They have too many values, as a value may take only a few bytes.
    TooMany,
}

impl From<String> for MessageFault {
    fn from(why: String) -> MessageFault {
        MessageFault::Wrong(why)
    }
}

impl Message {
    /// Decodes a message with at most `values_max` values.
    pub fn read<'a>(&self, bytes: &'a [u8], values_max: usize) -> Result<Tree<'a>, MessageFault> {
        let mut reading = MessageReader { left: values_max, tree: Tree::default() };
        reading.fields(self, bytes, 0)?;
        Ok(reading.tree)
    }
}

/// Decodes a message into a tree, and counts its values.
struct MessageReader<'a> {
    left: usize,
    tree: Tree<'a>,
}

impl<'a> MessageReader<'a> {
    fn fields(&mut self, message: &Message, bytes: &'a [u8], depth: usize) -> Result<(), MessageFault> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX} levels").into());
        }
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.field()? {
            let Some(field) = message.0.iter().find(|field| field.number == number) else { continue };
            match (field.kind, raw) {
                (Fixed | SignedFixed | Double | Unsigned | Int, Raw::Bytes(numbers)) if field.repeated => {
                    self.packed_numbers(field, numbers)?;
                }
                (_, raw) => self.value(field, raw, depth)?,
            }
        }
        Ok(())
    }

    /// Decodes packed numbers.
    fn packed_numbers(&mut self, field: &Field, numbers: &'a [u8]) -> Result<(), MessageFault> {
        let mut wire = Wire::new(numbers);
        while !wire.rest().is_empty() {
            let raw = match field.kind {
                Fixed | SignedFixed | Double => Raw::Fixed64(wire.fixed64()?),
                _ => Raw::Varint(wire.varint()?),
            };
            self.value(field, raw, 0)?;
        }
        Ok(())
    }

    fn value(&mut self, field: &Field, raw: Raw<'a>, depth: usize) -> Result<(), MessageFault> {
        self.left = self.left.checked_sub(1).ok_or(MessageFault::TooMany)?;
        let leaf = match (field.kind, raw) {
            (Kind::Message(message), Raw::Bytes(bytes)) => {
                let open = self.tree.open(field.name, field.repeated);
                self.fields(message, bytes, depth + 1)?;
                self.tree.close(open);
                return Ok(());
            }
            // Invalid UTF-8 is replaced.
            (Text, Raw::Bytes(bytes)) => Leaf::Text(text_of(bytes)),
            (Bytes, Raw::Bytes(bytes)) => Leaf::Bytes(bytes),
            (Id, Raw::Bytes(bytes)) => Leaf::Id(bytes),
            (Flag, Raw::Varint(number)) => Leaf::Flag(number != 0),
            (Int, Raw::Varint(number)) => Leaf::Int(number.cast_signed()),
            (Unsigned, Raw::Varint(number)) => Leaf::Unsigned(number),
            (Zigzag, Raw::Varint(number)) => Leaf::Int(unzigzag(number)),
            (Fixed, Raw::Fixed64(number)) => Leaf::Unsigned(number),
            (SignedFixed, Raw::Fixed64(number)) => Leaf::Int(number.cast_signed()),
            (Double, Raw::Fixed64(bits)) => Leaf::Double(f64::from_bits(bits)),
            _ => return Err("a field has the wrong type; the message is invalid".to_owned().into()),
        };
        self.tree.add(field.name, field.repeated, leaf);
        Ok(())
    }
}
