//! The faults of a text, in words.

use super::codes;
use super::{At, Diagnostic};
use crate::model::limits::source::{DEPTH_MAX, FILE_BYTES_MAX, VALUES_MAX};
use crate::source::fault::{Fault, FaultKind};
use crate::source::path::FileId;

/// A fault of a file's text as a diagnostic.
pub fn of_fault(file: FileId, fault: &Fault) -> Diagnostic {
    let (diagnostic, label) = words(&fault.kind);
    let diagnostic = diagnostic.mark(At::Span(file, fault.span), label);
    match fault.other {
        Some(other) => diagnostic.mark(At::Span(file, other), "it stands here first"),
        None => diagnostic,
    }
}

fn words(kind: &FaultKind) -> (Diagnostic, &'static str) {
    match kind {
        FaultKind::TooLarge
        | FaultKind::NotUtf8 { .. }
        | FaultKind::Binary { .. }
        | FaultKind::Empty
        | FaultKind::SeveralDocuments => of_file(kind),
        FaultKind::Syntax { info } => syntax(info),
        FaultKind::UnquotedVariable { text } => (
            Diagnostic::error(
                codes::UNQUOTED_VARIABLE,
                format!("`{text}` needs quotes inside `[ ]` and `{{ }}`"),
            )
            .help(format!("write \"{text}\"")),
            "YAML reads a mapping here",
        ),
        FaultKind::DuplicateKey { key } => (
            Diagnostic::error(
                codes::DUPLICATE_KEY,
                format!("the key `{key}` stands twice"),
            )
            .help("rename or remove one of them"),
            "here again",
        ),
        FaultKind::KeyNotText => (
            Diagnostic::error(codes::KEY_NOT_TEXT, "a key must be a text")
                .help("is there a `{` or `[` too much?"),
            "this is no key",
        ),
        FaultKind::TooDeep => (
            Diagnostic::error(
                codes::TOO_MUCH,
                format!("nested more than {DEPTH_MAX} deep"),
            ),
            "too deep from here",
        ),
        FaultKind::TooManyValues => (
            Diagnostic::error(
                codes::TOO_MUCH,
                format!("more than {VALUES_MAX} values once aliases are resolved"),
            ),
            "one too many here",
        ),
        FaultKind::RecursiveAlias => (
            Diagnostic::error(codes::BAD_ALIAS, "an alias inside the value it stands for"),
            "this would never end",
        ),
        FaultKind::MergeNotMapping => (
            Diagnostic::error(
                codes::BAD_ALIAS,
                "`<<` takes a mapping or a list of mappings",
            ),
            "neither of them",
        ),
        FaultKind::Tag { tag } => (
            Diagnostic::error(codes::TAG, format!("the tag `{tag}` means nothing here"))
                .help("remove it, or quote a text that begins with `!`"),
            "a YAML tag",
        ),
    }
}

fn of_file(kind: &FaultKind) -> (Diagnostic, &'static str) {
    match kind {
        FaultKind::TooLarge => (
            Diagnostic::error(
                codes::TOO_LARGE,
                format!(
                    "the file is larger than the {} MiB of a manifest",
                    FILE_BYTES_MAX >> 20
                ),
            )
            .help("`replicas`, `include` and anchors say the same in less"),
            "",
        ),
        FaultKind::NotUtf8 { offset } => (
            Diagnostic::error(
                codes::NOT_UTF8,
                format!("the file is not UTF-8: byte {offset} is no character"),
            )
            .help("convert it: iconv -f latin1 -t utf8 FILE"),
            "text ends here",
        ),
        FaultKind::Binary { character } => (
            Diagnostic::error(
                codes::BINARY,
                format!(
                    "the file is not text: it holds the control character U+{:04X}",
                    u32::from(*character)
                ),
            ),
            "text ends here",
        ),
        FaultKind::SeveralDocuments => (
            Diagnostic::error(codes::SEVERAL_DOCUMENTS, "more than one YAML document")
                .help("put it into a file of its own and `include` that"),
            "a second document",
        ),
        _ => (
            Diagnostic::error(codes::EMPTY, "the file holds nothing")
                .help("`zmqnet init` writes a manifest that works"),
            "",
        ),
    }
}

/// The parser's words, and what usually causes them.
fn syntax(info: &str) -> (Diagnostic, &'static str) {
    let help = [
        ("tab", "indent with spaces"),
        (
            "mapping values are not allowed",
            "quote a text that holds `: `, or check the indentation of this line",
        ),
        (
            "flow",
            "close the bracket: `}` or `]`, or put a `,` between two items",
        ),
        ("quoted scalar", "end the text with the quote it began with"),
        (
            "unknown anchor",
            "write `&name` at the value before `*name` is used",
        ),
        (
            "unexpected character",
            "quote a text that begins with this character",
        ),
    ]
    .into_iter()
    .find(|(words, _)| info.contains(words))
    .map(|(_, help)| help);
    let mut diagnostic = Diagnostic::error(codes::SYNTAX, format!("this is not YAML: {info}"));
    diagnostic.help = help.map(str::to_owned);
    (diagnostic, "here")
}
