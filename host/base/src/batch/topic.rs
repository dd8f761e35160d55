//! How positions, extents and plans name a partition of a topic.
//!
//! What is counted there are offsets, which have gaps: where records were compacted away, and where the ends of transactions
//! stand. An extent covers every offset from its first on, whether there is a record or not.

/// What the name of a partition begins with. No file in a folder is named so, and of a log two stand there (`identity`).
const MARK: char = '/';

/// The name of a partition.
pub fn name(topic: &str, partition: i32) -> String {
    format!("{MARK}{topic}/{partition}")
}

/// The topic and partition of a name.
pub fn parse(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.strip_prefix(MARK)?.rsplit_once('/')?;
    let number = partition.parse().ok()?;
    (!topic.is_empty() && !topic.contains(MARK) && number >= 0).then_some((topic, number))
}

/// Whether a partition is named so.
pub fn is_name(name: &str) -> bool {
    parse(name).is_some()
}

/// The name as people know it, `topic/3`.
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
