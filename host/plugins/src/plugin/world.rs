//! Kinds of plugins.

/// A plugin's kind: the world that it implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Rows to rows.
    Transform,
    /// State by key.
    Update,
    /// Lift, combine, lower.
    Aggregate,
    /// Several inputs by key.
    Cogroup,
    /// Rows from elsewhere.
    Source,
    /// Rows that leave for elsewhere.
    Sink,
}

impl World {
    /// Whether it is a source or sink, which may use connections, and not a stage.
    pub fn is_end(self) -> bool {
        matches!(self, World::Source | World::Sink)
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            World::Transform => "transform",
            World::Update => "update",
            World::Aggregate => "aggregate",
            World::Cogroup => "cogroup",
            World::Source => "source",
            World::Sink => "sink",
        })
    }
}
