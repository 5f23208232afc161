//! Signals by name: what a manifest's `stop.signal` may be, and what a status is printed with.

use rustix::process::Signal;

/// Every signal that may be sent by name, without `SIG`.
const SIGNALS: [(&str, Signal); 16] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("ABRT", Signal::ABORT),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("SEGV", Signal::SEGV),
    ("BUS", Signal::BUS),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
];

/// The signal of a name, `SIG` before it or not.
pub fn signal_of(name: &str) -> Option<Signal> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, signal)| *signal)
}

/// The name of a signal's number, without `SIG`.
pub fn signal_name(number: i32) -> Option<&'static str> {
    SIGNALS
        .iter()
        .find(|(_, signal)| signal.as_raw() == number)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (name, signal) in SIGNALS {
            assert_eq!(signal_of(name), Some(signal));
            assert_eq!(signal_name(signal.as_raw()), Some(name));
        }
        assert_eq!(signal_of("SIGTERM"), Some(Signal::TERM));
        assert_eq!((signal_of("TERMINATE"), signal_name(0)), (None, None));
    }
}
