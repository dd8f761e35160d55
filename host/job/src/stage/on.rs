//! `on` of a join or enrichment: the columns that must be equal.

use crate::keys::KeyShape;
use crate::part_errors::PartErrors;
use crate::parts::check_duplicates;
use crate::table::Reader;
use toml::Value;

/// The shape of its values.
pub(super) const SHAPE: KeyShape = KeyShape::Either(&[KeyShape::TextList, KeyShape::ByName(&KeyShape::Text)]);

/// Reads the columns of both sides that must be equal.
pub(super) fn read(r: &Reader<'_>) -> Vec<(String, String)> {
    let example = "on = \"user\", on = [\"user\", \"day\"], or on = { user = \"user_id\" }";
    if !matches!(r.table.get("on"), Some(Value::Table(_))) {
        return r.strings("on", example).unwrap_or_default().into_iter().map(|name| (name.clone(), name)).collect();
    }
    let Some(pairs) = r.inner("on", example) else { return Vec::new() };
    if pairs.table.is_empty() {
        r.wrong("on", format!("`{}on` is empty; write {example}", r.inside));
    }
    let one = |left: &String| Some((left.clone(), pairs.text(left, "on = { user = \"user_id\" }")?.to_owned()));
    pairs.table.keys().filter_map(one).collect()
}

/// Checks the columns that must be equal.
pub(super) fn check(key: &str, pairs: &[(String, String)], part: &PartErrors<'_>) {
    if pairs.is_empty() {
        part.wrong(key, format!("`{key}` is missing; write the columns that must be equal, for example on = \"user\""));
    }
    let left: Vec<String> = pairs.iter().map(|(left, _)| left.clone()).collect();
    check_duplicates(key, &left, part);
    let right: Vec<String> = pairs.iter().map(|(_, right)| right.clone()).collect();
    check_duplicates(key, &right, part);
}
