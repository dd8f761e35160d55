//! Which columns take each field of a message, and how. A descriptor is resolved against the columns once.

use super::descriptor::{Field, Kind, Message, Messages, is_message};
use super::value::Conversion;
use crate::batch::column::{ColumnSpec, TimeForm};
use crate::batch::types::ColumnType;
use crate::decode::json::index_of;
use arrow::datatypes::DataType;
use hashbrown::HashMap;

/// The message that represents an instant.
pub const TIMESTAMP: &str = "google.protobuf.Timestamp";
/// Messages that represent an optional value.
const WRAPPERS: [&str; 9] = ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"];

/// The plan of a message.
#[derive(Debug, Default)]
pub struct MessagePlan {
    /// Fields in the order of the descriptor; others are skipped.
    pub(super) fields: Vec<FieldPlan>,
    by_number: HashMap<u32, usize>,
    /// Columns whose field is zero if absent.
    pub(super) zeros: Vec<(usize, Kind, Conversion)>,
    /// Columns of complete lists and maps; they have a value even if these are empty.
    pub(super) strings: Vec<NestedText>,
    /// Number of values that are kept until the end of the message.
    pub(super) slots: usize,
    /// Number of lists whose elements are counted.
    pub(super) lists: usize,
    wrong: Vec<(usize, String)>,
}

/// A column that takes a complete list or map.
#[derive(Debug)]
pub(super) struct NestedText {
    pub column: usize,
    pub is_map: bool,
}

/// The plan of a field.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub kind: Kind,
    /// Slots of the other fields of its oneof, of which only one has a value.
    pub clears: Vec<usize>,
    pub shape: FieldShape,
}

/// The plan of a field, by its number of values.
#[derive(Debug)]
pub(super) enum FieldShape {
    /// One value. With a slot it is kept until the end of the message, as later fields may change it.
    Single { slot: Option<usize>, plan: ValuePlan },
    /// A list; `list` is the index of its counter, `strings` are indexes in those of the message.
    List { list: usize, strings: Vec<usize>, indexes: HashMap<usize, ValuePlan> },
    /// A map, with the kinds of its keys and values. Each key that columns need has a slot.
    Map { key: Kind, value: Kind, strings: Vec<usize>, keys: Vec<(String, usize, ValuePlan)> },
}

/// The plan of one value.
#[derive(Debug, Default)]
pub(super) struct ValuePlan {
    /// Columns that take the value, and how.
    pub takes: Vec<(usize, Conversion)>,
    /// Columns that take what is in the message.
    pub inside: Option<Box<MessagePlan>>,
}

/// A column, and the rest of the path to its value.
type Target<'a> = (usize, &'a ColumnSpec, &'a [String]);

impl MessagePlan {
    /// Creates the plan of a message.
    pub fn new(messages: &Messages, message: usize, columns: &[ColumnSpec]) -> MessagePlan {
        let targets: Vec<Target<'_>> =
            columns.iter().enumerate().map(|(index, column)| (index, column, column.value_path())).collect();
        Planner { messages }.message(message, &targets)
    }

    /// Returns columns for which no message has a value, or only one that the column cannot take.
    pub fn errors(&self, columns: &[ColumnSpec]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.gather(&mut found);
        found.sort_by_key(|(index, _)| *index);
        let name = |(index, why): (usize, String)| (columns.get(index).map_or("", |c| &c.name).to_owned(), why);
        found.into_iter().map(name).collect()
    }

    fn gather(&self, found: &mut Vec<(usize, String)>) {
        found.extend(self.wrong.iter().cloned());
        for field in &self.fields {
            let mut inside = |plan: &ValuePlan| plan.inside.iter().for_each(|plan| plan.gather(found));
            match &field.shape {
                FieldShape::Single { plan, .. } => inside(plan),
                FieldShape::List { indexes, .. } => indexes.values().for_each(inside),
                FieldShape::Map { keys, .. } => keys.iter().for_each(|(_, _, plan)| inside(plan)),
            }
        }
    }

    /// Returns the plan of the field with this number; `None`: it is skipped.
    #[inline]
    pub(super) fn field(&self, number: u32) -> Option<&FieldPlan> {
        self.by_number.get(&number).and_then(|index| self.fields.get(*index))
    }

    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }
}

impl Messages {
    /// Returns what is wrong with a source of this message and these columns: the key, and why.
    pub fn errors(&self, name: &str, columns: &[ColumnSpec]) -> Vec<(String, String)> {
        let message = match self.look_up(name) {
            Ok(message) => message,
            Err(why) => return vec![("message".into(), why)],
        };
        let plan = MessagePlan::new(self, message, columns);
        let wrong = plan.errors(columns).into_iter();
        wrong.map(|(column, why)| (format!("schema.{column}"), why)).collect()
    }
}

struct Planner<'a> {
    messages: &'a Messages,
}

impl Planner<'_> {
    fn message(&self, message: usize, targets: &[Target<'_>]) -> MessagePlan {
        let mut plan = MessagePlan::default();
        let none = Message::default();
        let message = self.messages.message(message).unwrap_or(&none);
        for (index, _, rest) in targets {
            let name = rest.first().map_or("", String::as_str);
            if !message.fields.iter().any(|field| field.name == name) {
                plan.wrong.push((*index, format!("message `{}` has no field `{name}`", message.name)));
            }
        }
        let mut oneofs: HashMap<u32, Vec<usize>> = HashMap::new();
        for field in &message.fields {
            let below: Vec<Target<'_>> = targets
                .iter()
                .filter(|(.., rest)| rest.first() == Some(&field.name))
                .map(|target| below(*target))
                .collect();
            // The fields of a oneof need a plan even if no column takes them, as they clear the others.
            if below.is_empty() && field.oneof.is_none() {
                continue;
            }
            if let Some(of) = field.oneof {
                oneofs.entry(of).or_default().push(plan.fields.len());
            }
            let planned = self.field(field, &below, &mut plan);
            plan.by_number.insert(field.number, plan.fields.len());
            plan.fields.push(planned);
        }
        for members in oneofs.values() {
            let slots: Vec<(usize, usize)> =
                members.iter().filter_map(|at| Some((*at, plan.fields.get(*at)?.slot()?))).collect();
            for member in members {
                let other_slots = slots.iter().filter(|(at, _)| at != member).map(|(_, slot)| *slot);
                if let Some(field) = plan.fields.get_mut(*member) {
                    field.clears = other_slots.collect();
                }
            }
        }
        plan
    }

    fn field(&self, field: &Field, targets: &[Target<'_>], message_plan: &mut MessagePlan) -> FieldPlan {
        let shape = match (field.repeated, self.entry_of(field)) {
            (false, _) => self.single(field, targets, message_plan),
            (true, None) => self.list(field, targets, message_plan),
            (true, Some((key, value))) => self.map(field, (key, value), targets, message_plan),
        };
        FieldPlan { kind: field.kind, clears: Vec::new(), shape }
    }

    fn single(&self, field: &Field, targets: &[Target<'_>], message_plan: &mut MessagePlan) -> FieldShape {
        let mut plan = self.value(field, field.kind, targets, message_plan);
        if field.implicit {
            for (index, into) in &mut plan.takes {
                let kind = targets.iter().find(|(own, ..)| own == index).map(|(_, column, _)| &column.kind);
                // An empty text is not a number or a time: it is null there.
                if field.kind == Kind::Text && !matches!(kind, Some(ColumnType::Text | ColumnType::Binary)) {
                    *into = Conversion::NonEmpty;
                } else {
                    message_plan.zeros.push((*index, field.kind, *into));
                }
            }
        }
        let is_kept = !targets.is_empty() && (is_message(field.kind) || field.oneof.is_some());
        FieldShape::Single { slot: is_kept.then(|| message_plan.slot()), plan }
    }

    fn list(&self, field: &Field, targets: &[Target<'_>], message_plan: &mut MessagePlan) -> FieldShape {
        let (own, deeper) = split(targets);
        let strings = self.strings(field, false, &own, message_plan);
        let mut indexes: Vec<(usize, Vec<Target<'_>>)> = Vec::new();
        for target in deeper {
            let name = target.2.first().map_or("", String::as_str);
            match index_of(name) {
                Some(at) => add(&mut indexes, at, below(target)),
                None => message_plan.wrong.push((
                    target.0,
                    format!(
                        "column `{}`: field `{}` is a list; write the index of an element, for example path = \"{}.0.{name}\"",
                        target.1.name, field.name, field.name
                    ),
                )),
            }
        }
        let planned = indexes.iter().map(|(at, targets)| (*at, self.value(field, field.kind, targets, message_plan)));
        let indexes = planned.collect();
        message_plan.lists += 1;
        FieldShape::List { list: message_plan.lists - 1, strings, indexes }
    }

    fn map(
        &self,
        field: &Field,
        (key, value): (Kind, Kind),
        targets: &[Target<'_>],
        message_plan: &mut MessagePlan,
    ) -> FieldShape {
        let (own, deeper) = split(targets);
        let strings = self.strings(field, true, &own, message_plan);
        let mut wanted: Vec<(String, Vec<Target<'_>>)> = Vec::new();
        for target in deeper {
            add(&mut wanted, target.2.first().cloned().unwrap_or_default(), below(target));
        }
        let mut keys = Vec::with_capacity(wanted.len());
        for (name, targets) in wanted {
            let plan = self.value(field, value, &targets, message_plan);
            keys.push((name, message_plan.slot(), plan));
        }
        FieldShape::Map { key, value, strings, keys }
    }

    /// Plans columns that take a complete list or map.
    fn strings(&self, field: &Field, is_map: bool, own: &[Target<'_>], message_plan: &mut MessagePlan) -> Vec<usize> {
        let mut strings = Vec::new();
        for (index, column, _) in own {
            let takes_all = match &column.kind {
                ColumnType::Arrow(DataType::Struct(_)) => is_map,
                ColumnType::Arrow(DataType::List(_)) => !is_map,
                kind => *kind == ColumnType::Text,
            };
            if field.kind == Kind::Unknown {
                let column = &column.name;
                message_plan.wrong.push((*index, format!("column `{column}`: field `{}` is {UNDEFINED}", field.name)));
            } else if takes_all {
                strings.push(message_plan.strings.len());
                message_plan.strings.push(NestedText { column: *index, is_map });
            } else {
                let (kind_text, example) = if is_map { ("a map", "key") } else { ("a list", "0") };
                message_plan.wrong.push((*index, format!(
                    "column `{}` is {}, and field `{}` is {kind_text}; write path = \"{}.{example}\" for one of its values, or a column of \
                     text, which takes all as JSON",
                    column.name, column.type_word(), field.name, field.name
                )));
            }
        }
        strings
    }

    /// Creates the plan of one value.
    fn value(&self, field: &Field, kind: Kind, targets: &[Target<'_>], message_plan: &mut MessagePlan) -> ValuePlan {
        let (own, mut inside) = split(targets);
        let mut planned = ValuePlan::default();
        let wrapped = wrapped(self.messages, kind);
        let value = "value".to_owned();
        for (index, column, _) in own {
            match (into(self.messages, kind, column), wrapped) {
                (Ok(Conversion::Json), true) | (Err(_), true) => {
                    inside.push((index, column, std::slice::from_ref(&value)))
                }
                (Ok(into), _) => planned.takes.push((index, into)),
                (Err(kind_text), _) => message_plan.wrong.push((
                    index,
                    format!(
                        "column `{}` is {}, and field `{}` is {kind_text}",
                        column.name,
                        column.type_word(),
                        field.name
                    ),
                )),
            }
        }
        match kind {
            _ if inside.is_empty() => {}
            // A message may contain itself, but a path ends.
            Kind::Message(of) | Kind::Group(of) => planned.inside = Some(Box::new(self.message(of, &inside))),
            _ => {
                for (index, column, _) in inside {
                    message_plan.wrong.push((
                        index,
                        format!(
                            "column `{}`: field `{}` is not a message, but its path continues",
                            column.name, field.name
                        ),
                    ));
                }
            }
        }
        planned
    }

    /// Returns the kinds of key and value if a field is a map.
    fn entry_of(&self, field: &Field) -> Option<(Kind, Kind)> {
        let Kind::Message(of) = field.kind else { return None };
        self.messages.message(of)?.entry()
    }
}

impl FieldPlan {
    fn slot(&self) -> Option<usize> {
        match &self.shape {
            FieldShape::Single { slot, .. } => *slot,
            FieldShape::List { .. } | FieldShape::Map { .. } => None,
        }
    }
}

/// Splits targets into those that take the complete value and those that take something in it.
fn split<'a>(targets: &[Target<'a>]) -> (Vec<Target<'a>>, Vec<Target<'a>>) {
    targets.iter().copied().partition(|(.., rest)| rest.is_empty())
}

/// Returns the target without the first name of its path.
fn below((index, column, rest): Target<'_>) -> Target<'_> {
    (index, column, rest.get(1..).unwrap_or_default())
}

fn add<'a, K: PartialEq>(groups: &mut Vec<(K, Vec<Target<'a>>)>, key: K, target: Target<'a>) {
    match groups.iter_mut().find(|(other, _)| *other == key) {
        Some((_, targets)) => targets.push(target),
        None => groups.push((key, vec![target])),
    }
}

/// Returns whether a message only wraps an optional value.
pub fn wrapped(messages: &Messages, kind: Kind) -> bool {
    let Kind::Message(of) = kind else { return false };
    let name = messages.message(of).and_then(|message| message.name.strip_prefix("google.protobuf."));
    name.and_then(|name| name.strip_suffix("Value")).is_some_and(|name| WRAPPERS.contains(&name))
}

const UNDEFINED: &str = "of a type that the descriptor does not define";

/// Returns how a column takes values of a kind; the error names the kind.
fn into(messages: &Messages, kind: Kind, column: &ColumnSpec) -> Result<Conversion, String> {
    use ColumnType::{Arrow, Binary, Bool, Float64, Int64, Text, Timestamp};
    let is_moment = |of: usize| messages.message(of).is_some_and(|message| message.name == TIMESTAMP);
    Ok(match (&column.kind, kind) {
        (_, Kind::Unknown) => return Err(UNDEFINED.into()),
        (Timestamp | Text, Kind::Message(of)) if is_moment(of) => Conversion::Moment,
        (Text | Arrow(DataType::Struct(_)), Kind::Message(_) | Kind::Group(_)) => Conversion::Json,
        (_, Kind::Message(_)) => return Err("a message".into()),
        (_, Kind::Group(_)) => return Err("a group".into()),
        (Text, _) => Conversion::Value,
        (Bool, Kind::Bool) => Conversion::Value,
        (Float64, Kind::Double | Kind::Float) => Conversion::Value,
        (Int64, Kind::Enum(_)) => Conversion::Value,
        (Binary, Kind::Bytes | Kind::Text) => Conversion::Value,
        (Timestamp | Arrow(DataType::Date32 | DataType::Decimal128(..)), Kind::Text) => Conversion::Value,
        (_, Kind::Bool) => return Err("a bool".into()),
        (_, Kind::Double | Kind::Float) => return Err("a floating-point number".into()),
        (_, Kind::Enum(_)) => return Err("an enum".into()),
        (_, Kind::Bytes) => return Err("bytes".into()),
        (_, Kind::Text) => return Err("text".into()),
        (Int64 | Float64, _) => Conversion::Value,
        (Arrow(DataType::Decimal128(..)), _) => Conversion::Decimal,
        (Timestamp, _) => match &column.form {
            TimeForm::Number(unit) => Conversion::Time(*unit),
            _ => {
                return Err("a number without a unit; write timestamp(ms), or (s), (us) or (ns)".into());
            }
        },
        _ => return Err("an integer".into()),
    })
}
