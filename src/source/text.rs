//! Bytes become text, or a fault that says why they are none.

use super::fault::{Fault, FaultKind};
use super::span::Span;
use crate::model::limits::source::FILE_BYTES_MAX;

/// What a file's bytes are as text: the longest start of it that can be shown, and the fault that
/// makes the rest unreadable.
pub fn decode(bytes: Vec<u8>) -> (String, Option<Fault>) {
    if bytes.len() > FILE_BYTES_MAX {
        let kind = FaultKind::TooLarge;
        return (String::new(), Some(Fault::new(kind, Span::default())));
    }
    let (text, offset) = match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            bytes.truncate(offset);
            let text = String::from_utf8(bytes).expect("it was cut where it stops being UTF-8");
            (text, Some(offset))
        }
    };
    if let Some((at, character)) = text.char_indices().find(|(_, c)| is_binary(*c)) {
        let kind = FaultKind::Binary { character };
        let fault = Fault::new(kind, Span { start: at, end: at });
        return (text[..at].to_owned(), Some(fault));
    }
    let fault = offset.map(|offset| {
        let span = Span {
            start: offset,
            end: offset,
        };
        Fault::new(FaultKind::NotUtf8 { offset }, span)
    });
    (text, fault)
}

/// Whether a character never stands in a text file. YAML forbids the same ones.
fn is_binary(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bytes: &[u8]) -> Option<FaultKind> {
        decode(bytes.to_vec()).1.map(|fault| fault.kind)
    }

    #[test]
    fn text_is_text_and_junk_says_where_it_begins() {
        assert_eq!(kind("ä\t\r\n".as_bytes()), None);
        let (text, fault) = decode(b"ab\xff\xfe".to_vec());
        assert_eq!(text, "ab");
        assert_eq!(fault.unwrap().kind, FaultKind::NotUtf8 { offset: 2 });
        let (text, fault) = decode(b"a: \x00\xff".to_vec());
        assert_eq!(text, "a: ");
        assert_eq!(fault.unwrap().kind, FaultKind::Binary { character: '\0' });
    }

    #[test]
    fn the_size_limit_holds_on_both_sides() {
        assert_eq!(kind(&vec![b' '; FILE_BYTES_MAX]), None);
        let bytes = FILE_BYTES_MAX + 1;
        assert_eq!(kind(&vec![b' '; bytes]), Some(FaultKind::TooLarge));
    }
}
