//! What is not in every build: Cargo features leave parts out that are heavy to compile.

/// What to say of something that this build lacks.
pub fn absent(what: &str, feature: &str) -> String {
    format!("{what} is not in this build; build with `--features {feature}`, or `make build`")
}

/// What to say of a kind of source or sink, if this build lacks it. `feature`: the one that a connector is behind which is not there.
pub fn absent_kind(kind: &str, feature: Option<&str>) -> Option<String> {
    Some(absent(&format!("kind `{kind}`"), feature?))
}
