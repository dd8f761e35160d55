//! The values of a request in one list, in which the fields of a message follow it. This avoids one allocation per value, as a request may have
//! hundreds of thousands of them, which are read once.

use millstream_rows::batch::binary_text::{decode_base64, encode_base64};
use serde_json::Value;
use std::borrow::Cow;

/// A request.
#[derive(Default)]
pub struct Tree<'a>(Vec<Node<'a>>);

struct Node<'a> {
    name: &'a str,
    leaf: Leaf<'a>,
    /// Whether it is an element of a list of this name.
    is_listed: bool,
    /// Number of nodes below it, which follow it.
    below: usize,
}

/// A value.
#[derive(Debug, PartialEq)]
pub enum Leaf<'a> {
    /// No value, or one without a meaning.
    Null,
    Flag(bool),
    Int(i64),
    Unsigned(u64),
    Double(f64),
    Text(Cow<'a, str>),
    /// Bytes that are hexadecimal digits or Base64 in JSON.
    Id(&'a [u8]),
    Bytes(&'a [u8]),
    /// A message with fields below it.
    Message,
}

/// A message that is still being added.
pub struct OpenMessage(usize);

impl<'a> Tree<'a> {
    /// Adds a value.
    pub fn add(&mut self, name: &'a str, is_listed: bool, leaf: Leaf<'a>) {
        self.0.push(Node { name, leaf, is_listed, below: 0 });
    }

    /// Adds a message. What is added until it is closed is below it.
    pub fn open(&mut self, name: &'a str, is_listed: bool) -> OpenMessage {
        self.add(name, is_listed, Leaf::Message);
        OpenMessage(self.0.len())
    }

    /// Closes a message.
    pub fn close(&mut self, OpenMessage(begin): OpenMessage) {
        let below = self.0.len().saturating_sub(begin);
        if let Some(node) = begin.checked_sub(1).and_then(|at| self.0.get_mut(at)) {
            node.below = below;
        }
    }

    /// Converts a request in JSON.
    pub fn from_json(value: &'a Value) -> Tree<'a> {
        let mut tree = Tree::default();
        tree.put_fields(value);
        tree
    }

    fn put_fields(&mut self, value: &'a Value) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                Value::Array(values) => values.iter().for_each(|value| self.put(name, true, value)),
                value => self.put(name, false, value),
            }
        }
    }

    fn put(&mut self, name: &'a str, is_listed: bool, value: &'a Value) {
        match Leaf::from_json(value) {
            Leaf::Message => {
                let open = self.open(name, is_listed);
                self.put_fields(value);
                self.close(open);
            }
            Leaf::Text(text) => self.add(name, is_listed, Leaf::Text(normalized(name, text))),
            leaf => self.add(name, is_listed, leaf),
        }
    }

    /// Returns the complete request.
    pub fn root(&self) -> View<'_, 'a> {
        View { leaf: &MESSAGE, below: &self.0 }
    }
}

/// Normalizes a JSON string to the text of the same value in Protobuf: IDs are hexadecimal digits in either case, and bytes are Base64 in either
/// alphabet, padded or not.
fn normalized<'a>(name: &str, text: Cow<'a, str>) -> Cow<'a, str> {
    let changed = match name {
        "traceId" | "spanId" | "parentSpanId" => {
            let is_id = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            (is_id && text.bytes().any(|byte| byte.is_ascii_uppercase())).then(|| text.to_ascii_lowercase())
        }
        "bytesValue" => decode_base64(&text).map(|bytes| encode_base64(&bytes)),
        _ => None,
    };
    changed.map_or(text, Cow::Owned)
}

impl<'a> Leaf<'a> {
    /// Converts a JSON value. A list within a list has no meaning.
    pub fn from_json(value: &'a Value) -> Leaf<'a> {
        match value {
            Value::Null | Value::Array(_) => Leaf::Null,
            Value::Bool(flag) => Leaf::Flag(*flag),
            Value::String(text) => Leaf::Text(Cow::Borrowed(text)),
            Value::Object(_) => Leaf::Message,
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Leaf::Int(number),
                (_, Some(number)) => Leaf::Unsigned(number),
                _ => number.as_f64().map_or(Leaf::Null, Leaf::Double),
            },
        }
    }
}

static NULL: Leaf<'static> = Leaf::Null;
static MESSAGE: Leaf<'static> = Leaf::Message;

/// A value and the fields below it.
#[derive(Clone, Copy)]
pub struct View<'t, 'a> {
    /// The value.
    pub leaf: &'t Leaf<'a>,
    below: &'t [Node<'a>],
}

impl<'t, 'a: 't> View<'t, 'a> {
    fn none() -> View<'t, 'a> {
        View { leaf: &NULL, below: &[] }
    }

    /// Returns the fields of these names. The last of several with the same name wins.
    pub fn fields<const N: usize>(self, names: [&str; N]) -> [View<'t, 'a>; N] {
        let mut found = [View::none(); N];
        for (name, is_listed, view) in self.all() {
            if !is_listed && let Some(index) = names.iter().position(|wanted| *wanted == name) {
                found[index] = view;
            }
        }
        found
    }

    /// Returns the field of this name.
    pub fn field(self, name: &str) -> View<'t, 'a> {
        let [field] = self.fields([name]);
        field
    }

    /// Returns the elements of the list of this name.
    pub fn list(self, name: &str) -> impl Iterator<Item = View<'t, 'a>> {
        self.all().filter(move |(of, is_listed, _)| *is_listed && *of == name).map(|(_, _, view)| view)
    }

    /// Returns the name of the first field.
    pub fn first_name(self) -> Option<&'a str> {
        self.below.first().map(|node| node.name)
    }

    fn all(self) -> impl Iterator<Item = (&'a str, bool, View<'t, 'a>)> {
        let mut rest = self.below;
        std::iter::from_fn(move || {
            let (node, rest_after) = rest.split_first()?;
            let (below, rest_after) = rest_after.split_at_checked(node.below).unwrap_or((rest_after, &[]));
            rest = rest_after;
            Some((node.name, node.is_listed, View { leaf: &node.leaf, below }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_and_bytes_of_json_are_as_from_protobuf() {
        for (name, given, expected) in [
            ("traceId", "5B8EFFF798038103D269B633813FC60C", "5b8efff798038103d269b633813fc60c"),
            ("spanId", "eee19b7ec3c1b174", "eee19b7ec3c1b174"),
            ("parentSpanId", "EEE19B7ec3c1b174", "eee19b7ec3c1b174"),
            ("traceId", "No id", "No id"),
            ("bytesValue", "_-8", "/+8="),
            ("bytesValue", "?", "?"),
            ("stringValue", "ABC", "ABC"),
        ] {
            let value = json!({ name: given });
            assert_eq!(
                Tree::from_json(&value).root().field(name).leaf,
                &Leaf::Text(Cow::Borrowed(expected)),
                "{name} {given}"
            );
        }
    }
}
