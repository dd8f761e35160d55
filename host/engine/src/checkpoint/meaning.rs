//! What kept state means: how its rows came about, from the columns of sources on. A job that changed may go on with the state of before
//! where this is the same, whatever else was changed.
//!
//! A [`Meaning`] is a tree of parts, as conditions and columns of stages, in a normal form: names of stages, and how an expression is
//! spelled, are no part of it. Checkpoints hold its digest ([`MeaningDigests`]). What has changed, in words, comes of the trees of both jobs:
//! that of the last start is made of its record.

use millstream_base::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The version of the normal forms. Digests of another one say nothing.
const FORM: &str = "1";

/// How many of the hexadecimal digits of a digest are kept.
const DIGITS: usize = 32;

/// The key of a column of a source; what it says begins with its name.
pub const COLUMN: &str = "`schema`";

/// How much of a text is shown.
const SHOWN_CHARS_MAX: usize = 200;

/// What rows, a column or a state are made of. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meaning(Arc<Part>);

#[derive(Debug)]
struct Part {
    label: Label,
    /// What it is made of.
    of: Vec<Meaning>,
    /// The order of `of` does not matter.
    is_set: bool,
    digest: String,
}

/// What a part is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Which key of the job says so, as `filter`; or in words.
    pub key: String,
    /// What it says, in normal form.
    pub normal: String,
    /// What it says, as it was written.
    pub shown: String,
    /// Whose key it is, as "stage `hot`".
    pub place: String,
}

/// What differs between two meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose key: of now, or of before where it is gone.
    pub place: String,
    /// The key.
    pub key: String,
    /// What it said; `None`: it was not there.
    pub was: Option<String>,
    /// What it says; `None`: it is gone.
    pub is: Option<String>,
}

impl Meaning {
    /// A part that is made of these, in order.
    pub fn new(label: Label, of: Vec<Meaning>) -> Meaning {
        Meaning::made(label, of, false)
    }

    /// A part that is made of these, in whatever order and each once.
    pub fn set(label: Label, of: impl IntoIterator<Item = Meaning>) -> Meaning {
        let by_digest: BTreeMap<String, Meaning> = of.into_iter().map(|part| (part.0.digest.clone(), part)).collect();
        Meaning::made(label, by_digest.into_values().collect(), true)
    }

    fn made(label: Label, of: Vec<Meaning>, is_set: bool) -> Meaning {
        let mut text = format!("{FORM}:{}\0{}\0{}", label.key, label.normal.len(), label.normal);
        for part in &of {
            text.push('\0');
            text.push_str(&part.0.digest);
        }
        let digest = Digest::of(text.as_bytes()).hex().chars().take(DIGITS).collect();
        Meaning(Arc::new(Part { label, of, is_set, digest }))
    }

    /// What checkpoints hold of it.
    pub fn digest(&self) -> String {
        format!("{FORM}:{}", self.0.digest)
    }

    fn is_same(&self, other: &Meaning) -> bool {
        self.0.digest == other.0.digest
    }

    /// The first difference to what is now, from the state on; `None`: there is none.
    pub fn difference(&self, now: &Meaning) -> Option<Difference> {
        if self.is_same(now) {
            return None;
        }
        let (was, is) = (&*self.0, &*now.0);
        let differs = |was: Option<&Label>, is: Option<&Label>| {
            let label = is.or(was).cloned().unwrap_or_default();
            let shown = |label: &Label| label.shown.chars().take(SHOWN_CHARS_MAX).collect();
            Difference { place: label.place, key: label.key, was: was.map(shown), is: is.map(shown) }
        };
        if was.label.key != is.label.key {
            return Some(differs(Some(&was.label), Some(&is.label)));
        }
        if was.label.normal != is.label.normal || (was.of.len() != is.of.len() && !is.is_set) {
            return Some(differs(Some(&was.label), Some(&is.label)));
        }
        if !is.is_set {
            return was.of.iter().zip(&is.of).find_map(|(was, is)| was.difference(is));
        }
        let without = |of: &[Meaning], others: &[Meaning]| {
            let known: BTreeSet<&str> = others.iter().map(|part| part.0.digest.as_str()).collect();
            of.iter().filter(|part| !known.contains(part.0.digest.as_str())).cloned().collect::<Vec<_>>()
        };
        let (gone, new) = (without(&was.of, &is.of), without(&is.of, &was.of));
        // Conditions of the same kind are taken for one that was changed.
        let pair = gone.iter().find_map(|gone| {
            let same = |new: &&Meaning| new.0.label.key == gone.0.label.key;
            Some((gone, new.iter().find(same)?))
        });
        match pair {
            Some((gone, new)) => gone.difference(new),
            None => Some(differs(gone.first().map(|part| &part.0.label), new.first().map(|part| &part.0.label))),
        }
    }
}

impl Difference {
    /// What has changed, in words.
    pub fn words(&self) -> String {
        let Difference { place, key, was, is } = self;
        let of = if place.is_empty() { String::new() } else { format!(" of {place}") };
        let column = |text: &Option<String>| text.as_deref()?.split(" = ").next().map(str::to_owned);
        if key == COLUMN && column(was) != column(is) {
            let named =
                |text| column(text).map_or_else(|| "another column".to_owned(), |name| format!("column `{name}`"));
            return format!("it was made of {}{of} and is made of {} now", named(was), named(is));
        }
        // Names that stages of a query have among themselves.
        let is_inner = |text: &Option<String>| {
            let numbered =
                |text: &str, name: &str| text.split(name).skip(1).any(|rest| rest.starts_with(char::is_numeric));
            text.as_ref().is_some_and(|text| ["_total_", "_value_", "_key_"].iter().any(|name| numbered(text, name)))
        };
        if is_inner(was) || is_inner(is) {
            return format!("{key}{of} has changed");
        }
        match (was.as_deref(), is.as_deref()) {
            (Some(was), Some(is)) if was == is => format!("{key}{of} has changed"),
            (Some(was), Some(is)) => format!("{key}{of} was {} and is {} now", quoted(was), quoted(is)),
            (Some(was), None) => format!("{key}{of} was {} and was removed", quoted(was)),
            (None, Some(is)) => format!("{key}{of} is new: {}", quoted(is)),
            (None, None) => format!("{key}{of} has changed"),
        }
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() { "not set".into() } else { format!("`{text}`") }
}

/// What the tables of a job mean, by table.
pub type Meanings = BTreeMap<String, TableMeaning>;

/// What a table means, and what is made of the changes that its stage or source puts out.
#[derive(Clone, Debug)]
pub struct TableMeaning {
    /// How its rows came about; `None`: they need no explanation, as positions of a source.
    pub state: Option<Meaning>,
    /// By the sink that keeps them, what its rows are. Of changes of a source: which rows, and by `<sink>.<column>` each column.
    pub sinks: BTreeMap<String, Meaning>,
}

impl TableMeaning {
    /// What checkpoints hold of it.
    pub fn digests(&self) -> MeaningDigests {
        MeaningDigests {
            state: self.state.as_ref().map(Meaning::digest).unwrap_or_default(),
            sinks: self.sinks.iter().map(|(sink, meaning)| (sink.clone(), meaning.digest())).collect(),
        }
    }
}

/// Who follows the changes that stages put out. What they hold came of all changes from the first one on, so they go on together with
/// those that make the changes, or begin together with them.
#[derive(Clone, Debug, Default)]
pub struct Followers {
    /// By the stage that follows: whose changes.
    pub stages: BTreeMap<String, BTreeSet<String>>,
    /// The sinks that keep what they are given.
    pub sinks: BTreeMap<String, SinkFollows>,
    /// All stages that put out changes.
    pub makers: BTreeSet<String>,
}

/// Whose changes a sink keeps.
#[derive(Clone, Debug, Default)]
pub struct SinkFollows {
    /// The stages that make them.
    pub makers: BTreeSet<String>,
    /// It does what they say, and so needs all of them.
    pub is_table: bool,
}

impl Followers {
    /// A stage with all that follow its changes or whose changes it follows, and so on.
    pub fn together_with(&self, stage: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut rest = vec![stage];
        while let Some(stage) = rest.pop() {
            if all.insert(stage.to_owned()) {
                rest.extend(self.stages.get(stage).into_iter().flatten().map(String::as_str));
                let follows = self.stages.iter().filter(|(_, makers)| makers.contains(stage));
                rest.extend(follows.map(|(follower, _)| follower.as_str()));
            }
        }
        all
    }
}

/// What checkpoints hold of the meaning of a table: digests in normal form. Empty in checkpoints of earlier versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MeaningDigests {
    /// Of its rows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Of the rows of the sinks that keep what its stage puts out as changes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, String>,
}

impl MeaningDigests {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.state.is_empty() && self.sinks.is_empty()
    }
}

/// Whether a stored digest says something about meanings of this version.
pub fn is_comparable(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(form, _)| form == FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(key: &str, text: &str) -> Label {
        Label { key: key.into(), normal: text.into(), shown: text.into(), place: "stage `s`".into() }
    }

    fn part(key: &str, text: &str, of: &[Meaning]) -> Meaning {
        Meaning::new(label(key, text), of.to_vec())
    }

    #[test]
    fn what_has_changed_is_found() {
        let rows = |conditions: &[&str]| {
            let base = part("source", "a", &[]);
            let conditions = conditions.iter().map(|text| part("`filter`", text, &[]));
            part("`top`", "n = 1", &[Meaning::set(label("rows", ""), conditions.chain([base]))])
        };
        let (was, same) = (rows(&["x > 5", "y"]), rows(&["y", "x > 5", "y"]));
        assert_eq!(was.difference(&same), None);
        assert_eq!(was.digest(), same.digest());
        let words = |is: &Meaning| was.difference(is).map(|difference| difference.words()).unwrap_or_default();
        assert_eq!(words(&rows(&["x > 0", "y"])), "`filter` of stage `s` was `x > 5` and is `x > 0` now");
        assert_eq!(words(&rows(&["y"])), "`filter` of stage `s` was `x > 5` and was removed");
        assert_eq!(words(&rows(&["y", "x > 5", "z"])), "`filter` of stage `s` is new: `z`");
        assert_eq!(words(&part("`top`", "n = 2", &[])), "`top` of stage `s` was `n = 1` and is `n = 2` now");
    }

    #[test]
    fn digests_tell_where_one_text_ends() {
        assert_ne!(part("a", "bc", &[]).digest(), part("ab", "c", &[]).digest());
        assert_ne!(part("a", "b", &[part("c", "", &[])]).digest(), part("a", "b", &[]).digest());
        assert!(is_comparable(&part("a", "", &[]).digest()));
        assert!(!is_comparable("0:00") && !is_comparable(""));
    }
}
