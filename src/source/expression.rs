//! `${...}` inside a text: where an expression begins and ends, and nothing about what it means.
//!
//! `$$` is one `$`; a `$` before anything but `$` and `{` stands for itself.

/// One piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// `$$`, which means `$`.
    Dollar,
    /// The inside of `${...}`, such as `workers`, `env.HOME` or `link.tasks.endpoint`.
    Expression(&'a str),
}

/// A `${` that is not followed by a name and `}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadExpression {
    /// Its offset in the text.
    pub at: usize,
}

/// Whether the text is one expression and nothing else.
pub fn is_alone(text: &str) -> Option<&str> {
    match pieces(text).ok()?.as_slice() {
        [Piece::Expression(name)] => Some(name),
        _ => None,
    }
}

/// The pieces of a text, in order.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BadExpression> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let offset = text.len() - rest.len() + at;
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let behind = &rest[at + 1..];
        rest = if let Some(behind) = behind.strip_prefix('$') {
            pieces.push(Piece::Dollar);
            behind
        } else if let Some(inside) = behind.strip_prefix('{') {
            let end = inside.find('}').ok_or(BadExpression { at: offset })?;
            let name = inside[..end].trim();
            if !is_dotted_name(name) {
                return Err(BadExpression { at: offset });
            }
            pieces.push(Piece::Expression(name));
            &inside[end + 1..]
        } else {
            pieces.push(Piece::Text(&rest[at..=at]));
            behind
        };
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn is_dotted_name(name: &str) -> bool {
    name.split('.').all(|part| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_into_pieces() {
        assert_eq!(
            pieces("a${b}$$ $5 ${env.C}").unwrap(),
            [
                Piece::Text("a"),
                Piece::Expression("b"),
                Piece::Dollar,
                Piece::Text(" "),
                Piece::Text("$"),
                Piece::Text("5 "),
                Piece::Expression("env.C"),
            ]
        );
        assert_eq!(pieces("").unwrap(), []);
        assert_eq!(is_alone("${a}"), Some("a"));
        assert_eq!(is_alone("${a}b"), None);
    }

    #[test]
    fn unfinished_and_empty_expressions_are_bad() {
        assert_eq!(pieces("ab${c"), Err(BadExpression { at: 2 }));
        for bad in ["${}", "${a b}", "${a.}", "${ä}"] {
            assert_eq!(pieces(bad), Err(BadExpression { at: 0 }), "{bad}");
        }
    }
}
