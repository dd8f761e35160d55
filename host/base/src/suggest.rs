//! "Did you mean …": the name that an author probably meant.

/// Names from other systems, and ours.
const ALIASES: &[(&str, &str)] = &[
    ("string", "text"),
    ("str", "text"),
    ("varchar", "text"),
    ("utf8", "text"),
    ("int", "int64"),
    ("integer", "int64"),
    ("long", "int64"),
    ("i64", "int64"),
    ("bigint", "int64"),
    ("float", "float64"),
    ("double", "float64"),
    ("f64", "float64"),
    ("number", "float64"),
    ("real", "float64"),
    ("boolean", "bool"),
    ("bytes", "binary"),
    ("blob", "binary"),
    ("datetime", "timestamp"),
    ("date", "timestamp"),
    ("mean", "avg"),
    ("average", "avg"),
    ("delimiter", "separator"),
    ("sep", "separator"),
    ("input", "from"),
    ("inputs", "from"),
    ("interval", "batch"),
    ("threads", "workers"),
    ("type", "kind"),
    ("host", "address"),
    ("folder", "path"),
    ("dir", "path"),
    ("console", "print"),
    ("stdout", "print"),
    ("tcp", "socket"),
    ("folder", "directory"),
    ("jsonl", "json"),
    ("ndjson", "json"),
    ("parquet-files", "files"),
    ("file", "files"),
    ("manual-clock", "manual"),
    ("columns", "schema"),
    ("group_by", "key"),
    ("keys", "key"),
    ("limit", "rows"),
    ("limit", "n"),
    ("where", "filter"),
    ("having", "filter"),
    ("windows", "window"),
    ("over", "window"),
    ("length", "size"),
    ("every", "slide"),
    ("hop", "slide"),
    ("period", "slide"),
    ("timestamp", "time"),
    ("watermark", "lateness"),
    ("allowed_lateness", "lateness"),
    ("delay", "lateness"),
    ("dedup", "deduplicate"),
    ("dedupe", "deduplicate"),
    ("match_recognize", "pattern"),
    ("cep", "pattern"),
    ("after_match", "skip"),
    ("conditions", "define"),
    ("outer", "full"),
    ("full_outer", "full"),
    ("left_outer", "left"),
    ("right_outer", "right"),
    ("ascending", "asc"),
    ("descending", "desc"),
    ("order_by", "by"),
    ("udfs", "functions"),
    ("skip", "reject"),
    ("ignore", "reject"),
    ("drop", "reject"),
    ("continue", "reject"),
    ("stop", "fail"),
    ("abort", "fail"),
    ("error", "fail"),
    ("max_errors", "max_rejected"),
    ("deterministic", "replayable"),
    ("permissions", "grant"),
    ("capabilities", "grant"),
    ("network", "http"),
    ("net", "http"),
    ("environment", "env"),
    ("host", "hosts"),
    ("urls", "hosts"),
    ("mem", "memory"),
    ("ram", "memory"),
    ("cpu", "time"),
    ("gas", "fuel"),
    ("instructions", "fuel"),
];

/// Returns the known name nearest to this one, if it is near enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let plain = word.to_lowercase().replace('-', "_");
    if let Some(same) = known.clone().into_iter().find(|k| k.to_lowercase().replace('-', "_") == plain) {
        return Some(same);
    }
    let near = |limit: usize| {
        let distances = known.clone().into_iter().map(|k| (distance(word, k), k));
        distances.filter(|(d, k)| *d <= limit.min(k.chars().count() / 3)).min_by_key(|(d, _)| *d).map(|(_, k)| k)
    };
    let alias = || {
        let ours = ALIASES.iter().filter(|(theirs, _)| *theirs == plain).map(|(_, ours)| *ours);
        ours.into_iter().find_map(|ours| known.clone().into_iter().find(|k| *k == ours))
    };
    alias().or_else(|| near((word.chars().count() / 3).max(1)))
}

/// Returns ``; did you mean `x`?`` or, if no name is near, the valid names.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone, what: &str) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; {what}: {}", list(known)),
    }
}

/// Returns the names in backquotes, with commas.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|w| format!("`{w}`")).collect();
    names.join(", ")
}

/// Returns the number of edits between two words; a swap of neighbors counts as one (optimal string alignment). Words far longer than any of our
/// names are not compared.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(80).collect();
    let b: Vec<char> = b.chars().take(80).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut min_distance = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                min_distance = min_distance.min(before[j - 2] + 1);
            }
            row.push(min_distance);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
