//! Diagnostics for people and for machines, in the order of their places.

mod human;
mod json;

pub use human::{Look, human};
pub use json::{Report, Row, rows};

use super::sources::Sources;
use super::{Diagnostic, Severity};

/// Sorts by place and drops what is said twice: an anchor's fault shows at each of its aliases.
pub fn in_order(mut diagnostics: Vec<Diagnostic>, sources: &Sources) -> Vec<Diagnostic> {
    diagnostics.sort_by_cached_key(|d| {
        let place = d.marks.first().map(|mark| sources.locate(&mark.at));
        (place, d.code, d.message.clone())
    });
    diagnostics.dedup_by(|b, a| {
        let place = |d: &Diagnostic| d.marks.first().map(|mark| sources.locate(&mark.at));
        a.code == b.code && a.message == b.message && place(a) == place(b)
    });
    diagnostics
}

/// `2 errors, 1 warning`; nothing without errors and warnings.
pub fn summary(diagnostics: &[Diagnostic]) -> Option<String> {
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|d| d.severity == severity)
            .count()
    };
    let words: Vec<String> = [(Severity::Error, "error"), (Severity::Warning, "warning")]
        .into_iter()
        .map(|(severity, word)| (count(severity), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}
