//! Names a plugin of a job: that of a stage, a source or a sink.

use std::fmt::{Display, Formatter, Result};

/// The stage, source or sink of a plugin. Commands, lock files, records and running jobs name it by a string: a stage by its name, the others with
/// their section (`sources.orders`, `sinks.out`), as a sink may have the name of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginPart<'a> {
    /// A stage of this name.
    Stage(&'a str),
    /// A source.
    Source(&'a str),
    /// A sink.
    Sink(&'a str),
}

impl<'a> PluginPart<'a> {
    /// Returns the part that a string names.
    pub fn parse(text: &'a str) -> PluginPart<'a> {
        match text.split_once('.') {
            Some(("sources", name)) => PluginPart::Source(name),
            Some(("sinks", name)) => PluginPart::Sink(name),
            Some(("stages", name)) => PluginPart::Stage(name),
            _ => PluginPart::Stage(text),
        }
    }

    /// Returns its name in the job file.
    pub fn name(self) -> &'a str {
        match self {
            PluginPart::Stage(name) | PluginPart::Source(name) | PluginPart::Sink(name) => name,
        }
    }

    /// Returns its section in the job file.
    pub fn section(self) -> &'static str {
        match self {
            PluginPart::Stage(_) => "stages",
            PluginPart::Source(_) => "sources",
            PluginPart::Sink(_) => "sinks",
        }
    }

    /// Returns what it is.
    pub fn keyword(self) -> &'static str {
        match self {
            PluginPart::Stage(_) => "stage",
            PluginPart::Source(_) => "source",
            PluginPart::Sink(_) => "sink",
        }
    }

    /// Returns the string that names it.
    pub fn id(self) -> String {
        match self {
            PluginPart::Stage(name) => name.to_owned(),
            part => format!("{}.{}", part.section(), part.name()),
        }
    }

    /// Returns the key of its plugin in the job file.
    pub fn key(self) -> String {
        format!("{}.{}.plugin", self.section(), self.name())
    }
}

/// The form in messages.
impl Display for PluginPart<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} `{}`", self.keyword(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_a_part_and_a_part_says_its_text() {
        let cases = [
            ("words", PluginPart::Stage("words"), "stage `words`", "stages.words.plugin"),
            ("sources.in", PluginPart::Source("in"), "source `in`", "sources.in.plugin"),
            ("sinks.out", PluginPart::Sink("out"), "sink `out`", "sinks.out.plugin"),
        ];
        for (text, part, shown, key) in cases {
            assert_eq!(PluginPart::parse(text), part);
            assert_eq!((part.id().as_str(), part.to_string().as_str(), part.key().as_str()), (text, shown, key));
        }
        assert_eq!(PluginPart::parse("stages.words").id(), "words");
    }
}
