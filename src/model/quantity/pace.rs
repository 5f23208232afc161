//! How far apart what is replayed comes: as it did, nearer, or without a rest.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::QuantityError;

/// How far apart what is replayed comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As soon as the one before is there.
    Fast,
    /// As far apart as it was, divided by so many thousandths.
    Thousandths(u64),
}

impl Pace {
    /// As far apart as it was.
    pub const ORIGINAL: Self = Self::Thousandths(1_000);

    /// How long after the first of a replay another comes, by their own times in nanoseconds.
    pub fn after(self, first_ns: u64, time_ns: u64) -> Duration {
        match self {
            Self::Fast => Duration::ZERO,
            Self::Thousandths(factor) => {
                let apart = u128::from(time_ns.saturating_sub(first_ns)) * 1_000;
                let apart = apart / u128::from(factor.max(1));
                Duration::from_nanos(u64::try_from(apart).unwrap_or(u64::MAX))
            }
        }
    }
}

impl FromStr for Pace {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let factor = |text: &str| {
            let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
            let is_number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
            if !is_number(whole) || !is_number(part) || part.len() > 3 {
                return None;
            }
            let whole: u64 = whole.parse().ok()?;
            let part: u64 = format!("{part:0<3}").parse().ok()?;
            whole.checked_mul(1_000)?.checked_add(part)
        };
        let pace = match text {
            "fast" => Some(Self::Fast),
            "original" => Some(Self::ORIGINAL),
            text => text
                .strip_suffix('x')
                .and_then(factor)
                .map(Self::Thousandths),
        };
        let pace = pace.filter(|it| *it != Self::Thousandths(0));
        pace.ok_or(QuantityError {
            expected: Self::EXPECTED,
        })
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fast => f.write_str("fast"),
            Self::ORIGINAL => f.write_str("original"),
            Self::Thousandths(factor) => match factor % 1_000 {
                0 => write!(f, "{}x", factor / 1_000),
                part => write!(f, "{}.{part:03}x", factor / 1_000),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_word_or_a_factor() {
        assert_eq!("fast".parse(), Ok(Pace::Fast));
        assert_eq!("original".parse(), Ok(Pace::ORIGINAL));
        assert_eq!("2.5x".parse(), Ok(Pace::Thousandths(2_500)));
        for text in ["fast", "original", "10x", "0.250x"] {
            assert_eq!(text.parse::<Pace>().unwrap().to_string(), text);
        }
        for wrong in [
            "0x", "0.000x", "-1x", "x", "10", "1.x", "1.2345x", "NaNx", "infx", "",
        ] {
            assert!(wrong.parse::<Pace>().is_err(), "{wrong}");
        }
        let second = 1_000_000_000;
        let after = |text: &str| text.parse::<Pace>().unwrap().after(second, 3 * second);
        assert_eq!(after("fast"), Duration::ZERO);
        assert_eq!(after("original"), Duration::from_secs(2));
        assert_eq!(after("10x"), Duration::from_millis(200));
        // A clock that was set back between two events makes no rest.
        assert_eq!(Pace::ORIGINAL.after(second, 0), Duration::ZERO);
    }
}
