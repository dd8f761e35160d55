//! Lists and maps as the text of JSON, value by value.

use hashbrown::HashMap;
use std::borrow::Cow;
use std::ops::Range;

/// The elements of a list as they come.
#[derive(Default)]
pub struct JsonList {
    text: String,
}

impl JsonList {
    /// Adds one, which `write` appends.
    pub fn push(&mut self, write: impl FnOnce(&mut String) -> Result<(), String>) -> Result<(), String> {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        write(&mut self.text)
    }

    /// The text of the list.
    pub fn finish(mut self) -> String {
        if self.text.is_empty() {
            self.text.push('[');
        }
        self.text.push(']');
        self.text
    }
}

/// The entries of a map as they come. The last value of a key wins.
#[derive(Default)]
pub struct JsonMap<'a> {
    text: String,
    /// Where the entry of each key is written.
    entries: Vec<Range<usize>>,
    places: HashMap<Cow<'a, str>, usize>,
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
        let place = *self.places.entry(key).or_insert(next);
        match self.entries.get_mut(place) {
            Some(before) => *before = written,
            None => self.entries.push(written),
        }
        Ok(())
    }

    /// The text of the map.
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

/// Text as JSON has it.
pub fn quoted(text: &str, out: &mut String) {
    // Writing text into a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
