//! What becomes of each field of a message: which columns take it, and how. A descriptor is resolved against the columns once.

use super::descriptor::{Field, Kind, Message, Messages, is_message};
use super::value::Conversion;
use crate::batch::types::ColumnType;
use crate::decode::json::place_of;
use crate::job::spec::{ColumnSpec, TimeForm};
use arrow::datatypes::DataType;
use hashbrown::HashMap;

/// The message that stands for a moment.
pub const TIMESTAMP: &str = "google.protobuf.Timestamp";
/// Messages that stand for a value that may be missing.
const WRAPPERS: [&str; 9] = ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"];

/// What becomes of a message.
#[derive(Debug, Default)]
pub struct MessagePlan {
    /// What is not here is skipped. In the order of the descriptor.
    pub(super) fields: Vec<FieldPlan>,
    by_number: HashMap<u32, usize>,
    /// Columns whose field has its zero where it is not written.
    pub(super) zeros: Vec<(usize, Kind, Conversion)>,
    /// Columns of lists and maps as a whole; they are there also where nothing is in them.
    pub(super) texts: Vec<NestedText>,
    /// Values that are kept until the end of the message.
    pub(super) slots: usize,
    /// Lists whose elements are counted.
    pub(super) lists: usize,
    wrong: Vec<(usize, String)>,
}

/// A column that takes a list or a map as a whole.
#[derive(Debug)]
pub(super) struct NestedText {
    pub column: usize,
    pub is_map: bool,
}

/// What becomes of a field.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub kind: Kind,
    /// Slots of the other fields of its oneof, of which only one has a value.
    pub clears: Vec<usize>,
    pub shape: FieldShape,
}

/// What becomes of a field, by how many values it has.
#[derive(Debug)]
pub(super) enum FieldShape {
    /// One. With a slot it is kept until the end of the message, as later fields may change it.
    Single { slot: Option<usize>, plan: ValuePlan },
    /// A list; `list` counts its elements, `texts` are places in those of the message.
    List { list: usize, texts: Vec<usize>, places: HashMap<usize, ValuePlan> },
    /// A map, with the kinds of its keys and values. Each key that columns want has a slot.
    Map { key: Kind, value: Kind, texts: Vec<usize>, keys: Vec<(String, usize, ValuePlan)> },
}

/// What becomes of one value.
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
    /// The plan of a message.
    pub fn of(messages: &Messages, message: usize, columns: &[ColumnSpec]) -> MessagePlan {
        let targets: Vec<Target<'_>> =
            columns.iter().enumerate().map(|(place, column)| (place, column, column.place())).collect();
        Planner { messages }.message(message, &targets)
    }

    /// What no message has for a column, or has as something that the column cannot take.
    pub fn mistakes(&self, columns: &[ColumnSpec]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.gather(&mut found);
        found.sort_by_key(|(place, _)| *place);
        let name = |(place, why): (usize, String)| (columns.get(place).map_or("", |c| &c.name).to_owned(), why);
        found.into_iter().map(name).collect()
    }

    fn gather(&self, found: &mut Vec<(usize, String)>) {
        found.extend(self.wrong.iter().cloned());
        for field in &self.fields {
            let mut inside = |plan: &ValuePlan| plan.inside.iter().for_each(|plan| plan.gather(found));
            match &field.shape {
                FieldShape::Single { plan, .. } => inside(plan),
                FieldShape::List { places, .. } => places.values().for_each(inside),
                FieldShape::Map { keys, .. } => keys.iter().for_each(|(_, _, plan)| inside(plan)),
            }
        }
    }

    /// What becomes of the field of this number; `None`: it is skipped.
    #[inline]
    pub(super) fn field(&self, number: u32) -> Option<&FieldPlan> {
        self.by_number.get(&number).and_then(|place| self.fields.get(*place))
    }

    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }
}

impl Messages {
    /// What is wrong with a source of this message and these columns: the key, and why.
    pub fn mistakes(&self, name: &str, columns: &[ColumnSpec]) -> Vec<(String, String)> {
        let message = match self.look_up(name) {
            Ok(message) => message,
            Err(why) => return vec![("message".into(), why)],
        };
        let plan = MessagePlan::of(self, message, columns);
        let wrong = plan.mistakes(columns).into_iter();
        wrong.map(|(column, why)| (format!("schema.{column}"), why)).collect()
    }
}

struct Planner<'a> {
    messages: &'a Messages,
}

impl Planner<'_> {
    fn message(&self, message: usize, targets: &[Target<'_>]) -> MessagePlan {
        let mut made = MessagePlan::default();
        let none = Message::default();
        let message = self.messages.message(message).unwrap_or(&none);
        for (place, _, rest) in targets {
            let name = rest.first().map_or("", String::as_str);
            if !message.fields.iter().any(|field| field.name == name) {
                made.wrong.push((*place, format!("message `{}` has no field `{name}`", message.name)));
            }
        }
        let mut oneofs: HashMap<u32, Vec<usize>> = HashMap::new();
        for field in &message.fields {
            let below: Vec<Target<'_>> = targets
                .iter()
                .filter(|(.., rest)| rest.first() == Some(&field.name))
                .map(|target| below(*target))
                .collect();
            // The fields of a oneof need a plan also where no column takes them, as they clear the others.
            if below.is_empty() && field.oneof.is_none() {
                continue;
            }
            if let Some(of) = field.oneof {
                oneofs.entry(of).or_default().push(made.fields.len());
            }
            let planned = self.field(field, &below, &mut made);
            made.by_number.insert(field.number, made.fields.len());
            made.fields.push(planned);
        }
        for members in oneofs.values() {
            let slots: Vec<(usize, usize)> =
                members.iter().filter_map(|at| Some((*at, made.fields.get(*at)?.slot()?))).collect();
            for member in members {
                let others = slots.iter().filter(|(at, _)| at != member).map(|(_, slot)| *slot);
                if let Some(field) = made.fields.get_mut(*member) {
                    field.clears = others.collect();
                }
            }
        }
        made
    }

    fn field(&self, field: &Field, targets: &[Target<'_>], made: &mut MessagePlan) -> FieldPlan {
        let shape = match (field.repeated, self.entry_of(field)) {
            (false, _) => self.single(field, targets, made),
            (true, None) => self.list(field, targets, made),
            (true, Some((key, value))) => self.map(field, (key, value), targets, made),
        };
        FieldPlan { kind: field.kind, clears: Vec::new(), shape }
    }

    fn single(&self, field: &Field, targets: &[Target<'_>], made: &mut MessagePlan) -> FieldShape {
        let mut plan = self.value(field, field.kind, targets, made);
        if field.implicit {
            for (place, into) in &mut plan.takes {
                let kind = targets.iter().find(|(own, ..)| own == place).map(|(_, column, _)| &column.kind);
                // No text is no number and no time: an empty one is null there.
                if field.kind == Kind::Text && !matches!(kind, Some(ColumnType::Text | ColumnType::Binary)) {
                    *into = Conversion::NonEmpty;
                } else {
                    made.zeros.push((*place, field.kind, *into));
                }
            }
        }
        let is_kept = !targets.is_empty() && (is_message(field.kind) || field.oneof.is_some());
        FieldShape::Single { slot: is_kept.then(|| made.slot()), plan }
    }

    fn list(&self, field: &Field, targets: &[Target<'_>], made: &mut MessagePlan) -> FieldShape {
        let (own, deeper) = split(targets);
        let texts = self.texts(field, false, &own, made);
        let mut places: Vec<(usize, Vec<Target<'_>>)> = Vec::new();
        for target in deeper {
            let name = target.2.first().map_or("", String::as_str);
            match place_of(name) {
                Some(at) => add(&mut places, at, below(target)),
                None => made.wrong.push((
                    target.0,
                    format!(
                        "column `{}`: field `{}` is a list; write the place of an element, as path = \"{}.0.{name}\"",
                        target.1.name, field.name, field.name
                    ),
                )),
            }
        }
        let planned = places.iter().map(|(at, targets)| (*at, self.value(field, field.kind, targets, made)));
        let places = planned.collect();
        made.lists += 1;
        FieldShape::List { list: made.lists - 1, texts, places }
    }

    fn map(
        &self,
        field: &Field,
        (key, value): (Kind, Kind),
        targets: &[Target<'_>],
        made: &mut MessagePlan,
    ) -> FieldShape {
        let (own, deeper) = split(targets);
        let texts = self.texts(field, true, &own, made);
        let mut wanted: Vec<(String, Vec<Target<'_>>)> = Vec::new();
        for target in deeper {
            add(&mut wanted, target.2.first().cloned().unwrap_or_default(), below(target));
        }
        let mut keys = Vec::with_capacity(wanted.len());
        for (name, targets) in wanted {
            let plan = self.value(field, value, &targets, made);
            keys.push((name, made.slot(), plan));
        }
        FieldShape::Map { key, value, texts, keys }
    }

    /// Columns that take a list or a map as a whole.
    fn texts(&self, field: &Field, is_map: bool, own: &[Target<'_>], made: &mut MessagePlan) -> Vec<usize> {
        let mut texts = Vec::new();
        for (place, column, _) in own {
            let takes_all = match &column.kind {
                ColumnType::Arrow(DataType::Struct(_)) => is_map,
                ColumnType::Arrow(DataType::List(_)) => !is_map,
                kind => *kind == ColumnType::Text,
            };
            if field.kind == Kind::Unknown {
                let column = &column.name;
                made.wrong.push((*place, format!("column `{column}`: field `{}` is {UNDEFINED}", field.name)));
            } else if takes_all {
                texts.push(made.texts.len());
                made.texts.push(NestedText { column: *place, is_map });
            } else {
                let (what, example) = if is_map { ("a map", "key") } else { ("a list", "0") };
                made.wrong.push((*place, format!(
                    "column `{}` is {}, and field `{}` is {what}; write path = \"{}.{example}\" for one of its values, or a column of \
                     text, which takes all as JSON",
                    column.name, column.type_word(), field.name, field.name
                )));
            }
        }
        texts
    }

    /// The plan of one value.
    fn value(&self, field: &Field, kind: Kind, targets: &[Target<'_>], made: &mut MessagePlan) -> ValuePlan {
        let (own, mut inside) = split(targets);
        let mut planned = ValuePlan::default();
        let wrapped = wrapped(self.messages, kind);
        let value = "value".to_owned();
        for (place, column, _) in own {
            match (into(self.messages, kind, column), wrapped) {
                (Ok(Conversion::Json), true) | (Err(_), true) => {
                    inside.push((place, column, std::slice::from_ref(&value)))
                }
                (Ok(into), _) => planned.takes.push((place, into)),
                (Err(what), _) => made.wrong.push((
                    place,
                    format!("column `{}` is {}, and field `{}` is {what}", column.name, column.type_word(), field.name),
                )),
            }
        }
        match kind {
            _ if inside.is_empty() => {}
            // A message may hold itself, but a path ends.
            Kind::Message(of) | Kind::Group(of) => planned.inside = Some(Box::new(self.message(of, &inside))),
            _ => {
                for (place, column, _) in inside {
                    made.wrong.push((
                        place,
                        format!("column `{}`: field `{}` is no message, and its path goes on", column.name, field.name),
                    ));
                }
            }
        }
        planned
    }

    /// The kinds of keys and values, where a field is a map.
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

/// Targets that take a value as a whole, and those that want what is in it.
fn split<'a>(targets: &[Target<'a>]) -> (Vec<Target<'a>>, Vec<Target<'a>>) {
    targets.iter().copied().partition(|(.., rest)| rest.is_empty())
}

/// The same without the first name of the path.
fn below((place, column, rest): Target<'_>) -> Target<'_> {
    (place, column, rest.get(1..).unwrap_or_default())
}

fn add<'a, K: PartialEq>(groups: &mut Vec<(K, Vec<Target<'a>>)>, key: K, target: Target<'a>) {
    match groups.iter_mut().find(|(other, _)| *other == key) {
        Some((_, targets)) => targets.push(target),
        None => groups.push((key, vec![target])),
    }
}

/// Whether a message only says whether a value is there.
pub fn wrapped(messages: &Messages, kind: Kind) -> bool {
    let Kind::Message(of) = kind else { return false };
    let name = messages.message(of).and_then(|message| message.name.strip_prefix("google.protobuf."));
    name.and_then(|name| name.strip_suffix("Value")).is_some_and(|name| WRAPPERS.contains(&name))
}

const UNDEFINED: &str = "of a type that the descriptor does not define";

/// How a column takes values of a kind; the error says what they are.
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
                return Err(
                    "a number, of which nothing says the unit; write timestamp(ms), or (s), (us) or (ns)".into()
                );
            }
        },
        _ => return Err("a whole number".into()),
    })
}
