//! NATS subjects, which are tokens separated by dots, and filters.

/// Checks a subject to publish to.
pub fn check(subject: &str) -> Result<(), &'static str> {
    check_filter(subject)?;
    match subject.split('.').any(|token| matches!(token, "*" | ">")) {
        true => Err("contains a wildcard, `*` or `>`"),
        false => Ok(()),
    }
}

/// Checks a subject or filter to subscribe to.
pub fn check_filter(subject: &str) -> Result<(), &'static str> {
    if subject.is_empty() {
        return Err("is empty, or null");
    }
    if subject.len() > BYTES_MAX {
        return Err("is longer than 2,048 bytes");
    }
    if subject.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("contains a blank");
    }
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err("has an empty token, between two dots, before the first or after the last"),
            ">" if tokens.peek().is_some() => return Err("continues after `>`"),
            _ => {}
        }
    }
    Ok(())
}

/// Maximum bytes of a subject, because servers limit the line that contains it.
const BYTES_MAX: usize = 2_048;

/// Whether a JetStream stream can have this name.
pub(super) fn is_stream(name: &str) -> bool {
    const NAME_BYTES_MAX: usize = 255;
    let good = |c: char| !c.is_whitespace() && !c.is_control() && !"*.>/\\".contains(c);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_and_filters_are_checked() {
        for subject in ["a", "a.b-c", "ü.1", "a.*b"] {
            assert_eq!(check(subject), Ok(()), "{subject}");
        }
        for subject in ["*", "a.*", "a.>", ">"] {
            assert_eq!((check(subject).is_err(), check_filter(subject)), (true, Ok(())), "{subject}");
        }
        for subject in ["", ".a", "a.", "a..b", "a b", "a\n", "a.>.b", &"x".repeat(2049)] {
            assert!(check_filter(subject).is_err(), "{subject}");
        }
        assert!(
            is_stream("ORDERS_1-ü") && !is_stream("a.b") && !is_stream("a b") && !is_stream("") && !is_stream("a/b")
        );
    }
}
