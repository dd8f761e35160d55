//! Lists of versions and packages, for directories and OCI registries.

use super::found::SearchHit;
use crate::package::manifest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::{PackageName, PackageRequest};
use semver::Version;
use std::fmt::Display;

/// Maximum versions in a message.
const VERSIONS_SHOWN: usize = 10;

/// Chooses the requested version among the existing ones.
pub fn choose<'a>(wanted: &PackageRequest, there: &'a [Version], registry: &dyn Display) -> Result<&'a Version> {
    let found = match &wanted.version {
        Some(version) => there.iter().find(|other| *other == version),
        None => there.iter().filter(|version| version.pre.is_empty()).max(),
    };
    found.ok_or_else(|| missing(wanted, there, registry))
}

/// The error of a package or version that does not exist. `there` has the existing versions.
pub fn missing(wanted: &PackageRequest, there: &[Version], registry: &dyn Display) -> Error {
    let name = &wanted.name;
    let list = listed(there);
    Error::job(match (&wanted.version, there) {
        (_, []) => format!(
            "{registry} has no package `{name}`; `millstream search --registry {registry}` lists what it has, if it can"
        ),
        (Some(version), _) => format!("{registry} has no version {version} of `{name}`; available: {list}"),
        (None, _) => format!("{registry} has only pre-releases of `{name}`: {list}; choose one with {name}@VERSION"),
    })
}

/// Formats versions, newest first.
pub fn listed(versions: &[Version]) -> String {
    let mut sorted: Vec<&Version> = versions.iter().collect();
    sorted.sort_by(|a, b| b.cmp(a));
    let shown: Vec<String> = sorted.iter().take(VERSIONS_SHOWN).map(ToString::to_string).collect();
    match sorted.len().saturating_sub(VERSIONS_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The version of a package that a search shows and whose description it reads.
pub fn shown(versions: &[Version]) -> Option<&Version> {
    let released = versions.iter().filter(|version| version.pre.is_empty()).max();
    released.or_else(|| versions.iter().max())
}

/// Returns a search result if all words occur in its name or description.
pub fn hit(name: &PackageName, mut versions: Vec<Version>, description: String, words: &[String]) -> Option<SearchHit> {
    versions.sort_by(|a, b| b.cmp(a));
    let text = format!("{name} {}", description.to_lowercase());
    let found = words.iter().all(|word| text.contains(&word.to_lowercase()));
    found.then(|| SearchHit { name: name.clone(), versions, description })
}

/// The description in a package's manifest; empty if the manifest is not one of a package.
pub fn description(manifest: &[u8], shown: &str) -> String {
    manifest::read(manifest, shown).map(|layout| layout.description).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &str, there: &[&str]) -> Result<String, String> {
        let there: Vec<Version> = there.iter().map(|text| text.parse().unwrap()).collect();
        choose(&wanted.parse().unwrap(), &there, &"/shared").map(Version::to_string).map_err(|error| error.message)
    }

    #[test]
    fn the_newest_release_is_chosen_or_the_version_that_is_named() {
        let there = ["0.9.0", "0.10.0", "0.11.0-rc.1", "0.2.0"];
        assert_eq!(chosen("split", &there).unwrap(), "0.10.0", "as numbers, and no pre-release");
        assert_eq!(chosen("split@0.2.0", &there).unwrap(), "0.2.0");
        assert_eq!(chosen("split@0.11.0-rc.1", &there).unwrap(), "0.11.0-rc.1");
        assert_eq!(
            chosen("split@1.0.0", &there).unwrap_err(),
            "/shared has no version 1.0.0 of `split`; available: 0.11.0-rc.1, 0.10.0, 0.9.0, 0.2.0"
        );
        assert!(
            chosen("split", &["1.0.0-a", "1.0.0-b"]).unwrap_err().contains("only pre-releases of `split`: 1.0.0-b")
        );
        assert!(chosen("split", &[]).unwrap_err().starts_with("/shared has no package `split`"));
    }

    #[test]
    fn all_words_must_occur() {
        let found = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            hit(&"split-words".parse().unwrap(), Vec::new(), "Cuts lines".into(), &words).is_some()
        };
        assert!(found(&[]) && found(&["SPLIT"]) && found(&["cuts", "word"]));
        assert!(!found(&["cuts", "sum"]));
    }
}
