//! JSON whose values stay as they are written: a number that is read and written again is another one.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Deserializer;

/// Why a text is not the JSON that is wanted.
#[derive(Debug)]
pub(super) struct Wrong {
    /// At which byte.
    at: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Json(serde_json::Error),
    Wanted(&'static str),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            // Its line and column are those of a part.
            What::Json(error) => {
                let words = error.to_string();
                let words = words.split(" at line ").next().unwrap_or_default();
                write!(f, "{words}, at byte {}", self.at)
            }
            What::Wanted(what) => write!(f, "{what} is missing at byte {}", self.at),
        }
    }
}

/// A place in a text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        let is_blank = |it: char| matches!(it, ' ' | '\n' | '\r' | '\t');
        self.at = self.text.len() - self.rest().trim_start_matches(is_blank).len();
    }

    /// Takes a sign, where it comes next.
    fn sign(&mut self, sign: char) -> bool {
        self.skip();
        let is_it = self.rest().starts_with(sign);
        self.at += usize::from(is_it);
        is_it
    }

    fn need(&mut self, sign: char, what: &'static str) -> Result<(), Wrong> {
        match self.sign(sign) {
            true => Ok(()),
            false => Err(self.wanted(what)),
        }
    }

    fn wanted(&self, what: &'static str) -> Wrong {
        Wrong {
            at: self.at,
            what: What::Wanted(what),
        }
    }

    /// The next value, and its text.
    fn value<T: DeserializeOwned>(&mut self) -> Result<(T, &'a str), Wrong> {
        self.skip();
        let rest = self.rest();
        let mut values = Deserializer::from_str(rest).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => {
                let bytes = values.byte_offset();
                self.at += bytes;
                Ok((value, &rest[..bytes]))
            }
            Some(Err(error)) => Err(Wrong {
                at: self.at,
                what: What::Json(error),
            }),
            None => Err(self.wanted("a value")),
        }
    }

    fn end(&mut self) -> Result<(), Wrong> {
        self.skip();
        match self.rest().is_empty() {
            true => Ok(()),
            false => Err(self.wanted("the end")),
        }
    }
}

/// The text of a JSON value, without what is around it.
pub(super) fn value(text: &str) -> Result<&str, Wrong> {
    let mut cursor = Cursor { text, at: 0 };
    let (_, value) = cursor.value::<IgnoredAny>()?;
    cursor.end()?;
    Ok(value)
}

/// The keys of a JSON object and the texts of their values, in their order; a key that is there twice
/// has the last of them, as other programs read it.
pub(super) fn object(text: &str) -> Result<Vec<(String, &str)>, Wrong> {
    let mut cursor = Cursor { text, at: 0 };
    let mut found: Vec<(String, &str)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    cursor.need('{', "`{`")?;
    if !cursor.sign('}') {
        loop {
            let (key, _) = cursor.value::<String>()?;
            cursor.need(':', "`:`")?;
            let (_, value) = cursor.value::<IgnoredAny>()?;
            match places.get(&key) {
                Some(place) => found[*place] = (key, value),
                None => {
                    places.insert(key.clone(), found.len());
                    found.push((key, value));
                }
            }
            if cursor.sign('}') {
                break;
            }
            cursor.need(',', "`,` or `}`")?;
        }
    }
    cursor.end()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text() {
        let text = " {\"a\" : 0.15838287025480557,\n\"b\":12345678901234567890123 , \"c\": {\"x\": 1, \"x\":  2},\"d\":1e400,\"e\\n\":[ \"}\" ],\"a2\":true, \"f\": null} ";
        let found = object(text).unwrap();
        let wanted = [
            ("a", "0.15838287025480557"),
            ("b", "12345678901234567890123"),
            ("c", "{\"x\": 1, \"x\":  2}"),
            ("d", "1e400"),
            ("e\n", "[ \"}\" ]"),
            ("a2", "true"),
            ("f", "null"),
        ];
        let found: Vec<(&str, &str)> = found.iter().map(|(key, it)| (key.as_str(), *it)).collect();
        assert_eq!(found, wanted);
        assert_eq!(object("{}").unwrap(), []);
        assert_eq!(object("{\"a\":1,\"b\":2,\"a\":3}").unwrap()[0].1, "3");
        assert_eq!(value(" -1.50 \n").unwrap(), "-1.50");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, words) in [
            ("[1]", "`{` is missing at byte 0"),
            ("", "`{` is missing at byte 0"),
            ("{", "a value is missing at byte 1"),
            ("{\"a\" 1}", "`:` is missing at byte 5"),
            ("{\"a\":1 \"b\":2}", "`,` or `}` is missing at byte 7"),
            ("{\"a\":1,}", "at byte 7"),
            ("{1:1}", "at byte 1"),
            ("{\"a\":01}", "at byte 5"),
            ("{\"a\":nul}", "at byte 5"),
            ("{} {}", "the end is missing at byte 3"),
        ] {
            let said = object(text).unwrap_err().to_string();
            assert!(said.contains(words), "{text}: {said}");
        }
        for text in ["", "1 2", "\"a", "[1,]", "NaN", "'a'", "{a: 1}"] {
            assert!(value(text).is_err(), "{text}");
        }
    }
}
