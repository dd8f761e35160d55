//! How positions, extents and plans name a partition of a topic.
//!
//! They count offsets, which have gaps: compacted records, and the ends of transactions. An extent covers every offset from its first on, whether
//! there is a record or not.

/// Prefix of a partition's name. No file name in a directory begins with it; names of log files begin with two of them (`identity`).
const MARK: char = '/';

/// Returns the name of a partition.
pub fn name(topic: &str, partition: i32) -> String {
    format!("{MARK}{topic}/{partition}")
}

/// Parses a name as topic and partition.
pub fn parse(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.strip_prefix(MARK)?.rsplit_once('/')?;
    let number = partition.parse().ok()?;
    (!topic.is_empty() && !topic.contains(MARK) && number >= 0).then_some((topic, number))
}

/// Returns whether this is the name of a partition.
pub fn is_name(name: &str) -> bool {
    parse(name).is_some()
}

/// Returns the name for people, `topic/3`.
pub fn shown(name: &str) -> &str {
    name.strip_prefix(MARK).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        assert_eq!(parse(&name("orders.eu-1", 12)), Some(("orders.eu-1", 12)));
        assert_eq!(shown(&name("orders", 0)), "orders/0");
        for other in ["", "end", "orders/0", "//1.2.3.4", "/orders", "/a/b/0", "//0", "/orders/-1", "/orders/x"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
