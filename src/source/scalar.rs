//! What a plain scalar is, by the core schema of YAML 1.2: `yes` and `on` are texts.

use serde_json::Number;

use super::tree::Content;

/// Reads a scalar that stands without quotes.
pub fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Content::Text(text.to_owned()), Content::Number)
}

/// A number of the core schema. Infinity and not-a-number have no JSON form, so they stay texts.
fn number(text: &str) -> Option<Number> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Number::from);
    let is_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(digits) = text.strip_prefix("0x").filter(|d| is_digits(d)) {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|d| is_digits(d)) {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let positive = text.strip_prefix('+').unwrap_or(text);
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let whole = positive.parse::<i64>().map(Number::from);
        let whole = whole.or_else(|_| positive.parse::<u64>().map(Number::from));
        return whole.ok().or_else(|| float(positive));
    }
    let is_float = unsigned
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    (is_float && unsigned.bytes().any(|b| b.is_ascii_digit())).then(|| float(positive))?
}

fn float(text: &str) -> Option<Number> {
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

/// The whole number that a number with a fraction of nothing is, such as `3.0` or `7e3`, as far as each
/// number in between has a form of its own.
pub fn whole(number: &Number) -> Option<Number> {
    const LAST: f64 = 9_007_199_254_740_991.0;
    let value = number.as_f64().filter(|_| number.is_f64())?;
    (value.fract() == 0.0 && value.abs() <= LAST).then(|| Number::from(value as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_nothing_is_a_whole_number() {
        let of = |text: &str| match plain(text) {
            Content::Number(number) => whole(&number),
            other => panic!("{other:?}"),
        };
        assert_eq!(of("3.0"), Some(3.into()));
        assert_eq!(of("7e3"), Some(7000.into()));
        assert_eq!(of("-0.0"), Some(0.into()));
        for other in ["3.5", "3", "1e300"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        for text in [
            "yes", "on", "off", "1.2.3", "5s", "0x", "1..8", "-", ".inf", "1e", "12:30",
        ] {
            assert_eq!(plain(text), Content::Text(text.into()), "{text}");
        }
        let whole = |n: i64| Content::Number(n.into());
        assert_eq!(plain("010"), whole(10));
        assert_eq!(plain("-3"), whole(-3));
        assert_eq!(plain("+3"), whole(3));
        assert_eq!(plain("0x1F"), whole(31));
        assert_eq!(plain("0o17"), whole(15));
        let float = |n: f64| Content::Number(Number::from_f64(n).unwrap());
        assert_eq!(plain("1.5e3"), float(1500.0));
        assert_eq!(plain(".5"), float(0.5));
        assert_eq!(plain("~"), Content::Null);
        assert_eq!(plain("True"), Content::Bool(true));
        assert_eq!(
            plain("18446744073709551615"),
            Content::Number(u64::MAX.into())
        );
        assert!(matches!(plain("99999999999999999999"), Content::Number(_)));
    }
}
