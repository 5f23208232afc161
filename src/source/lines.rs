//! Byte offsets become lines and columns, as editors count them.

/// Where the lines of a text start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    starts: Vec<usize>,
}

/// A place as an editor names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Lines {
    /// Finds the lines of a text. A line ends with `\n`.
    pub fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            starts: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// The place of a byte offset in the same text; an offset past its end is its end.
    pub fn position(&self, text: &str, offset: usize) -> Position {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = &text[start..offset];
        // A byte order mark is invisible in editors, so it is no column.
        let before = before.strip_prefix('\u{feff}').unwrap_or(before);
        Position {
            line,
            column: before.chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_and_lines_end_with_newlines() {
        let text = "\u{feff}ä: b\r\nc: dé\n";
        let lines = Lines::of(text);
        let at = |needle: &str| lines.position(text, text.find(needle).unwrap());
        assert_eq!(at("ä"), Position { line: 1, column: 1 });
        assert_eq!(at("b"), Position { line: 1, column: 4 });
        assert_eq!(at("c"), Position { line: 2, column: 1 });
        assert_eq!(at("é"), Position { line: 2, column: 5 });
        assert_eq!(lines.position(text, 999), Position { line: 3, column: 1 });
        assert_eq!(
            Lines::of("").position("", 0),
            Position { line: 1, column: 1 }
        );
    }
}
