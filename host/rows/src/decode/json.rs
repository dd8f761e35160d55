//! JSON records: one object per record, its keys found by path.

pub(super) mod scan;

use super::columns::ColumnBuilders;
use super::written_value::WrittenValue;
use crate::batch::column::ColumnSpec;
use scan::Scanner;

/// Maximum keys per object whose order is remembered.
const GUESSES_MAX: usize = 64;

/// Decodes JSON records into columns.
pub struct JsonDecoder {
    /// The paths of all columns as a tree; node 0 is the record.
    nodes: Vec<Node>,
    columns: usize,
    /// Whether a record may also be an array in schema order or, with one column, a bare value (queue sources).
    rows: bool,
    scratch: String,
}

/// A key, or an index of an array, on some column's path.
#[derive(Default)]
struct Node {
    name: String,
    /// The name as an index of an array.
    index: Option<usize>,
    /// Some child may be an element of an array.
    of_array: bool,
    /// The columns that take the value here.
    columns: Vec<usize>,
    children: Vec<usize>,
    /// All columns below.
    below: Vec<usize>,
    /// The keys of the previous object at this node, in order. Most records have the same keys, and comparing bytes is faster than parsing a key and
    /// looking it up.
    guesses: Vec<ExpectedKey>,
}

/// A key as written, from its quote to its colon, and its target.
struct ExpectedKey {
    written: Vec<u8>,
    /// Its first bytes, and the mask of these: most keys take a single comparison.
    head: u128,
    mask: u128,
    child: KeyTarget,
}

impl ExpectedKey {
    fn new(written: &[u8], child: KeyTarget) -> ExpectedKey {
        let mut key = ExpectedKey { written: Vec::new(), head: 0, mask: 0, child };
        key.becomes(written, child);
        key
    }

    /// Replaces the expected key, reusing its memory.
    fn becomes(&mut self, written: &[u8], child: KeyTarget) {
        self.written.clear();
        self.written.extend_from_slice(written);
        self.child = child;
        let mut head = [0; size_of::<u128>()];
        let mut mask = head;
        for ((head, mask), byte) in head.iter_mut().zip(&mut mask).zip(written) {
            (*head, *mask) = (*byte, u8::MAX);
        }
        (self.head, self.mask) = (u128::from_le_bytes(head), u128::from_le_bytes(mask));
    }

    /// Returns whether `rest` begins with this key.
    #[inline]
    fn begins(&self, rest: &[u8]) -> bool {
        match rest.first_chunk() {
            Some(head) if u128::from_le_bytes(*head) & self.mask != self.head => false,
            Some(_) if self.written.len() <= size_of::<u128>() => true,
            _ => rest.starts_with(&self.written),
        }
    }
}

/// The target of a key.
#[derive(Clone, Copy)]
enum KeyTarget {
    /// No column.
    None,
    /// Exactly one column, and nothing below.
    Column(usize),
    /// A node.
    Node(usize),
}

impl JsonDecoder {
    /// Creates a decoder for these columns. `rows`: also accepts arrays and bare values.
    pub fn new(columns: &[ColumnSpec], rows: bool) -> JsonDecoder {
        let mut nodes = vec![Node::default()];
        for (column, spec) in columns.iter().enumerate() {
            let own = [spec.name.clone()];
            let path: &[String] = if spec.path.is_empty() { &own } else { &spec.path };
            let mut node_index = 0;
            for name in path {
                nodes[node_index].below.push(column);
                let known = nodes[node_index].children.iter().find(|child| nodes[**child].name == *name).copied();
                node_index = known.unwrap_or_else(|| {
                    let index = index_of(name);
                    nodes[node_index].of_array |= index.is_some();
                    nodes.push(Node { name: name.clone(), index, ..Node::default() });
                    let child = nodes.len() - 1;
                    nodes[node_index].children.push(child);
                    child
                });
            }
            nodes[node_index].columns.push(column);
        }
        JsonDecoder { nodes, columns: columns.len(), rows, scratch: String::new() }
    }

    /// Decodes one record into the current row. `false`: a blank record, which is not a row.
    pub fn decode(&mut self, record: &str, columns: &mut ColumnBuilders) -> Result<bool, String> {
        let record = record.strip_prefix('\u{FEFF}').unwrap_or(record);
        let mut scanner = Scanner::new(record);
        match scanner.peek() {
            None => return Ok(false),
            Some(b'{') => self.object(&mut scanner, 0, columns)?,
            Some(b'[') if self.rows => self.array(&mut scanner, columns)?,
            _ if self.rows && self.columns == 1 => columns.set(0, scanner.value(&mut self.scratch)?)?,
            _ => {
                scanner.skip(0)?;
                scanner.end()?;
                return Err(if self.rows {
                    format!("a bare value needs a schema of one column, this one has {}", self.columns)
                } else {
                    "not a JSON object".into()
                });
            }
        }
        scanner.end()?;
        Ok(true)
    }

    /// Reads an object whose keys are the children of `node`.
    fn object(&mut self, scanner: &mut Scanner<'_>, node: usize, columns: &mut ColumnBuilders) -> Result<(), String> {
        scanner.advance(1);
        if scanner.eat(b'}') {
            return Ok(());
        }
        for index in 0.. {
            scanner.peek();
            match self.child(scanner, node, index)? {
                KeyTarget::Column(column) => self.value(scanner, column, columns)?,
                KeyTarget::Node(child) => self.parent(scanner, child, columns)?,
                KeyTarget::None => scanner.skip(1)?,
            }
            if !scanner.eat(b',') {
                break;
            }
        }
        scanner.close(b'}')
    }

    /// Reads a key with its colon; returns its target.
    #[inline]
    fn child(&mut self, scanner: &mut Scanner<'_>, node: usize, index: usize) -> Result<KeyTarget, String> {
        if let Some(guess) = self.nodes[node].guesses.get(index)
            && guess.begins(scanner.rest())
        {
            scanner.advance(guess.written.len());
            return Ok(guess.child);
        }
        self.look_up(scanner, node, index)
    }

    fn look_up(&mut self, scanner: &mut Scanner<'_>, node: usize, index: usize) -> Result<KeyTarget, String> {
        let start = scanner.offset();
        let key = scanner.key()?.unescaped(&mut self.scratch)?;
        let found = self.nodes[node].children.iter().find(|child| self.nodes[**child].name == key);
        let child = match found.map(|child| (*child, &self.nodes[*child])) {
            Some((_, Node { columns, children, .. })) if children.is_empty() && columns.len() == 1 => {
                KeyTarget::Column(columns[0])
            }
            Some((child, _)) => KeyTarget::Node(child),
            None => KeyTarget::None,
        };
        let written = scanner.since(start).as_bytes();
        let guesses = &mut self.nodes[node].guesses;
        match guesses.get_mut(index) {
            Some(guess) => guess.becomes(written, child),
            None if index < GUESSES_MAX => guesses.push(ExpectedKey::new(written, child)),
            None => {}
        }
        Ok(child)
    }

    /// Reads the value of one column.
    #[inline]
    fn value(&mut self, scanner: &mut Scanner<'_>, column: usize, columns: &mut ColumnBuilders) -> Result<(), String> {
        scanner.peek();
        if columns.is_int64(column)
            && let Some(value) = scanner.short_int64()
        {
            columns.set_int64(column, value);
            return Ok(());
        }
        if let Some(text) = scanner.plain_text() {
            return columns.set_text(column, text);
        }
        columns.set(column, scanner.value(&mut self.scratch)?)
    }

    /// Reads the value at a node that has several columns, or columns below.
    fn parent(&mut self, scanner: &mut Scanner<'_>, node: usize, columns: &mut ColumnBuilders) -> Result<(), String> {
        // If a key is repeated, the last value replaces all of the first.
        self.nodes[node].below.iter().for_each(|column| columns.unset(*column));
        let open = scanner.peek().filter(|_| !self.nodes[node].children.is_empty());
        let start = scanner.offset();
        let nested = match open {
            Some(b'{') => {
                self.object(scanner, node, columns)?;
                true
            }
            Some(b'[') if self.nodes[node].of_array => {
                self.elements(scanner, node, columns)?;
                true
            }
            _ => false,
        };
        let value =
            if nested { WrittenValue::Nested(scanner.since(start)) } else { scanner.value(&mut self.scratch)? };
        let Node { name, columns: own, .. } = &self.nodes[node];
        if own.is_empty() && !nested && value != WrittenValue::Null {
            let what = if self.nodes[node].of_array { "object or array" } else { "object" };
            return Err(format!("`{name}` is not a JSON {what}"));
        }
        own.iter().try_for_each(|column| columns.set(*column, value))
    }

    /// Reads an array whose elements are the children of `node`, by index.
    fn elements(&mut self, scanner: &mut Scanner<'_>, node: usize, columns: &mut ColumnBuilders) -> Result<(), String> {
        scanner.advance(1);
        if scanner.eat(b']') {
            return Ok(());
        }
        for index in 0_usize.. {
            let at = |child: &&usize| self.nodes[**child].index == Some(index);
            match self.nodes[node].children.iter().find(at).copied() {
                Some(child) => self.parent(scanner, child, columns)?,
                None => scanner.skip(1)?,
            }
            if !scanner.eat(b',') {
                break;
            }
        }
        scanner.close(b']')
    }

    /// Reads an array of values in the order of the schema.
    fn array(&mut self, scanner: &mut Scanner<'_>, columns: &mut ColumnBuilders) -> Result<(), String> {
        scanner.advance(1);
        let mut values = 0;
        if !scanner.eat(b']') {
            loop {
                let value = scanner.value(&mut self.scratch)?;
                columns.set(values, value)?;
                values += 1;
                if !scanner.eat(b',') {
                    break;
                }
            }
            scanner.close(b']')?;
        }
        if values != self.columns {
            return Err(format!("{values} values in the array, the schema has {}", self.columns));
        }
        Ok(())
    }
}

/// Returns a numeric name as an index of an array: `0`, `17`.
pub fn index_of(name: &str) -> Option<usize> {
    let plain = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|_| plain)
}

/// Returns the elements of a JSON array as text; the error says what is wrong with it.
pub fn array_elements(text: &str) -> Result<Vec<&str>, String> {
    let mut elements = Vec::new();
    each_element(text, |element| elements.push(element))?;
    Ok(elements)
}

/// Calls `take` for each element: all elements with the results may not fit into memory. An error comes after the elements before it.
pub fn each_element<'a>(text: &'a str, mut take: impl FnMut(&'a str)) -> Result<(), String> {
    let mut scanner = Scanner::new(text);
    if !scanner.eat(b'[') {
        return Err("not a JSON array".into());
    }
    if !scanner.eat(b']') {
        loop {
            scanner.peek();
            let start = scanner.offset();
            scanner.skip(1)?;
            take(scanner.since(start));
            if !scanner.eat(b',') {
                break;
            }
        }
        scanner.close(b']')?;
    }
    scanner.end()
}

/// Returns the text or number at a path of a JSON value, a number as written; `None` if there is none. If a name is repeated, the last one wins.
pub fn text_at(text: &str, path: &[String]) -> Option<String> {
    let mut scratch = String::new();
    match Scanner::new(found(text, path).ok()??).value(&mut scratch).ok()? {
        WrittenValue::Text(text) | WrittenValue::Number(text) => Some(text.to_owned()),
        _ => None,
    }
}

/// Returns the JSON text at a path of a JSON value; `None` if the path does not exist. If a name is repeated, the last one wins. The error says why
/// the text is not JSON.
pub fn value_at<'a>(text: &'a str, path: &[String]) -> Result<Option<&'a str>, String> {
    let mut scanner = Scanner::new(text);
    scanner.skip(0)?;
    scanner.end()?;
    found(text, path)
}

// An error after the value may go unnoticed.
fn found<'a>(text: &'a str, path: &[String]) -> Result<Option<&'a str>, String> {
    let Some((name, below)) = path.split_first() else { return Ok(Some(text.trim())) };
    let mut scanner = Scanner::new(text);
    if scanner.peek() == Some(b'[') {
        let index = index_of(name).and_then(|index| Some(*array_elements(text).ok()?.get(index)?));
        return index.map_or(Ok(None), |element| found(element, below));
    }
    if !scanner.eat(b'{') || scanner.eat(b'}') {
        return Ok(None);
    }
    let (mut value, mut scratch) = (None, String::new());
    loop {
        let is_it = scanner.key()?.unescaped(&mut scratch)? == name;
        scanner.peek();
        let start = scanner.offset();
        scanner.skip(1)?;
        if is_it {
            value = Some(scanner.since(start));
        }
        if !scanner.eat(b',') {
            return value.map_or(Ok(None), |value| found(value, below));
        }
    }
}

/// Returns whether a string is exactly one JSON value.
pub fn is_one_value(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.peek().is_some() && scanner.skip(0).is_ok() && scanner.end().is_ok()
}

#[cfg(test)]
mod tests;
