//! Infers the columns of records: the narrowest type that takes every value of a column, as the decoders read it.

mod patterns;

use super::json::scan::Scanner;
use super::written_value::WrittenValue;
use crate::batch::column::{ColumnSpec, TimeForm, TimeUnit};
use crate::batch::parse::{float64, int64, shown};
use crate::batch::types::ColumnType;
use arrow::datatypes::DataType;
use patterns::{TimePattern, looks_like_amount};
use std::collections::HashSet;

/// Maximum columns; further keys of a record are ignored.
pub const COLUMNS_MAX: usize = 1_000;
/// Maximum depth of objects that are split into columns.
const DEPTH_MAX: usize = 8;
/// Integers up to here are exact as floats.
const EXACT_MAX: i64 = 1 << 53;
/// Suffixes of names of columns that hold times.
const TIME_NAMES: [&str; 9] = ["ts", "time", "timestamp", "at", "date", "epoch", "when", "millis", "datetime"];
/// Numbers are interpreted as times only from 2001 to 2100, in seconds since 1970.
const TIME_SECONDS: std::ops::Range<f64> = 978_307_200.0..4_102_444_800.0;

/// The columns seen so far.
pub struct Guess {
    top: Node,
    /// Whether objects in JSON records become columns of their own.
    opens: bool,
    /// Number of records seen.
    records: u64,
    columns: usize,
    /// Some key is empty, which no schema allows.
    nameless: bool,
    scratch: String,
    times: Vec<TimePattern>,
}

/// A column and its uncertainties.
#[derive(Debug)]
pub struct GuessedColumn {
    /// The column.
    pub spec: ColumnSpec,
    /// Notes for the reader.
    pub notes: Vec<String>,
}

/// A key of the records.
#[derive(Default)]
struct Node {
    name: String,
    seen: InferredValues,
    /// How often it held an object that was split into columns.
    objects: u64,
    children: Vec<Node>,
}

/// The values of one column.
#[derive(Default)]
struct InferredValues {
    bool: Class,
    int64: Class,
    float64: Class,
    /// `NaN` and similar, in text.
    no_number: Class,
    /// Numbers that neither int64 nor float64 holds exactly.
    large: Class,
    text: Class,
    nested: Class,
    /// Which patterns of times match all strings; empty before the first text.
    times: Vec<bool>,
    /// Some text is not a date such as 2026-11-20.
    not_days: bool,
    /// Strings that look like amounts of money, or numbers with separators.
    amounts: u64,
    /// Some time has no offset.
    local: bool,
    /// The smallest and largest number.
    range: Option<(f64, f64)>,
}

/// Values of one class.
#[derive(Default)]
struct Class {
    count: u64,
    /// The record of the first one, from 1, and its beginning.
    first: Option<(u64, String)>,
}

impl Guess {
    /// Creates an empty guess. `opens`: objects in JSON records become columns of their own.
    pub fn new(opens: bool) -> Guess {
        let (top, scratch, times) = (Node::default(), String::new(), patterns::all());
        Guess { top, opens, records: 0, columns: 0, nameless: false, scratch, times }
    }

    /// Returns the number of records seen.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Adds a JSON record. The error says what is wrong with it; the record is then ignored.
    pub fn json(&mut self, record: &str) -> Result<(), String> {
        let record = record.strip_prefix('\u{FEFF}').unwrap_or(record);
        let mut scanner = Scanner::new(record);
        match scanner.peek() {
            None => return Ok(()),
            Some(b'{') => {}
            _ => return Err("not a JSON object".into()),
        }
        scanner.skip(0)?;
        scanner.end()?;
        self.records += 1;
        let mut top = std::mem::take(&mut self.top);
        let read = self.object(&mut Scanner::new(record), &mut top, 1);
        self.top = top;
        read
    }

    fn object(&mut self, scanner: &mut Scanner<'_>, node: &mut Node, depth: usize) -> Result<(), String> {
        scanner.eat(b'{');
        if scanner.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = scanner.key()?.unescaped(&mut self.scratch)?.to_owned();
            let known = node.children.iter().position(|child| child.name == key);
            let child_index = match known {
                _ if key.is_empty() => {
                    self.nameless = true;
                    None
                }
                None if self.columns < COLUMNS_MAX => {
                    self.columns += 1;
                    node.children.push(Node { name: key, ..Node::default() });
                    Some(node.children.len() - 1)
                }
                known => known,
            };
            match child_index.and_then(|child_index| node.children.get_mut(child_index)) {
                Some(child) if self.opens && depth < DEPTH_MAX && scanner.peek() == Some(b'{') => {
                    child.objects += 1;
                    self.object(scanner, child, depth + 1)?;
                }
                Some(child) => {
                    let mut scratch = std::mem::take(&mut self.scratch);
                    let value = scanner.value(&mut scratch);
                    let value = value.map(|value| child.seen.add(value, self.records, &self.times));
                    self.scratch = scratch;
                    value?;
                }
                None => scanner.skip(1)?,
            }
            if !scanner.eat(b',') {
                return scanner.close(b'}');
            }
        }
    }

    /// Sets the column names of records of cells.
    pub fn names(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names.into_iter().take(COLUMNS_MAX) {
            self.top.children.push(Node { name, ..Node::default() });
        }
    }

    /// Adds the cells of a record, in the order of the names; `None` is an empty cell.
    pub fn cells(&mut self, cells: &[Option<String>]) {
        self.records += 1;
        for (node, cell) in self.top.children.iter_mut().zip(cells) {
            if let Some(cell) = cell {
                node.seen.add_cell(cell.trim_ascii(), self.records, &self.times);
            }
        }
    }

    /// Returns the columns, in the order in which they first appeared.
    pub fn columns(&self) -> Vec<GuessedColumn> {
        let mut found = Vec::new();
        leaves(&self.top, &mut Vec::new(), &mut found);
        let paths: Vec<Vec<String>> = found.iter().map(|(path, _)| path.clone()).collect();
        let names = names_of(&paths).into_iter();
        names.zip(found).map(|(name, (path, node))| node.column(name, path, self)).collect()
    }

    /// Returns notes about all records.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.columns >= COLUMNS_MAX {
            notes.push(format!(
                "there are {COLUMNS_MAX} keys or more; those after the first {COLUMNS_MAX} are not shown"
            ));
        }
        if self.nameless {
            notes.push("a key is empty, which cannot name a column; its values are ignored".into());
        }
        notes
    }
}

/// Returns unique column names for these paths; a path at the top level has its own name.
pub fn names_of(paths: &[Vec<String>]) -> Vec<String> {
    let top: HashSet<String> = paths.iter().filter(|path| path.len() == 1).map(|path| named(path)).collect();
    let mut taken = HashSet::new();
    let mut names = Vec::with_capacity(paths.len());
    for path in paths {
        let wanted = named(path);
        let mut name = wanted.clone();
        let mut number = 2;
        while taken.contains(&name) || (path.len() > 1 && top.contains(&name)) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// Returns the column name of a path, of visible characters.
fn named(path: &[String]) -> String {
    path.join("_").replace(char::is_control, "_")
}

/// Collects the keys that become columns, in order.
fn leaves<'a>(node: &'a Node, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, &'a Node)>) {
    for child in &node.children {
        path.push(child.name.clone());
        let opened = child.objects > 0 && child.seen.all() == 0 && !child.children.is_empty();
        if opened {
            leaves(child, path, found);
        } else {
            found.push((path.clone(), child));
        }
        path.pop();
    }
}

impl Node {
    fn column(&self, name: String, path: Vec<String>, guess: &Guess) -> GuessedColumn {
        let seen = &self.seen;
        let mut notes = Vec::new();
        let (kind, form) = match self.objects {
            0 => seen.kind(&name, guess, &mut notes),
            _ => {
                if seen.all() > 0 {
                    notes.push(format!(
                        "an object in {} records, and something else in {}: kept as text",
                        self.objects,
                        seen.all()
                    ));
                }
                (ColumnType::Text, TimeForm::Text)
            }
        };
        let path = if path.len() == 1 && path.first() == Some(&name) { vec![name.clone()] } else { path };
        GuessedColumn { spec: ColumnSpec::new(name, kind).at(path).written(form), notes }
    }
}

impl Class {
    fn add(&mut self, record: u64, value: &str) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some((record, shown(value).into_owned()));
        }
    }
}

impl InferredValues {
    /// Returns the number of values that are not null.
    fn all(&self) -> u64 {
        self.classes().iter().map(|(_, class)| class.count).sum()
    }

    fn classes(&self) -> [(&'static str, &Class); 7] {
        [
            ("a bool", &self.bool),
            ("an integer", &self.int64),
            ("a number with a fraction", &self.float64),
            ("no number", &self.no_number),
            ("a number that int64 cannot hold", &self.large),
            ("text", &self.text),
            ("an object or array", &self.nested),
        ]
    }

    /// Adds a value of a JSON record.
    fn add(&mut self, value: WrittenValue<'_>, record: u64, times: &[TimePattern]) {
        match value {
            WrittenValue::Null => {}
            WrittenValue::Bool(value) => self.bool.add(record, if value { "true" } else { "false" }),
            WrittenValue::Number(literal) => self.number(literal, record),
            WrittenValue::Text(text) => self.text(text, record, times),
            WrittenValue::Nested(text) => self.nested.add(record, text),
        }
    }

    /// Adds a cell, whose type follows from its text alone.
    fn add_cell(&mut self, cell: &str, record: u64, times: &[TimePattern]) {
        let digits = cell.strip_prefix('-').unwrap_or(cell);
        let leading_zero = matches!(digits.as_bytes(), [b'0', b'0'..=b'9', ..]);
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit()) && !leading_zero && float64(cell).is_ok();
        match cell {
            "" => {}
            _ if cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false") => self.bool.add(record, cell),
            "NaN" | "nan" | "inf" | "-inf" | "Infinity" | "-Infinity" => self.no_number.add(record, cell),
            _ if is_number => self.number(cell, record),
            _ => self.text(cell, record, times),
        }
    }

    fn number(&mut self, literal: &str, record: u64) {
        let is_integer = !literal.contains(['.', 'e', 'E']);
        match (int64(literal), float64(literal)) {
            (Ok(_), Ok(value)) if is_integer => {
                self.int64.add(record, literal);
                self.reach(value);
            }
            (_, Ok(value)) if !is_integer => {
                self.float64.add(record, literal);
                self.reach(value);
            }
            _ => self.large.add(record, literal),
        }
    }

    fn reach(&mut self, value: f64) {
        let (min, max) = self.range.unwrap_or((value, value));
        self.range = Some((min.min(value), max.max(value)));
    }

    fn text(&mut self, text: &str, record: u64, times: &[TimePattern]) {
        self.text.add(record, text);
        if self.times.is_empty() {
            self.times = vec![true; times.len()];
        }
        let trimmed = text.trim_ascii();
        for (alive, pattern) in self.times.iter_mut().zip(times) {
            *alive = *alive && pattern.fits(trimmed);
        }
        self.not_days |= !patterns::is_day(trimmed);
        self.amounts += u64::from(looks_like_amount(trimmed));
        if self.times.first() == Some(&true) {
            let time_of_day = trimmed.get(10..).unwrap_or_default();
            self.local |= !time_of_day.ends_with(['Z', 'z']) && !time_of_day.contains(['+', '-']);
        }
    }

    fn kind(&self, name: &str, guess: &Guess, notes: &mut Vec<String>) -> (ColumnType, TimeForm) {
        let (all, numbers) = (self.all(), self.int64.count + self.float64.count);
        let plain = |kind| (kind, TimeForm::Text);
        if all == 0 {
            notes.push("no record has a value here: text".into());
            return plain(ColumnType::Text);
        }
        if self.bool.count == all {
            return plain(ColumnType::Bool);
        }
        if let Some(unit) = self.unit(name).filter(|_| numbers == all) {
            let (word, plural) = unit.names();
            notes.push(format!(
                "its numbers look like {plural} since 1970: timestamp({word}); write int64 or float64 if they are \
                not times"
            ));
            return (ColumnType::Timestamp, TimeForm::Number(unit));
        }
        if self.int64.count == all {
            return plain(ColumnType::Int64);
        }
        let exact = self
            .range
            .is_none_or(|(min, max)| self.int64.count == 0 || (min >= -EXACT_MAX as f64 && max <= EXACT_MAX as f64));
        if numbers > 0 && numbers + self.no_number.count == all && exact {
            if self.int64.count > 0 {
                notes.push(format!("{}: float64", self.mixture()));
            }
            return plain(ColumnType::Float64);
        }
        if self.text.count == all && !self.not_days {
            return plain(ColumnType::Arrow(DataType::Date32));
        }
        if self.text.count == all
            && let Some(time) = self.time(guess, notes)
        {
            return time;
        }
        if self.text.count > 0 && self.amounts == self.text.count {
            notes.push(
                "its values look like amounts with a currency or separators, which no number type reads: text".into(),
            );
            return plain(ColumnType::Text);
        }
        if self.classes().iter().filter(|(_, class)| class.count > 0).count() > 1 || self.large.count > 0 {
            notes.push(format!("{}: kept as text", self.mixture()));
        }
        plain(ColumnType::Text)
    }

    /// Returns the pattern that matches all strings, if there is one. If several orders of day, month and year match, none is chosen.
    fn time(&self, guess: &Guess, notes: &mut Vec<String>) -> Option<(ColumnType, TimeForm)> {
        let fitting = || self.times.iter().zip(&guess.times).filter(|(alive, _)| **alive).map(|(_, pattern)| pattern);
        let first = fitting().next()?;
        if let Some(order) = first.order {
            let patterns_left: Vec<String> =
                fitting().filter(|other| other.order == Some(order)).map(TimePattern::keyword).collect();
            if patterns_left.len() > 1 {
                let first = self.text.first.as_ref().map_or("", |(_, value)| value.as_str());
                notes.push(format!(
                    "`{first}` and the other values are times, but the order of day, month and year is ambiguous: \
                    text; write {}",
                    patterns_left.join(" or ")
                ));
                return Some((ColumnType::Text, TimeForm::Text));
            }
        }
        if self.local || first.is_local() {
            notes.push(
                "its times have no offset and are read as UTC; if they are local times, add for example zone \
                = \"Europe/Berlin\""
                    .into(),
            );
        }
        Some((ColumnType::Timestamp, first.form.clone()))
    }

    /// Describes the classes of values, with the first of each.
    fn mixture(&self) -> String {
        let mut sorts: Vec<_> = self.classes().into_iter().filter(|(_, class)| class.count > 0).collect();
        sorts.sort_by_key(|(_, class)| std::cmp::Reverse(class.count));
        let descriptions = sorts.iter().map(|(sort, class)| {
            let (record, value) = class.first.clone().unwrap_or_default();
            let records = if class.count == 1 { "record" } else { "records" };
            format!("{sort} in {} {records} (the first `{value}` in record {record})", class.count)
        });
        descriptions.collect::<Vec<_>>().join(", ")
    }

    /// Returns the unit in which all numbers look like times, if the name suggests times.
    fn unit(&self, name: &str) -> Option<TimeUnit> {
        let name = name.to_ascii_lowercase();
        let last = name.rsplit(['_', '-', '.', ' ']).next().unwrap_or(&name);
        let is_time_name = TIME_NAMES.contains(&last) || name.ends_with("time") || name.ends_with("timestamp");
        let (min, max) = self.range.filter(|_| is_time_name)?;
        TimeUnit::ALL.into_iter().find(|unit| {
            let a_second = 10_f64.powi(6 - unit.power());
            TIME_SECONDS.contains(&(min / a_second)) && TIME_SECONDS.contains(&(max / a_second))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_json(lines: &[&str]) -> Vec<GuessedColumn> {
        let mut guess = Guess::new(true);
        lines.iter().for_each(|line| guess.json(line).unwrap());
        guess.columns()
    }

    fn described(columns: &[GuessedColumn]) -> String {
        let one = |column: &GuessedColumn| {
            let GuessedColumn { spec, notes } = column;
            let path =
                if spec.path == [spec.name.clone()] { String::new() } else { format!(" at {}", spec.path.join("/")) };
            let notes = if notes.is_empty() { "" } else { "?" };
            format!("{} {}{path}{notes}", spec.name, spec.type_word())
        };
        columns.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn json_columns_have_the_narrowest_type_that_takes_all_values() {
        let columns = of_json(&[
            r#"{"n":1,"x":1,"ok":true,"s":"12","at":"2024-05-01T12:00:00Z","big":18446744073709551616,"none":null,"z":12.0}"#,
            r#"{"n":-2,"x":2.5,"ok":null,"s":"x","at":"2024-05-01T12:00:00+02:00","big":1,"mix":1,"z":1e400}"#,
            r#"{"mix":"a","tags":[1]}"#,
        ]);
        assert_eq!(
            described(&columns),
            "n int64, x float64?, ok bool, s text, at timestamp, big text?, none text?, z text?, mix text?, tags text"
        );
        let note = &columns[1].notes[0];
        assert!(note.contains("`2.5` in record 2") && note.contains("`1` in record 1"), "{note}");
    }

    #[test]
    fn objects_become_columns_with_paths_unless_something_else_stands_there_too() {
        let columns = of_json(&[
            r#"{"user":{"id":7,"name":{"first":"a"}},"odd":{"a":1},"empty":{},"user_id":1,"l\ti.n e":{"0":true},"":1}"#,
            r#"{"user":null,"odd":3}"#,
        ]);
        assert_eq!(
            described(&columns),
            "user_id_2 int64 at user/id, user_name_first text at user/name/first, odd text?, empty text, user_id int64, \
             l_i.n e_0 bool at l\ti.n e/0"
        );
    }

    #[test]
    fn times_are_known_by_their_look_and_numbers_also_by_their_name() {
        let columns = of_json(&[
            r#"{"a":"2024-05-01 12:00:00","b":"10/Oct/2000:13:55:36 -0700","c":"01.07.2026 12:30","created_at":1767225600123,"n":1767225600123,"time":12,"d":"2024-05-01","e":"2024-05-01"}"#,
            r#"{"e":"2024-05-32"}"#,
        ]);
        assert_eq!(
            described(&columns),
            "a timestamp?, b timestamp(%d/%b/%Y:%H:%M:%S %z), c timestamp(%d.%m.%Y %H:%M)?, created_at timestamp(ms)?, n int64, \
             time int64, d date, e text"
        );
    }

    #[test]
    fn cells_are_what_they_look_like() {
        let mut guess = Guess::new(false);
        guess.names(["n", "zip", "x", "ok", "nan", "mix", "t"].map(str::to_owned));
        let row = |cells: [&str; 7]| cells.map(|cell| (!cell.is_empty()).then(|| cell.to_owned()));
        guess.cells(&row(["1", "01234", "1.5", "TRUE", "NaN", "1", "2024-05-01T12:00:00Z"]));
        guess.cells(&row([" 2 ", "99999", "2", "false", "2.5", "x", ""]));
        assert_eq!(
            described(&guess.columns()),
            "n int64, zip text?, x float64?, ok bool, nan float64, mix text?, t timestamp"
        );
    }

    #[test]
    fn what_is_no_record_counts_nothing() {
        let mut guess = Guess::new(true);
        for bad in ["[1]", "{\"a\":", "{\"a\":1}x", "1"] {
            assert!(guess.json(bad).is_err(), "{bad}");
        }
        assert_eq!((guess.records(), guess.columns().len()), (0, 0));
        let wide: Vec<String> = (0..2_000).map(|i| format!("\"k{i}\":{i}")).collect();
        guess.json(&format!("{{{}}}", wide.join(","))).unwrap();
        assert_eq!(guess.columns().len(), COLUMNS_MAX);
        assert_eq!(guess.notes().len(), 1);
    }
}
