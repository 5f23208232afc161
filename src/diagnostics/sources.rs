//! The files of one compilation: what a diagnostic's places are looked up in.

use super::At;
use crate::source::lines::{Lines, Position};
use crate::source::path::FileId;
use crate::source::span::Span;
use crate::source::tree::Tree;

/// One file: its name, its text and, if it could be read, its values.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The name as the person gave it.
    pub name: String,
    /// Its text, as far as it is text.
    pub text: String,
    /// Its values.
    pub tree: Option<Tree>,
    lines: Lines,
}

impl SourceFile {
    /// A file that has not been scanned.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            name: name.into(),
            lines: Lines::of(&text),
            text,
            tree: None,
        }
    }

    /// The line and column of a byte offset.
    pub fn position(&self, offset: usize) -> Position {
        self.lines.position(&self.text, offset)
    }
}

/// The files of one compilation, by [`FileId`].
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The texts of all files.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.text.as_str())
    }

    /// Adds a file and says its id.
    pub fn add(&mut self, file: SourceFile) -> FileId {
        self.files.push(file);
        let id = u32::try_from(self.files.len() - 1).expect("files are counted in dozens");
        FileId(id)
    }

    /// A file that was added.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// A file that was added, to give it its tree.
    pub fn file_mut(&mut self, id: FileId) -> &mut SourceFile {
        &mut self.files[id.0 as usize]
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The file and the stretch of its text that a place names.
    pub fn locate(&self, at: &At) -> (FileId, Span) {
        let (file, span) = match at {
            At::Span(file, span) => (*file, *span),
            At::Key(path) => {
                let tree = self.file(path.file).tree.as_ref();
                (
                    path.file,
                    tree.map_or_else(Span::default, |t| t.key_span(path)),
                )
            }
            At::Value(path) => {
                let tree = self.file(path.file).tree.as_ref();
                let span = tree.map_or_else(Span::default, |t| t.value_span(path));
                (path.file, span)
            }
        };
        (file, span)
    }

    /// The line and column where a place begins.
    pub fn position(&self, at: &At) -> Position {
        let (file, span) = self.locate(at);
        self.file(file).position(span.start)
    }
}
