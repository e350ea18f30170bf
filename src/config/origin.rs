//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where an effective value, a problem or a warning comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// Worked out of something else, which is named: "the file's name", "server.url".
    Derived(&'static str),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(PathBuf),
    /// The channel file.
    File {
        /// Its path.
        path: PathBuf,
        /// Where in it, when that is one place.
        position: Option<Position>,
    },
    /// This environment variable.
    Environment(String),
    /// This command-line flag.
    Flag(String),
}

/// A place in a text file, both counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Origin {
    /// Layers in rising order: where two give the same thing, the higher one wins.
    pub(super) fn layer(&self) -> u8 {
        match self {
            Self::Default | Self::Derived(_) => 0,
            Self::Credential(_) => 1,
            Self::File { .. } => 2,
            Self::Environment(_) => 3,
            Self::Flag(_) => 4,
        }
    }

    /// Order in which problems are listed: down the file, what concerns it as a whole last, then the layers above it.
    pub(super) fn reading_order(&self) -> (u8, Option<Position>) {
        match self {
            Self::File { position: None, .. } => (self.layer(), Some(Position { line: usize::MAX, column: 0 })),
            Self::File { position, .. } => (self.layer(), *position),
            _ => (self.layer(), None),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Derived(from) => write!(f, "from {from}"),
            Self::Credential(path) => write!(f, "systemd credential {}", path.display()),
            Self::File { path, position: None } => write!(f, "{}", path.display()),
            Self::File { path, position: Some(at) } => write!(f, "{}:{}:{}", path.display(), at.line, at.column),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}
