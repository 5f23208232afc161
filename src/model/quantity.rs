//! Durations, sizes, ranges, rates and percentages: how they are written, read and printed.
//!
//! Each type has one text form, one pattern (what editors check) and one parser (what `check`
//! trusts); a test holds the two together.

mod pace;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no quantity: what was expected instead, with an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantityError {
    /// What belongs here, such as ``a duration such as `500ms` ``.
    pub expected: &'static str,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl std::error::Error for QuantityError {}

/// A length of time: `500ms`, `2s`, `1m30s`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(StdDuration);

/// An amount of bytes: `1000B`, `1KB` (1,000), `1KiB` (1,024), `10MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// A share: `25%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

/// A range of counts, both ends included: `2..8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CountRange {
    /// The smallest count.
    pub min: u32,
    /// The largest count.
    pub max: u32,
}

/// A range of TCP ports, both ends included: `7000..7999`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// A range of durations: `200ms..30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DurationRange {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// A count in a period: `5/1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How often.
    pub count: u32,
    /// In how long.
    pub period: Duration,
}

pub use pace::Pace;

const DURATION_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl Duration {
    /// A duration of whole milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(StdDuration::from_millis(ms))
    }

    /// The duration as the standard library's.
    pub const fn as_std(self) -> StdDuration {
        self.0
    }

    /// Whole milliseconds, rounded down.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<StdDuration> for Duration {
    fn from(std: StdDuration) -> Self {
        Self(std)
    }
}

/// Reads `number unit` pairs such as `1m30s` or `1.5h` into nanoseconds, as Go does, plus days.
fn parse_duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let (unit, scale) = DURATION_UNITS.iter().find(|(unit, _)| {
            tail.strip_prefix(unit)
                .is_some_and(|t| t.is_empty() || t.starts_with(|c: char| c.is_ascii_digit()))
        })?;
        nanos = nanos.checked_add(scaled(number, *scale)?)?;
        rest = &tail[unit.len()..];
    }
    (!text.is_empty()).then_some(nanos)
}

/// `number x scale`, where `number` may have a fraction, exactly as far as the scale allows.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let value = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let digits = &fraction[..fraction.len().min(18)];
    let places = u32::try_from(digits.len()).ok()?;
    let parts = if digits.is_empty() {
        0
    } else {
        digits.parse::<u128>().ok()?
    };
    value.checked_add(u64::try_from(parts * u128::from(scale) / 10_u128.pow(places)).ok()?)
}

impl FromStr for Duration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_duration(text)
            .map(|nanos| Self(StdDuration::from_nanos(nanos)))
            .ok_or(QuantityError {
                expected: Self::EXPECTED,
            })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        let (unit, scale) = [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
        ]
        .into_iter()
        .find(|(_, scale)| nanos >= *scale && nanos.is_multiple_of(*scale))
        .unwrap_or(if nanos == 0 { ("s", 1) } else { ("ns", 1) });
        write!(f, "{}{unit}", nanos / scale)
    }
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        SIZE_UNITS
            .iter()
            .find_map(|(unit, scale)| {
                let number = text.strip_suffix(unit)?;
                number.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
                number.parse::<u64>().ok()?.checked_mul(*scale)
            })
            .map(Self)
            .ok_or(QuantityError {
                expected: Self::EXPECTED,
            })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scale) = [
            ("TiB", 1_u64 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ]
        .into_iter()
        .find(|(_, scale)| self.0 >= *scale && self.0.is_multiple_of(*scale))
        .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

impl FromStr for Percent {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        text.strip_suffix('%')
            .filter(|number| number.starts_with(|c: char| c.is_ascii_digit()))
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|share| (0.0..=100.0).contains(share))
            .map(Self)
            .ok_or(QuantityError {
                expected: Self::EXPECTED,
            })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Reads `a..b` with `read` for each end and refuses a range that runs backwards.
fn parse_range<T: FromStr + PartialOrd>(text: &str) -> Option<(T, T)> {
    let (low, high) = text.split_once("..")?;
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some((low, high))
}

impl FromStr for CountRange {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_range(text)
            .map(|(min, max)| Self { min, max })
            .ok_or(QuantityError {
                expected: Self::EXPECTED,
            })
    }
}

impl fmt::Display for CountRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

impl FromStr for PortRange {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_range(text)
            .filter(|(first, _)| *first > 0)
            .map(|(first, last)| Self { first, last })
            .ok_or(QuantityError {
                expected: Self::EXPECTED,
            })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.last)
    }
}

impl FromStr for DurationRange {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_range(text)
            .map(|(min, max)| Self { min, max })
            .ok_or(QuantityError {
                expected: Self::EXPECTED,
            })
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

impl FromStr for Rate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        text.split_once('/')
            .and_then(|(count, period)| {
                Some((count.parse().ok()?, period.parse::<Duration>().ok()?))
            })
            .filter(|(_, period)| !period.as_std().is_zero())
            .map(|(count, period)| Self { count, period })
            .ok_or(QuantityError {
                expected: Self::EXPECTED,
            })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period)
    }
}

/// Gives each quantity its pattern, its expectation in words, its schema and its serde form.
macro_rules! quantities {
    ($($name:ident, $pattern:expr, $expected:literal;)+) => {$(
        impl $name {
            /// The pattern editors check. What has more digits than any number that fits is refused by
            /// it as by the parser.
            pub const PATTERN: &'static str = $pattern;
            /// What belongs where this quantity stands, in words.
            pub const EXPECTED: &'static str = $expected;
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "x-expected": $expected,
                })
            }
        }
    )+};
}

/// One part of a duration. Its digits are as many as always fit, whatever they are.
macro_rules! part {
    () => {
        r"0*([0-9]{1,5}(\.[0-9]+)?d|[0-9]{1,6}(\.[0-9]+)?h|[0-9]{1,8}(\.[0-9]+)?m|[0-9]{1,10}(\.[0-9]+)?s|[0-9]{1,13}(\.[0-9]+)?ms|[0-9]{1,16}(\.[0-9]+)?us|[0-9]{1,19}(\.[0-9]+)?ns)"
    };
}

/// The parts of a duration, one of which is more than nothing.
macro_rules! positive {
    () => {
        concat!(
            "(",
            part!(),
            r")*(0*([1-9][0-9]{0,4}(\.[0-9]+)?d|[1-9][0-9]{0,5}(\.[0-9]+)?h|[1-9][0-9]{0,7}(\.[0-9]+)?m|[1-9][0-9]{0,9}(\.[0-9]+)?s|[1-9][0-9]{0,12}(\.[0-9]+)?ms|[1-9][0-9]{0,15}(\.[0-9]+)?us|[1-9][0-9]{0,18}(\.[0-9]+)?ns)|0+\.0*[1-9][0-9]*(d|h|m|s|ms|us))(",
            part!(),
            ")*"
        )
    };
}

macro_rules! port {
    () => {
        "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}

impl Duration {
    /// The pattern where a duration must be longer than nothing.
    pub const POSITIVE_PATTERN: &'static str = concat!("^", positive!(), "$");
}

quantities! {
    Duration, concat!("^(0|(", part!(), ")+)$"), "a duration such as `500ms`, `2s`, `1m` or `7d`";
    Size, r"^0*([0-9]{1,19}B|[0-9]{1,16}(KB|KiB)|[0-9]{1,13}(MB|MiB)|[0-9]{1,10}(GB|GiB)|[0-9]{1,7}(TB|TiB))$", "a size such as `1000B`, `64KiB` or `10MiB`";
    Percent, r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$", "a percentage from `0%` to `100%`";
    CountRange, r"^0*[0-9]{1,9}\.\.0*[0-9]{1,9}$", "a range of counts such as `2..8`";
    PortRange, concat!("^", port!(), r"\.\.", port!(), "$"), "a range of ports such as `7000..7999`";
    DurationRange, concat!("^(0|(", part!(), r")+)\.\.(0|(", part!(), ")+)$"), "a range of durations such as `200ms..30s`";
    Pace, r"^(fast|original|[0-9]+(\.[0-9]{1,3})?x)$", "`fast`, `original`, or how many times as fast, such as `10x`";
    Rate, concat!("^0*[0-9]{1,9}/", positive!(), "$"), "a rate such as `5/1m`";
}
