//! What a pattern cannot say of a quantity: that a range does not run backwards, that a number fits.

use serde_json::Value;

use crate::model::quantity::{CountRange, Duration, DurationRange, Percent, PortRange, Rate, Size};
use crate::source::tree::Item;

type Reads = fn(&str) -> bool;

fn reads<T: std::str::FromStr>(text: &str) -> bool {
    text.parse::<T>().is_ok()
}

const QUANTITIES: [(&str, Reads); 7] = [
    (Duration::EXPECTED, reads::<Duration>),
    (Size::EXPECTED, reads::<Size>),
    (Percent::EXPECTED, reads::<Percent>),
    (CountRange::EXPECTED, reads::<CountRange>),
    (PortRange::EXPECTED, reads::<PortRange>),
    (DurationRange::EXPECTED, reads::<DurationRange>),
    (Rate::EXPECTED, reads::<Rate>),
];

/// Whether a text that matches the pattern of a schema is also a value.
pub(super) fn is_valid(schema: &Value, text: &str) -> bool {
    let Some(expected) = schema["x-expected"].as_str() else {
        return true;
    };
    // A choice names its quantities one after the other; one that reads the text is enough.
    let mut own = QUANTITIES
        .iter()
        .filter(|(words, _)| expected.contains(words))
        .peekable();
    own.peek().is_none() || own.any(|(_, reads)| reads(text))
}

/// Whether it is a duration of nothing where one must be longer.
pub(super) fn is_no_time(schema: &Value, item: &Item) -> bool {
    let is_nothing = |text: &str| {
        text.parse::<Duration>()
            .is_ok_and(|duration| duration.as_std().is_zero())
    };
    let pattern = schema["pattern"].as_str();
    pattern.is_some_and(|pattern| pattern.contains(Duration::POSITIVE_PATTERN))
        && schema["x-expected"] == Duration::EXPECTED
        && item.as_text().is_some_and(is_nothing)
}

/// Why a text of the right form is no value.
pub(super) fn why(schema: &Value, text: &str) -> Option<String> {
    let expected = schema["x-expected"].as_str()?;
    let is_end = match expected {
        DurationRange::EXPECTED => reads::<Duration>,
        CountRange::EXPECTED | PortRange::EXPECTED => reads::<u64>,
        _ => return None,
    };
    let (low, high) = text.split_once("..")?;
    (is_end(low) && is_end(high))
        .then(|| "the smaller end comes first, and both ends are in bounds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_range_runs_forwards_and_a_choice_takes_either() {
        let range = json!({"x-expected": CountRange::EXPECTED});
        assert!(is_valid(&range, "2..8") && !is_valid(&range, "8..2"));
        let retain =
            json!({"x-expected": format!("{}, or {}", Duration::EXPECTED, Size::EXPECTED)});
        assert!(is_valid(&retain, "7d") && is_valid(&retain, "1GiB") && !is_valid(&retain, "7x"));
    }
}
