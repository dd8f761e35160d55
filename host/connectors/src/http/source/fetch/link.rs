//! Parses the link to the next page: `Link: <https://host/path?page=2>; rel="next"` (RFC 8288).

use hyper::header::{HeaderMap, LINK};

/// Returns the next page that the headers name.
pub fn next(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(links).find(|(_, relations)| relations.iter().any(|name| name == "next")).map(|(to, _)| to)
}

/// Returns the links of a header, each with its relations in lower case. Parsing stops at a syntax error.
fn links(header: &str) -> Vec<(String, Vec<String>)> {
    let (mut found, mut rest) = (Vec::new(), header);
    while let Some((to, rest_after)) =
        rest.trim_start_matches([' ', '\t', ',']).strip_prefix('<').and_then(|r| r.split_once('>'))
    {
        rest = rest_after;
        let mut relations = None;
        while let Some(rest_after) = rest.trim_start().strip_prefix(';') {
            let (name, value, rest_after) = parameter(rest_after);
            // The first of several `rel` parameters wins.
            if name.eq_ignore_ascii_case("rel") && relations.is_none() {
                relations = Some(value.split_ascii_whitespace().map(str::to_ascii_lowercase).collect());
            }
            rest = rest_after;
        }
        found.push((to.trim().to_owned(), relations.unwrap_or_default()));
    }
    found
}

/// Returns name and value of a parameter, and the text after it.
fn parameter(text: &str) -> (&str, String, &str) {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, rest_after) = text.split_at(end);
    let Some(value) = rest_after.strip_prefix('=') else { return (name.trim(), String::new(), rest_after) };
    let value = value.trim_start();
    let Some(quoted) = value.strip_prefix('"') else {
        let end = value.find([';', ',']).unwrap_or(value.len());
        let (value, rest_after) = value.split_at(end);
        return (name.trim(), value.trim().to_owned(), rest_after);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in quoted.char_indices() {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (name.trim(), value, quoted.get(at + 1..).unwrap_or_default()),
            _ => {
                escaped = false;
                value.push(character);
            }
        }
    }
    (name.trim(), value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        for (header, expected) in [
            ("<https://h/a?page=2>; rel=\"next\"", Some("https://h/a?page=2")),
            ("<https://h/a?page=1>; rel=\"prev\", </a?page=3>;rel=next, <x>; rel=\"last\"", Some("/a?page=3")),
            ("<a,b;c>; title=\"a \\\"; rel=next, <\"; rel=\"last Next\"", Some("a,b;c")),
            ("<a>; rel=\"last\"; rel=\"next\"", None),
            ("<a>; REL = \"Next\"", Some("a")),
            ("<a>", None),
            ("<a; rel=\"next\"", None),
            ("a; rel=next", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(LINK, header.parse().unwrap())]);
            assert_eq!(next(&headers).as_deref(), expected, "{header}");
        }
        let mut headers = HeaderMap::new();
        headers.append(LINK, "<a>; rel=last".parse().unwrap());
        headers.append(LINK, "<b>; rel=next".parse().unwrap());
        assert_eq!(next(&headers).as_deref(), Some("b"));
    }
}
