//! What the parser is given, and where its characters stand in the text as written.
//!
//! The parser counts characters, everything else counts bytes. It also knows no surrogate pairs,
//! which JSON writes for characters beyond 16 bits, so in JSON they are replaced before it reads.

use std::borrow::Cow;

/// From character counts to byte offsets.
pub(super) enum Offsets {
    /// They are the same.
    Ascii(usize),
    /// The byte offset of each character, and of the end.
    Table(Vec<u32>),
}

/// The bytes of `\uD83D\uDE00`.
const PAIR_BYTES: usize = 12;

impl Offsets {
    /// What the parser reads, and where it stands in `text`.
    pub(super) fn of(text: &str) -> (Cow<'_, str>, Self) {
        if text.trim_start().starts_with('{') && text.contains("\\u") {
            return unpaired(text);
        }
        if text.is_ascii() {
            return (text.into(), Self::Ascii(text.len()));
        }
        let ends = std::iter::once(text.len());
        let table = text.char_indices().map(|(at, _)| at).chain(ends);
        (text.into(), Self::Table(table.map(narrow).collect()))
    }

    /// The byte offset of a character.
    pub(super) fn byte(&self, characters: usize) -> usize {
        match self {
            Self::Ascii(length) => characters.min(*length),
            Self::Table(table) => table[characters.min(table.len() - 1)] as usize,
        }
    }
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).expect("a manifest has at most 8 MiB")
}

/// A JSON text with each surrogate pair as the character it means.
fn unpaired(text: &str) -> (Cow<'_, str>, Offsets) {
    let mut read = String::with_capacity(text.len());
    let mut table = Vec::with_capacity(text.len() + 1);
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        table.push(narrow(at));
        if let Some(meant) = text.get(at..at + PAIR_BYTES).and_then(pair) {
            read.push(meant);
            at += PAIR_BYTES;
            continue;
        }
        read.push(character);
        at += character.len_utf8();
        // What is escaped begins no escape: `\\u` is a backslash and a `u`.
        if character == '\\'
            && let Some(escaped) = text[at..].chars().next()
        {
            table.push(narrow(at));
            read.push(escaped);
            at += escaped.len_utf8();
        }
    }
    table.push(narrow(text.len()));
    (read.into(), Offsets::Table(table))
}

/// The character of `\uD83D\uDE00`.
fn pair(text: &str) -> Option<char> {
    let (high, low) = text.strip_prefix("\\u")?.split_once("\\u")?;
    let units = [high, low].map(|digits| u16::from_str_radix(digits, 16));
    let [Ok(high), Ok(low)] = units else {
        return None;
    };
    let is_pair = (0xd800..0xdc00).contains(&high);
    let mut characters = char::decode_utf16([high, low]);
    characters.next().filter(|_| is_pair)?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogate_pairs_are_one_character_and_places_stay() {
        let text = r#"{"a": "x\ud83d\ude00y", "b": "\\ud83d", "c": 1}"#;
        let (read, offsets) = Offsets::of(text);
        assert_eq!(read, r#"{"a": "x😀y", "b": "\\ud83d", "c": 1}"#);
        let at = |needle: char| read.chars().position(|c| c == needle).unwrap();
        assert_eq!(offsets.byte(at('y')), text.find('y').unwrap());
        assert_eq!(offsets.byte(at('c')), text.find('c').unwrap());
        assert_eq!(offsets.byte(9_999), text.len());
    }
}
