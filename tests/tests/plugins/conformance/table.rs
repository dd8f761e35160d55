//! The table of `sdk/README.md`.

use super::built::{case_names, dir, has};
use millstream::internals::author::language::Language;
use millstream_tests::root;
use std::fs;

const BEGIN: &str = "<!-- conformance: begin -->\n";
const END: &str = "<!-- conformance: end -->\n";

/// Rewrites the table if it is out of date, and then fails, so that it is reviewed and committed.
pub fn check() {
    let path = root().join("sdk/README.md");
    let text = fs::read_to_string(&path).expect("there is sdk/README.md");
    let cut = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let Some((before, (old, behind))) = cut else { panic!("sdk/README.md has no place for the table: {BEGIN}{END}") };
    let table = table();
    if old != table {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{behind}")).expect("the file can be written");
        panic!("the table of sdk/README.md was out of date; it is written anew, commit it:\n{table}");
    }
}

/// A line a case, a column a language.
fn table() -> String {
    let names = Language::ALL.map(|language| language.to_string());
    let mut lines = vec![format!("| case | what it does | {} |", names.join(" | "))];
    lines.push("|---|---|---|---|---|---|---|".to_owned());
    for case in case_names() {
        let cells = Language::ALL.map(|language| if has(&case, language) { "yes" } else { "**missing**" });
        lines.push(format!("| `{case}` | {} | {} |", description(&case), cells.join(" | ")));
    }
    format!("\n{}\n\n", lines.join("\n"))
}

/// The description in the manifest of the Rust plugin.
fn description(case: &str) -> String {
    let manifest = fs::read_to_string(dir(case, Language::Rust).join("Cargo.toml")).expect("it has a manifest");
    let manifest: toml::Table = manifest.parse().expect("the manifest is TOML");
    manifest["package"]["description"].as_str().expect("it has a description").to_owned()
}
