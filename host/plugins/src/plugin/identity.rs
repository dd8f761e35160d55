//! The plugin and the stage of a call, for messages.

/// The function by which a plugin describes itself.
pub const DESCRIBE: &str = "describe";

/// The plugin and the stage of a call, for messages.
#[derive(Clone, Debug)]
pub struct CallIdentity {
    /// The stage, source or sink; `None` if there is none yet.
    pub stage: Option<String>,
    /// The role of the plugin there.
    pub role: Role,
    /// Name and version, or the file while they are unknown.
    pub plugin: String,
    /// The called function, if there is no batch.
    pub outside: &'static str,
}

/// The part of a job that uses a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Role {
    Stage,
    Source,
    Sink,
}

impl Role {
    /// The word for messages.
    pub fn keyword(self) -> &'static str {
        match self {
            Role::Stage => "stage",
            Role::Source => "source",
            Role::Sink => "sink",
        }
    }
}

impl CallIdentity {
    /// `stage `words`: plugin split-words 0.1.0`
    pub fn description(&self) -> String {
        match &self.stage {
            Some(name) => format!("{} `{name}`: plugin {}", self.role.keyword(), self.plugin),
            None => format!("plugin {}", self.plugin),
        }
    }

    /// The name of the stage, source or sink, and the plugin: the fields of a line of the log.
    pub fn fields(&self) -> (Option<&str>, Option<&str>, Option<&str>, &str) {
        let named = |role| self.stage.as_deref().filter(|_| self.role == role);
        (named(Role::Stage), named(Role::Source), named(Role::Sink), &self.plugin)
    }

    /// Returns whether the call is `describe`.
    pub fn describes(&self) -> bool {
        self.outside == DESCRIBE
    }

    /// When a call happens: `in batch 12`, `in `describe``.
    pub fn batch_text(&self, batch: Option<u64>) -> String {
        batch.map_or_else(|| format!("in `{}`", self.outside), |batch| format!("in batch {batch}"))
    }
}
