//! What a request holds, without a value of its own for each of its values: one list, in which what a message holds stands behind it.
//! A request may be hundreds of thousands of values, which are looked at once.

use millstream_base::batch::binary_text::{decode_base64, encode_base64};
use serde_json::Value;
use std::borrow::Cow;

/// A request.
#[derive(Default)]
pub struct Tree<'a>(Vec<Node<'a>>);

struct Node<'a> {
    name: &'a str,
    leaf: Leaf<'a>,
    /// One of a list of this name.
    listed: bool,
    /// How many nodes are below it: they stand behind it.
    below: usize,
}

/// A value.
#[derive(Debug, PartialEq)]
pub enum Leaf<'a> {
    /// None, or one that has no meaning.
    Null,
    Flag(bool),
    Int(i64),
    Unsigned(u64),
    Double(f64),
    Text(Cow<'a, str>),
    /// Bytes, which are digits or Base64 in JSON.
    Id(&'a [u8]),
    Bytes(&'a [u8]),
    /// What has names below it.
    Message,
}

/// A message that is not whole yet.
pub struct OpenMessage(usize);

impl<'a> Tree<'a> {
    /// Adds a value.
    pub fn add(&mut self, name: &'a str, listed: bool, leaf: Leaf<'a>) {
        self.0.push(Node { name, leaf, listed, below: 0 });
    }

    /// Adds a message; what is added until it is closed is below it.
    pub fn open(&mut self, name: &'a str, listed: bool) -> OpenMessage {
        self.add(name, listed, Leaf::Message);
        OpenMessage(self.0.len())
    }

    /// Ends a message.
    pub fn close(&mut self, OpenMessage(begin): OpenMessage) {
        let below = self.0.len().saturating_sub(begin);
        if let Some(node) = begin.checked_sub(1).and_then(|at| self.0.get_mut(at)) {
            node.below = below;
        }
    }

    /// A request in JSON.
    pub fn of(value: &'a Value) -> Tree<'a> {
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

    fn put(&mut self, name: &'a str, listed: bool, value: &'a Value) {
        match Leaf::of(value) {
            Leaf::Message => {
                let open = self.open(name, listed);
                self.put_fields(value);
                self.close(open);
            }
            Leaf::Text(text) => self.add(name, listed, Leaf::Text(as_from_protobuf(name, text))),
            leaf => self.add(name, listed, leaf),
        }
    }

    /// All of it.
    pub fn root(&self) -> View<'_, 'a> {
        View { leaf: &MESSAGE, below: &self.0 }
    }
}

/// A text of a request in JSON as the same value comes from Protobuf: ids are hexadecimal digits in either case there, and bytes Base64
/// of either alphabet, padded or not.
fn as_from_protobuf<'a>(name: &str, text: Cow<'a, str>) -> Cow<'a, str> {
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
    /// A value in JSON. A list in a list has no meaning.
    pub fn of(value: &'a Value) -> Leaf<'a> {
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

/// A value and what is below it.
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

    /// What this holds in these names, each once: of several the last one counts.
    pub fn fields<const N: usize>(self, names: [&str; N]) -> [View<'t, 'a>; N] {
        let mut found = [View::none(); N];
        for (name, listed, view) in self.all() {
            if !listed && let Some(place) = names.iter().position(|known| *known == name) {
                found[place] = view;
            }
        }
        found
    }

    /// What this holds in this name.
    pub fn field(self, name: &str) -> View<'t, 'a> {
        let [field] = self.fields([name]);
        field
    }

    /// The list that this holds in this name.
    pub fn list(self, name: &str) -> impl Iterator<Item = View<'t, 'a>> {
        self.all().filter(move |(of, listed, _)| *listed && *of == name).map(|(_, _, view)| view)
    }

    /// The name of the first of what this holds.
    pub fn first_name(self) -> Option<&'a str> {
        self.below.first().map(|node| node.name)
    }

    fn all(self) -> impl Iterator<Item = (&'a str, bool, View<'t, 'a>)> {
        let mut rest = self.below;
        std::iter::from_fn(move || {
            let (node, behind) = rest.split_first()?;
            let (below, behind) = behind.split_at_checked(node.below).unwrap_or((behind, &[]));
            rest = behind;
            Some((node.name, node.listed, View { leaf: &node.leaf, below }))
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
                Tree::of(&value).root().field(name).leaf,
                &Leaf::Text(Cow::Borrowed(expected)),
                "{name} {given}"
            );
        }
    }
}
