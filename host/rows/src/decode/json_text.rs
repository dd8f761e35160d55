//! Builds lists and maps as JSON text, value by value.

use hashbrown::HashMap;
use std::borrow::Cow;
use std::ops::Range;

/// Builds a list.
#[derive(Default)]
pub struct JsonList {
    text: String,
}

impl JsonList {
    /// Adds an element, which `write` appends.
    pub fn push(&mut self, write: impl FnOnce(&mut String) -> Result<(), String>) -> Result<(), String> {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        write(&mut self.text)
    }

    /// Returns the text of the list.
    pub fn finish(mut self) -> String {
        if self.text.is_empty() {
            self.text.push('[');
        }
        self.text.push(']');
        self.text
    }
}

/// Builds a map. The last value of a key wins.
#[derive(Default)]
pub struct JsonMap<'a> {
    text: String,
    /// The range of each key's entry.
    entries: Vec<Range<usize>>,
    indexes: HashMap<Cow<'a, str>, usize>,
}

impl<'a> JsonMap<'a> {
    /// Adds an entry, whose value `write` appends.
    pub fn push(
        &mut self,
        key: Cow<'a, str>,
        write: impl FnOnce(&mut String) -> Result<(), String>,
    ) -> Result<(), String> {
        let start = self.text.len();
        quoted(&key, &mut self.text);
        self.text.push(':');
        write(&mut self.text)?;
        let (written, next) = (start..self.text.len(), self.entries.len());
        let index = *self.indexes.entry(key).or_insert(next);
        match self.entries.get_mut(index) {
            Some(before) => *before = written,
            None => self.entries.push(written),
        }
        Ok(())
    }

    /// Returns the text of the map.
    pub fn finish(self) -> String {
        let mut out = String::with_capacity(self.text.len() + self.entries.len() + 2);
        out.push('{');
        for (count, entry) in self.entries.into_iter().enumerate() {
            if count > 0 {
                out.push(',');
            }
            out.push_str(self.text.get(entry).unwrap_or_default());
        }
        out.push('}');
        out
    }
}

/// Appends text as a JSON string.
pub fn quoted(text: &str, out: &mut String) {
    // Writing text into a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
