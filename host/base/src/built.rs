//! What some builds lack: Cargo features exclude parts that are heavy to compile.

/// Returns the message for something that this build lacks.
pub fn absent(what: &str, feature: &str) -> String {
    format!("{what} is not in this build; build with `--features {feature}`, or `make build`")
}

/// Returns the message for a kind of source or sink that this build lacks. `feature` is the Cargo feature that the connector needs and that is off.
pub fn absent_kind(kind: &str, feature: Option<&str>) -> Option<String> {
    Some(absent(&format!("kind `{kind}`"), feature?))
}
