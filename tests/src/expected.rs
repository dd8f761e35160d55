//! Expected messages of tests, kept in files next to the tests. One command updates them after a change, and the files show all
//! messages.

use crate::root;
use std::path::PathBuf;

/// If set to `1`, the actual messages are written into the files.
const UPDATE: &str = "UPDATE_EXPECT";

/// The messages of one test's cases. They must equal its file, which has `# ` and the case, followed by the message.
#[derive(Debug)]
#[must_use = "nothing is compared before `check` or `check_parts`"]
pub struct Expected {
    path: PathBuf,
    test: String,
    actual: Vec<Section>,
}

/// A case and its message.
#[derive(Clone, Debug, Default, PartialEq)]
struct Section {
    case: String,
    message: String,
}

impl Expected {
    /// Returns the expectations of a test in `file` (from `file!()`). For example, the messages of `words` in
    /// `tests/tests/cli/errors.rs` are in `tests/tests/cli/errors/words.expected`.
    pub fn of(file: &str, test: &str) -> Expected {
        let dir = file.strip_suffix(".rs").expect("a file of tests");
        let module = dir.rsplit_once("tests/").map_or(dir, |(_, module)| module).replace('/', "::");
        let path = root().join(dir).join(format!("{test}.expected"));
        Expected { path, test: format!("{module}::{test}"), actual: Vec::new() }
    }

    /// Adds the message of a case. The case may have several lines.
    pub fn add(&mut self, case: &str, message: &str) {
        assert!(!case.trim().is_empty(), "a case needs a name: {message}");
        let case = case.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        assert!(!message.lines().any(is_case), "a line like that of a case: {message}");
        self.actual.push(Section { case, message: message.to_owned() });
    }

    /// Adds an error, which must be the complete message of the case.
    #[track_caller]
    pub fn error(&mut self, case: &str, actual: &str) {
        let message = actual.strip_prefix("error: ").and_then(|rest| rest.strip_suffix('\n'));
        self.add(case, message.unwrap_or_else(|| panic!("{case}: no error alone: {actual}")));
    }

    /// Checks that the file has exactly these cases and messages.
    ///
    /// # Panics
    /// If they differ.
    #[track_caller]
    pub fn check(self) {
        self.compare(Section::is, is_update()).unwrap_or_else(|difference| panic!("{difference}"));
    }

    /// The file has these cases and no other, and of each message a part, or several with a line `…` between them.
    ///
    /// # Panics
    /// There are others, or a message does not have its parts.
    #[track_caller]
    pub fn check_parts(self) {
        self.compare(Section::has, is_update()).unwrap_or_else(|difference| panic!("{difference}"));
    }

    /// Returns how they differ. If the file is updated, they do not.
    fn compare(self, fits: fn(&Section, &Section) -> bool, update: bool) -> Result<(), String> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let expected = sections(&text);
        let same = |(actual, expected): (&Section, &Section)| actual.case == expected.case && fits(actual, expected);
        // Text outside of all cases would never be compared.
        let complete = expected.len() == self.actual.len() && written(&expected) == text;
        if complete && self.actual.iter().zip(&expected).all(same) {
            return Ok(());
        }
        // A part that still fits stays as it is.
        let kept =
            |actual: &Section| expected.iter().find(|expected| same((actual, *expected))).unwrap_or(actual).clone();
        let new = written(&self.actual.iter().map(kept).collect::<Vec<_>>());
        if update {
            std::fs::create_dir_all(self.path.parent().expect("a folder of a file")).expect("a folder can be made");
            std::fs::write(&self.path, new).expect("a file can be written");
            return Ok(());
        }
        Err(format!(
            "{} is not what is told:\n{}\nWhere what is told is right:\n  {UPDATE}=1 {}\n",
            self.path.display(),
            difference(&text, &new),
            self.command()
        ))
    }

    /// Returns the command that runs this test.
    fn command(&self) -> String {
        let program = std::env::current_exe().expect("a test knows its path");
        let name = program.file_stem().expect("a program has a name").to_string_lossy();
        let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
        format!("cargo test --release --workspace --test {name} {}", self.test)
    }
}

impl Section {
    fn is(&self, expected: &Section) -> bool {
        self == expected
    }

    fn has(&self, expected: &Section) -> bool {
        expected.message.split("\n…\n").all(|part| !part.is_empty() && self.message.contains(part))
    }
}

fn is_update() -> bool {
    std::env::var_os(UPDATE).is_some_and(|value| value == "1")
}

fn is_case(line: &str) -> bool {
    line.starts_with("# ")
}

/// The sections of a file.
fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut in_case = false;
    for line in text.lines() {
        match (line.strip_prefix("# "), in_case, sections.last_mut()) {
            (Some(line), true, Some(section)) => section.case += &format!("\n{line}"),
            (Some(line), ..) => sections.push(Section { case: line.to_owned(), message: String::new() }),
            (None, _, Some(section)) => section.message += &format!("{line}\n"),
            // Written again, it is missing.
            (None, _, None) => {}
        }
        in_case = is_case(line);
    }
    // An empty line between two, and the end of the last line of each.
    let last = sections.len().saturating_sub(1);
    for (number, section) in sections.iter_mut().enumerate() {
        let end = if number == last { "\n" } else { "\n\n" };
        if let Some(message) = section.message.strip_suffix(end) {
            section.message = message.to_owned();
        }
    }
    sections
}

/// The file of these sections.
fn written(sections: &[Section]) -> String {
    let case = |section: &Section| section.case.lines().map(|line| format!("# {line}\n")).collect::<String>();
    sections.iter().map(|section| case(section) + &section.message + "\n").collect::<Vec<_>>().join("\n")
}

/// Returns the lines that differ, each after the case it belongs to.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // The number of equal lines from this pair of indexes on.
    let mut same = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (a, b) in (0..old.len()).rev().flat_map(|a| (0..new.len()).rev().map(move |b| (a, b))) {
        same[a][b] = if old[a] == new[b] { same[a + 1][b + 1] + 1 } else { same[a + 1][b].max(same[a][b + 1]) };
    }
    let (mut a, mut b, mut actual, mut case) = (0, 0, Vec::new(), None);
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            case = Some(old[a]).filter(|line| is_case(line)).or(case);
            (a, b) = (a + 1, b + 1);
            continue;
        }
        actual.extend(case.take().map(|case| format!("  {case}")));
        if b == new.len() || a < old.len() && same[a + 1][b] >= same[a][b + 1] {
            actual.push(format!("- {}", old[a]));
            a += 1;
        } else {
            actual.push(format!("+ {}", new[b]));
            b += 1;
        }
    }
    actual.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "# kind = \"qeue\"\n# n = 1\nunknown kind\n  did you mean `queue`?\n\n# no sink\nthe job has no sink\n";

    /// Returns the messages of these cases, and the file with this text in its own directory.
    fn expected(text: Option<&str>, actual: &[(&str, &str)]) -> (tempfile::TempDir, Expected) {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("errors/words.expected");
        if let Some(text) = text {
            std::fs::create_dir(dir.path().join("errors")).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let mut expected = Expected { path, ..Expected::of("tests/tests/cli/errors.rs", "words") };
        actual.iter().for_each(|(case, message)| expected.add(case, message));
        (dir, expected)
    }

    const QUEUE: (&str, &str) = ("kind = \"qeue\"\nn = 1", "unknown kind\n  did you mean `queue`?");
    const SINK: (&str, &str) = ("no sink", "the job has no sink");

    fn compared(
        text: Option<&str>,
        actual: &[(&str, &str)],
        fits: fn(&Section, &Section) -> bool,
    ) -> Result<(), String> {
        expected(text, actual).1.compare(fits, false)
    }

    #[test]
    fn messages_equal_the_file() {
        assert_eq!(compared(Some(FILE), &[QUEUE, SINK], Section::is), Ok(()));
        assert_eq!(compared(Some(FILE), &[QUEUE, SINK], Section::has), Ok(()));
        let actual = [QUEUE, (SINK.0, "error: the job has no sink; add one")];
        assert_eq!(compared(Some(FILE), &actual, Section::has), Ok(()));
        let parts = "# no sink\nno sink\n…\nadd one\n";
        assert_eq!(compared(Some(parts), &actual[1..], Section::has), Ok(()));
        // Empty lines at an end, and within.
        for message in ["a\n", "a\n\n", "\na", "a\n\nb", ""] {
            let actual = [("one", message), ("two", message)];
            let (_dir, mut first) = expected(None, &actual);
            first.path = std::env::temp_dir().join("none");
            let text = written(&first.actual);
            assert_eq!(compared(Some(&text), &actual, Section::is), Ok(()), "{message:?}");
        }
    }

    #[test]
    fn planted_differences_are_found() {
        let wrong = [
            vec![QUEUE, (SINK.0, "the job has no sinks")],
            vec![QUEUE, (SINK.0, "the job has no sink\n")],
            vec![QUEUE, (SINK.0, "the job has no ")],
            vec![(QUEUE.0, "unknown kind"), SINK],
            vec![("kind = \"qeue\"", QUEUE.1), SINK],
            vec![SINK, QUEUE],
            vec![QUEUE],
            vec![QUEUE, SINK, SINK],
            vec![],
        ];
        for actual in wrong {
            assert!(compared(Some(FILE), &actual, Section::is).is_err(), "{actual:?}");
        }
        for actual in [&[QUEUE, (SINK.0, "the job has no sort")][..], &[SINK, QUEUE], &[QUEUE], &[QUEUE, SINK, SINK]] {
            assert!(compared(Some(FILE), actual, Section::has).is_err(), "{actual:?}");
        }
        assert!(compared(Some("# no sink\nno sink\n…\nadd one\n"), &[SINK], Section::has).is_err());
        assert!(compared(Some("# no sink\nno sink\n…\n\n"), &[SINK], Section::has).is_err());
        for text in [None, Some(""), Some("a line\n# no sink\nthe job has no sink\n"), Some("# no sink\n")] {
            assert!(compared(text, &[SINK], Section::is).is_err(), "{text:?}");
            assert!(compared(text, &[SINK], Section::has).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_difference_is_shown_with_what_updates_the_file() {
        let actual = compared(Some(FILE), &[QUEUE, (SINK.0, "add a sink")], Section::is).unwrap_err();
        assert!(
            actual.contains(
                "errors/words.expected is not what is told:\n  # no sink\n- the job has no sink\n+ add a sink\n"
            ),
            "{actual}"
        );
        assert!(!actual.contains("qeue"), "{actual}");
        let command = "UPDATE_EXPECT=1 cargo test --release --workspace --test millstream_tests cli::errors::words\n";
        assert!(actual.ends_with(command), "{actual}");
    }

    #[test]
    fn an_update_writes_the_messages() {
        let (dir, actual) = expected(None, &[QUEUE, SINK]);
        assert_eq!(actual.compare(Section::is, true), Ok(()));
        let text = |dir: &tempfile::TempDir| std::fs::read_to_string(dir.path().join("errors/words.expected")).unwrap();
        assert_eq!(text(&dir), FILE);
        // Parts that fit are left as they are.
        let (dir, actual) =
            expected(Some(FILE), &[(QUEUE.0, "error: unknown thing"), (SINK.0, "error: the job has no sink")]);
        assert_eq!(actual.compare(Section::has, true), Ok(()));
        assert_eq!(text(&dir), "# kind = \"qeue\"\n# n = 1\nerror: unknown thing\n\n# no sink\nthe job has no sink\n");
    }
}
