//! What is wrong with a database's role, for the one who can change it.

/// One thing that a task's database should not be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is the case.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

impl Finding {
    pub(in super::super) fn new(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cure: cure.into(),
        }
    }
}
