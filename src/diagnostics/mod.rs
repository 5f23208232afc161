//! Floor 2: what is wrong with a manifest, said so that a person knows what to type.
//!
//! A [`Diagnostic`] is the first of our three kinds of error: the manifest's. It names paths; only
//! when it is rendered are they turned into places in a text.

pub mod codes;
pub mod render;
pub mod sources;
pub mod suggest;
pub mod text;

use crate::source::path::Path;
use crate::source::span::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The manifest cannot be planned.
    Error,
    /// It can, and probably does not do what was meant.
    Warning,
    /// It can, and there is a better way to write it.
    Hint,
}

/// One fault or remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code, `ZN` and four digits; `zmqnet explain CODE` tells more.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One line, lower case, naming the thing in backticks.
    pub message: String,
    /// Where. The first mark is what to change; further ones show other parties.
    pub marks: Vec<Mark>,
    /// What to type.
    pub help: Option<String>,
}

/// A place and what is to be said there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The place.
    pub at: At,
    /// What is wrong here, in a few words.
    pub label: String,
}

/// A place in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The key at the end of a path.
    Key(Path),
    /// The value a path leads to.
    Value(Path),
    /// A stretch of a file's text, for faults found before there are paths.
    Span(crate::source::path::FileId, Span),
}

impl Diagnostic {
    /// An error without marks.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            marks: Vec::new(),
            help: None,
        }
    }

    /// A warning without marks.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// The same, marked at a key.
    #[must_use]
    pub fn at_key(self, path: Path, label: impl Into<String>) -> Self {
        self.mark(At::Key(path), label)
    }

    /// The same, marked at a value.
    #[must_use]
    pub fn at_value(self, path: Path, label: impl Into<String>) -> Self {
        self.mark(At::Value(path), label)
    }

    /// The same with one mark more.
    #[must_use]
    pub fn mark(mut self, at: At, label: impl Into<String>) -> Self {
        self.marks.push(Mark {
            at,
            label: label.into(),
        });
        self
    }

    /// Whether it speaks of a name, or of something whose name begins with it, as instances' do.
    pub fn names(&self, name: &str) -> bool {
        let texts = std::iter::once(&self.message).chain(self.marks.iter().map(|m| &m.label));
        texts
            .flat_map(|text| text.split('`').skip(1).step_by(2))
            .any(|word| {
                word.strip_prefix(name).is_some_and(|rest| {
                    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                })
            })
    }

    /// The same with a help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Whether any of them is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}
