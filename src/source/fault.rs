//! What can be wrong with a text before anybody knows what it means.
//!
//! These are facts with places; `diagnostics` turns them into words, codes and help.

use super::span::Span;

/// One fault of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Where.
    pub span: Span,
    /// The other party, such as the first of two equal keys.
    pub other: Option<Span>,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// More bytes than a manifest may have.
    TooLarge,
    /// A byte that is no UTF-8.
    NotUtf8 {
        /// Its offset.
        offset: usize,
    },
    /// A control character: this is no text file.
    Binary {
        /// The character.
        character: char,
    },
    /// Nothing but white space and comments.
    Empty,
    /// The YAML grammar does not allow it.
    Syntax {
        /// The parser's own words.
        info: String,
    },
    /// `${x}` without quotes inside `[ ]` or `{ }`, where YAML reads a mapping.
    UnquotedVariable {
        /// The whole expression as written.
        text: String,
    },
    /// A key that stands twice in one mapping.
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key that is a list or a mapping.
    KeyNotText,
    /// A second document behind `---`.
    SeveralDocuments,
    /// Deeper nesting than a manifest may have.
    TooDeep,
    /// More values than a manifest may hold, once aliases are resolved.
    TooManyValues,
    /// An alias inside the value it stands for.
    RecursiveAlias,
    /// `<<` with something else than a mapping or a list of mappings.
    MergeNotMapping,
    /// A tag such as `!foo`.
    Tag {
        /// The tag as written.
        tag: String,
    },
}

impl Fault {
    /// A fault with one place.
    pub fn new(kind: FaultKind, span: Span) -> Self {
        Self {
            kind,
            span,
            other: None,
        }
    }
}
