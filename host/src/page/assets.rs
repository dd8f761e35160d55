//! The page's own files. Nothing is loaded from other sites.

/// Returns the type and text of the file at this path.
pub fn find(path: &str) -> Option<(&'static str, &'static str)> {
    let (kind, text) = match path {
        "/" | "/index.html" => ("text/html; charset=utf-8", include_str!("assets/index.html")),
        "/assets/page.css" => ("text/css; charset=utf-8", include_str!("assets/page.css")),
        "/assets/icon.svg" => ("image/svg+xml", include_str!("assets/icon.svg")),
        _ => (SCRIPT, SCRIPTS.iter().find(|(name, _)| path.strip_prefix("/assets/") == Some(name))?.1),
    };
    Some((kind, text))
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const SCRIPTS: [(&str, &str); 8] = [
    ("page.js", include_str!("assets/page.js")),
    ("dom.js", include_str!("assets/dom.js")),
    ("words.js", include_str!("assets/words.js")),
    ("graph.js", include_str!("assets/graph.js")),
    ("chart.js", include_str!("assets/chart.js")),
    ("views.js", include_str!("assets/views.js")),
    ("more.js", include_str!("assets/more.js")),
    ("acts.js", include_str!("assets/acts.js")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_nothing_of_it_is_elsewhere() {
        let others = ["/", "/assets/page.css", "/assets/icon.svg"].map(|path| find(path).unwrap().1);
        let all: Vec<&str> = others.into_iter().chain(SCRIPTS.map(|(_, text)| text)).collect();
        let bytes: usize = all.iter().map(|text| text.len()).sum();
        assert!(bytes < 100_000, "{bytes} bytes");
        for text in all {
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("://"), "nothing is loaded from elsewhere");
            for unsafe_way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "onclick="] {
                assert!(!text.contains(unsafe_way), "{unsafe_way}");
            }
        }
        assert_eq!(find("/assets/../secret"), None);
    }
}
