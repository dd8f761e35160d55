//! The meaning of stored state: how its rows were computed, from the columns of sources on. A changed job may keep its state if this is the same,
//! whatever else was changed.
//!
//! A [`Meaning`] is a tree of parts, such as conditions and columns of stages, in a normal form. Names of stages and the spelling of expressions are
//! not part of it. Checkpoints hold its digest ([`MeaningDigests`]). Differences are described by comparing the trees of both jobs; that of the last
//! start is built from its record.

use millstream_base::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The version of the normal forms. Digests of other versions cannot be compared.
const FORM: &str = "1";

/// The number of hexadecimal digits of a digest that are kept.
const DIGITS: usize = 32;

/// The key of a column of a source; its value begins with its name.
pub const COLUMN: &str = "`schema`";

/// Maximum characters of a string that are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// What rows, a column or a state are computed from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meaning(Arc<Part>);

#[derive(Debug)]
struct Part {
    label: Label,
    /// Its parts.
    of: Vec<Meaning>,
    /// The order of `of` does not matter.
    is_set: bool,
    digest: String,
}

/// Describes a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The key of the job that defines it, for example `filter`; or a description.
    pub key: String,
    /// The value in normal form.
    pub normal: String,
    /// The value as it was written.
    pub shown: String,
    /// The owner of the key, for example "stage `hot`".
    pub owner: String,
}

/// A difference between two meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The owner of the key: in the current job, or in the previous one if it was removed.
    pub owner: String,
    /// The key.
    pub key: String,
    /// The previous value; `None`: it did not exist.
    pub was: Option<String>,
    /// The current value; `None`: it was removed.
    pub is: Option<String>,
}

impl Meaning {
    /// Creates a part from these, in order.
    pub fn new(label: Label, of: Vec<Meaning>) -> Meaning {
        Meaning::with_label(label, of, false)
    }

    /// Creates a part from these, ignoring their order and duplicates.
    pub fn set(label: Label, of: impl IntoIterator<Item = Meaning>) -> Meaning {
        let by_digest: BTreeMap<String, Meaning> = of.into_iter().map(|part| (part.0.digest.clone(), part)).collect();
        Meaning::with_label(label, by_digest.into_values().collect(), true)
    }

    fn with_label(label: Label, of: Vec<Meaning>, is_set: bool) -> Meaning {
        let mut text = format!("{FORM}:{}\0{}\0{}", label.key, label.normal.len(), label.normal);
        for part in &of {
            text.push('\0');
            text.push_str(&part.0.digest);
        }
        let digest = Digest::compute(text.as_bytes()).hex().chars().take(DIGITS).collect();
        Meaning(Arc::new(Part { label, of, is_set, digest }))
    }

    /// Returns its digest for checkpoints.
    pub fn digest(&self) -> String {
        format!("{FORM}:{}", self.0.digest)
    }

    fn is_same(&self, other: &Meaning) -> bool {
        self.0.digest == other.0.digest
    }

    /// Returns the first difference to the current meaning, starting at the state; `None` if there is none.
    pub fn difference(&self, now: &Meaning) -> Option<Difference> {
        if self.is_same(now) {
            return None;
        }
        let (was, is) = (&*self.0, &*now.0);
        let differs = |was: Option<&Label>, is: Option<&Label>| {
            let label = is.or(was).cloned().unwrap_or_default();
            let shown = |label: &Label| label.shown.chars().take(SHOWN_CHARS_MAX).collect();
            Difference { owner: label.owner, key: label.key, was: was.map(shown), is: is.map(shown) }
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
        let (lost, new) = (without(&was.of, &is.of), without(&is.of, &was.of));
        // A removed and an added condition of the same kind count as one that was changed.
        let pair = lost.iter().find_map(|lost| {
            let same = |new: &&Meaning| new.0.label.key == lost.0.label.key;
            Some((lost, new.iter().find(same)?))
        });
        match pair {
            Some((lost, new)) => lost.difference(new),
            None => Some(differs(lost.first().map(|part| &part.0.label), new.first().map(|part| &part.0.label))),
        }
    }
}

impl Difference {
    /// Describes what has changed.
    pub fn describe(&self) -> String {
        let Difference { owner, key, was, is } = self;
        let of = if owner.is_empty() { String::new() } else { format!(" of {owner}") };
        let column = |text: &Option<String>| text.as_deref()?.split(" = ").next().map(str::to_owned);
        if key == COLUMN && column(was) != column(is) {
            let named =
                |text| column(text).map_or_else(|| "another column".to_owned(), |name| format!("column `{name}`"));
            return format!("it was computed from {}{of} and is now computed from {}", named(was), named(is));
        }
        // Internal names of stages within a query.
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
            (Some(was), Some(is)) => format!("{key}{of} was {} and is now {}", quoted(was), quoted(is)),
            (Some(was), None) => format!("{key}{of} was {} and was removed", quoted(was)),
            (None, Some(is)) => format!("{key}{of} is new: {}", quoted(is)),
            (None, None) => format!("{key}{of} has changed"),
        }
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() { "not set".into() } else { format!("`{text}`") }
}

/// The meanings of the tables of a job, by table.
pub type Meanings = BTreeMap<String, TableMeaning>;

/// The meaning of a table, and what is made of the changes that its stage or source emits.
#[derive(Clone, Debug)]
pub struct TableMeaning {
    /// How its rows were computed; `None`: no explanation is needed, for example for positions of a source.
    pub state: Option<Meaning>,
    /// The meaning of the rows of each sink that keeps them, by sink. Of changes of a source: which rows, and by `<sink>.<column>` each column.
    pub sinks: BTreeMap<String, Meaning>,
}

impl TableMeaning {
    /// Returns the digests for checkpoints.
    pub fn digests(&self) -> MeaningDigests {
        MeaningDigests {
            state: self.state.as_ref().map(Meaning::digest).unwrap_or_default(),
            sinks: self.sinks.iter().map(|(sink, meaning)| (sink.clone(), meaning.digest())).collect(),
        }
    }
}

/// The stages and sinks that follow the changes that stages emit. Their contents are computed from all changes since the first one. So they must
/// continue together with the stages that make the changes, or start from scratch together.
#[derive(Clone, Debug, Default)]
pub struct Followers {
    /// The stages followed, by the stage that follows.
    pub stages: BTreeMap<String, BTreeSet<String>>,
    /// The sinks that keep the changes.
    pub sinks: BTreeMap<String, FollowedStages>,
    /// All stages that emit changes.
    pub makers: BTreeSet<String>,
}

/// Whose changes a sink keeps.
#[derive(Clone, Debug, Default)]
pub struct FollowedStages {
    /// The stages that make them.
    pub makers: BTreeSet<String>,
    /// It applies the changes to a table, and so needs all of them.
    pub is_table: bool,
}

impl Followers {
    /// Returns a stage with its followers and the stages that it follows, transitively.
    pub fn connected_stages(&self, stage: &str) -> BTreeSet<String> {
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

/// The meaning of a table in checkpoints: digests of the normal form. Empty in checkpoints of earlier versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MeaningDigests {
    /// The digest of its rows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// The digests of the rows of the sinks that keep the changes of its stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, String>,
}

impl MeaningDigests {
    /// Returns whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.state.is_empty() && self.sinks.is_empty()
    }
}

/// Returns whether a stored digest can be compared with meanings of this version.
pub fn is_comparable(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(form, _)| form == FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(key: &str, text: &str) -> Label {
        Label { key: key.into(), normal: text.into(), shown: text.into(), owner: "stage `s`".into() }
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
        let describe = |is: &Meaning| was.difference(is).map(|difference| difference.describe()).unwrap_or_default();
        assert_eq!(describe(&rows(&["x > 0", "y"])), "`filter` of stage `s` was `x > 5` and is now `x > 0`");
        assert_eq!(describe(&rows(&["y"])), "`filter` of stage `s` was `x > 5` and was removed");
        assert_eq!(describe(&rows(&["y", "x > 5", "z"])), "`filter` of stage `s` is new: `z`");
        assert_eq!(describe(&part("`top`", "n = 2", &[])), "`top` of stage `s` was `n = 1` and is now `n = 2`");
    }

    #[test]
    fn digests_tell_where_one_text_ends() {
        assert_ne!(part("a", "bc", &[]).digest(), part("ab", "c", &[]).digest());
        assert_ne!(part("a", "b", &[part("c", "", &[])]).digest(), part("a", "b", &[]).digest());
        assert!(is_comparable(&part("a", "", &[]).digest()));
        assert!(!is_comparable("0:00") && !is_comparable(""));
    }
}
