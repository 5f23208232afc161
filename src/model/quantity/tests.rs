//! What the parsers of quantities take and refuse, and that their patterns do the same.

use super::*;

fn nanos(text: &str) -> Option<u128> {
    text.parse::<Duration>().ok().map(|d| d.as_std().as_nanos())
}

#[test]
fn durations_are_go_durations_and_days() {
    assert_eq!(nanos("500ms"), Some(500_000_000));
    assert_eq!(nanos("1m30s"), Some(90_000_000_000));
    assert_eq!(nanos("1.5h"), Some(5_400_000_000_000));
    assert_eq!(nanos("0.25s"), Some(250_000_000));
    assert_eq!(nanos("7d"), Some(604_800_000_000_000));
    assert_eq!(nanos("0"), Some(0));
    for bad in [
        "",
        "5",
        "s",
        "5x",
        "-1s",
        "1.s",
        "1..2s",
        "2 s",
        "banana",
        "99999999999d",
    ] {
        assert_eq!(nanos(bad), None, "{bad}");
    }
}

#[test]
fn quantities_print_as_they_are_read() {
    for text in ["500ms", "2s", "1m", "7d", "90s"] {
        assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
    }
    assert_eq!(
        "200ms..30s".parse::<DurationRange>().unwrap().to_string(),
        "200ms..30s"
    );
    assert_eq!(
        "7000..7999".parse::<PortRange>().unwrap().to_string(),
        "7000..7999"
    );
    assert_eq!("5/1m".parse::<Rate>().unwrap().to_string(), "5/1m");
    assert_eq!("10MiB".parse::<Size>().unwrap(), Size(10 << 20));
    assert_eq!("1KB".parse::<Size>().unwrap().to_string(), "1000B");
    assert_eq!("25%".parse::<Percent>().unwrap(), Percent(25.0));
}

#[test]
fn what_fits_in_no_number_is_refused_by_the_pattern_too() {
    let is_match = |pattern: &str, text: &str| regex::Regex::new(pattern).unwrap().is_match(text);
    for text in [
        "99999d",
        "999999h",
        "99999999m",
        "9999999999s",
        "9999999999999ms",
        "9999999999999999us",
        "9999999999999999999ns",
        "007d",
        "0",
        "0s",
        "1m30s",
        "0.25s",
    ] {
        assert!(
            is_match(Duration::PATTERN, text) && nanos(text).is_some(),
            "{text}"
        );
    }
    for text in [
        "9999999999999999999B",
        "9999999999999999KiB",
        "9999999999999MiB",
        "9999999999GiB",
        "9999999TiB",
        "0B",
        "0064KiB",
    ] {
        assert!(
            is_match(Size::PATTERN, text) && text.parse::<Size>().is_ok(),
            "{text}"
        );
    }
    let no_duration = "999999999999999999999d";
    assert!(!is_match(Duration::PATTERN, no_duration) && nanos(no_duration).is_none());
    let no_size = "99999999999999999999GiB";
    assert!(!is_match(Size::PATTERN, no_size) && no_size.parse::<Size>().is_err());
    for (text, is_range) in [
        ("1..65535", true),
        ("65535..65536", false),
        ("7000..9", true),
    ] {
        assert_eq!(is_match(PortRange::PATTERN, text), is_range, "{text}");
    }
}

#[test]
fn a_positive_duration_has_a_digit_that_is_none_of_nothing() {
    let pattern = regex::Regex::new(Duration::POSITIVE_PATTERN).unwrap();
    let rate = regex::Regex::new(Rate::PATTERN).unwrap();
    for text in [
        "1s", "10ms", "0.5s", "0h1s", "1s0ms", "00.05m", "020s", "100d",
    ] {
        assert!(pattern.is_match(text) && nanos(text) > Some(0), "{text}");
        assert!(rate.is_match(&format!("5/{text}")), "{text}");
    }
    for text in ["0", "0s", "00ms", "0.0s", "0h0s"] {
        assert!(!pattern.is_match(text) && nanos(text) == Some(0), "{text}");
        assert!(!rate.is_match(&format!("5/{text}")), "{text}");
    }
    for text in ["", "s", "5", "1.s", "1..2s"] {
        assert!(!pattern.is_match(text), "{text}");
    }
}

#[test]
fn ranges_never_run_backwards() {
    assert!("8..2".parse::<CountRange>().is_err());
    assert!("2..2".parse::<CountRange>().is_ok());
    assert!("0..5".parse::<PortRange>().is_err());
    assert!("30s..200ms".parse::<DurationRange>().is_err());
    assert!("5/0s".parse::<Rate>().is_err());
    assert!("101%".parse::<Percent>().is_err());
}
