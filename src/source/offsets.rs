//! The parser counts characters, everything else counts bytes.

/// From character counts to byte offsets.
pub(super) enum Offsets {
    /// They are the same.
    Ascii(usize),
    /// The byte offset of each character, and of the end.
    Table(Vec<u32>),
}

impl Offsets {
    pub(super) fn of(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Ascii(text.len());
        }
        let ends = std::iter::once(text.len());
        let table = text.char_indices().map(|(at, _)| at).chain(ends);
        Self::Table(
            table
                .map(|at| u32::try_from(at).expect("a manifest has at most 10 MiB"))
                .collect(),
        )
    }

    pub(super) fn byte(&self, characters: usize) -> usize {
        match self {
            Self::Ascii(length) => characters.min(*length),
            Self::Table(table) => table[characters.min(table.len() - 1)] as usize,
        }
    }
}
