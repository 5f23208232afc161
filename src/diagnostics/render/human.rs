//! The form that people read: the text itself, with each place underlined, drawn by miette.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceSpan};
use miette::{MietteError, MietteSpanContents, SourceCode, SpanContents};

use super::in_order;
use crate::diagnostics::sources::{SourceFile, Sources};
use crate::diagnostics::{Diagnostic, Severity};
use crate::model::limits::source::FAULTS_MAX;
use crate::source::path::FileId;
use crate::source::span::Span;

/// A line longer than this is not drawn: its place is said in words.
const DRAWN_LINE_BYTES_MAX: usize = 1_000;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Whether colours may be used.
    pub color: bool,
    /// Whether box-drawing characters may be used.
    pub unicode: bool,
}

impl Look {
    /// What every pipe and file can show.
    pub const PLAIN: Self = Self {
        width: 100,
        color: false,
        unicode: false,
    };

    fn theme(self) -> GraphicalTheme {
        match (self.unicode, self.color) {
            (true, true) => GraphicalTheme::unicode(),
            (true, false) => GraphicalTheme::unicode_nocolor(),
            (false, true) => GraphicalTheme::ascii(),
            (false, false) => GraphicalTheme::none(),
        }
    }
}

/// Every diagnostic, drawn; the ones over the limit are counted.
pub fn human(diagnostics: &[Diagnostic], sources: &Sources, look: Look) -> String {
    let handler = GraphicalReportHandler::new_themed(look.theme())
        .with_width(look.width.max(40))
        .with_links(false)
        .with_context_lines(1);
    let ordered = in_order(diagnostics.to_vec(), sources);
    let mut text = String::new();
    for diagnostic in ordered.iter().take(FAULTS_MAX) {
        let drawing = Drawing::of(diagnostic, sources);
        if handler.render_report(&mut text, &drawing).is_err() {
            text.push_str(&drawing.message);
            text.push('\n');
        }
        text.push('\n');
    }
    let more = ordered.len().saturating_sub(FAULTS_MAX);
    if more > 0 {
        text.push_str(&format!("... and {more} more\n"));
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned() + "\n"
}

/// A file's text and name; miette counts a place's column in bytes, people count characters.
struct NamedText {
    name: String,
    text: String,
}

impl SourceCode for NamedText {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let read = self.text.read_span(span, lines_before, lines_after)?;
        let before = self.text.get(..read.span().offset()).unwrap_or_default();
        let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            read.data(),
            *read.span(),
            read.line(),
            line.chars().count(),
            read.line_count(),
        )))
    }
}

/// A diagnostic in miette's form: the marks of one file; those of others are related drawings.
struct Drawing {
    code: Option<&'static str>,
    severity: miette::Severity,
    message: String,
    help: Option<String>,
    source: Option<NamedText>,
    labels: Vec<LabeledSpan>,
    related: Vec<Drawing>,
}

impl Drawing {
    fn of(diagnostic: &Diagnostic, sources: &Sources) -> Self {
        let mut drawing = Self {
            code: Some(diagnostic.code),
            severity: match diagnostic.severity {
                Severity::Error => miette::Severity::Error,
                Severity::Warning => miette::Severity::Warning,
                Severity::Hint => miette::Severity::Advice,
            },
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            source: None,
            labels: Vec::new(),
            related: Vec::new(),
        };
        let mut own: Option<FileId> = None;
        for mark in &diagnostic.marks {
            let (id, span) = sources.locate(&mark.at);
            let file = sources.file(id);
            if !is_drawable(file, span) {
                drawing.say(file, span, &mark.label);
            } else if own.is_none_or(|own| own == id) {
                own = Some(id);
                drawing.draw(file, span, &mark.label);
            } else {
                let mut other = Self::elsewhere(&mark.label);
                other.draw(file, span, "here");
                drawing.related.push(other);
            }
        }
        drawing
    }

    fn elsewhere(label: &str) -> Self {
        Self {
            code: None,
            severity: miette::Severity::Advice,
            message: label.to_owned(),
            help: None,
            source: None,
            labels: Vec::new(),
            related: Vec::new(),
        }
    }

    fn draw(&mut self, file: &SourceFile, span: Span, label: &str) {
        if self.source.is_none() {
            self.source = Some(NamedText {
                name: file.name.clone(),
                text: file.text.clone(),
            });
        }
        let span = SourceSpan::from((span.start, first_line(&file.text, span)));
        let label = (!label.is_empty()).then(|| label.to_owned());
        // The heading names the place of the first mark, wherever the others stand.
        self.labels.push(match self.labels.is_empty() {
            true => LabeledSpan::new_primary_with_span(label, span),
            false => LabeledSpan::new_with_span(label, span),
        });
    }

    fn say(&mut self, file: &SourceFile, span: Span, label: &str) {
        let at = file.position(span.start);
        let place = format!("{}:{}:{}", file.name, at.line, at.column);
        let separator = if label.is_empty() { "" } else { ": " };
        self.message += &format!("\n{place}{separator}{label}");
    }
}

/// How many bytes of a span stand on its first line: a block's mark is where it begins.
fn first_line(text: &str, span: Span) -> usize {
    let marked = text.get(span.start..span.end).unwrap_or_default();
    marked.lines().next().unwrap_or_default().len()
}

/// Whether the line of a place is fit to be shown whole.
fn is_drawable(file: &SourceFile, span: Span) -> bool {
    let text = &file.text;
    let Some((before, behind)) = text.split_at_checked(span.start) else {
        return false;
    };
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let length = behind.find('\n').unwrap_or(behind.len()) + before.len() - start;
    !text.trim().is_empty() && length <= DRAWN_LINE_BYTES_MAX
}

impl fmt::Debug for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawing {}

impl miette::Diagnostic for Drawing {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code
            .map(|code| Box::new(code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        let source = self.source.as_ref()?;
        Some(source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        (!self.related.is_empty()).then(|| {
            let drawings = self.related.iter().map(|d| d as &dyn miette::Diagnostic);
            Box::new(drawings) as Box<dyn Iterator<Item = &dyn miette::Diagnostic>>
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::At;

    fn at(file: FileId, text: &str, needle: &str) -> At {
        let start = text.find(needle).unwrap();
        let end = start + needle.len();
        At::Span(file, Span { start, end })
    }

    #[test]
    fn marks_are_drawn_in_one_file_and_across_files() {
        let (first, second) = ("größe: {a: 7000}\nnodes:\n  bravo: 1\n", "port: 7000\n");
        let mut sources = Sources::new();
        let a = sources.add(SourceFile::new("a.yaml", first));
        let b = sources.add(SourceFile::new("b.yaml", second));
        let diagnostic = Diagnostic::error("ZN0501", "port `7000` is taken twice")
            .mark(at(a, first, "7000"), "again here")
            .mark(at(a, first, "größe"), "first here")
            .mark(at(b, second, "7000"), "and in another file")
            .help("write another port");
        let text = human(std::slice::from_ref(&diagnostic), &sources, Look::PLAIN);
        for part in [
            "ZN0501",
            "a.yaml",
            "again here",
            "first here",
            "a.yaml:1:12",
            "b.yaml:1:7",
            "help: write",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.is_ascii() || !text.contains('╭'), "{text}");
        for width in [1, 20, 40] {
            let look = Look {
                width,
                color: true,
                unicode: true,
            };
            assert!(human(std::slice::from_ref(&diagnostic), &sources, look).contains("again"));
        }
    }

    #[test]
    fn endless_lines_and_empty_files_are_said_in_words() {
        let text = format!("{{\"a\": \"{}\", \"b\": 1}}", "x".repeat(5_000));
        let mut sources = Sources::new();
        let file = sources.add(SourceFile::new("long.json", &text));
        let empty = sources.add(SourceFile::new("empty.yaml", ""));
        let long = Diagnostic::error("ZN0201", "bad").mark(at(file, &text, "\"b\""), "this");
        let none = Diagnostic::error("ZN0104", "empty").mark(At::Span(empty, Span::default()), "");
        let drawn = human(&[long, none], &sources, Look::PLAIN);
        assert!(drawn.len() < 600, "{drawn}");
        assert!(drawn.contains("long.json:1:5011: this"), "{drawn}");
        assert!(drawn.contains("empty.yaml:1:1"), "{drawn}");
    }

    #[test]
    fn faults_over_the_limit_are_counted() {
        let mut sources = Sources::new();
        let file = sources.add(SourceFile::new("a.yaml", "abc\n".repeat(200)));
        let all: Vec<Diagnostic> = (0..FAULTS_MAX + 5)
            .map(|n| {
                let span = Span {
                    start: n * 4,
                    end: n * 4 + 3,
                };
                Diagnostic::error("ZN0201", "bad").mark(At::Span(file, span), "x")
            })
            .collect();
        let text = human(&all, &sources, Look::PLAIN);
        assert!(
            text.ends_with("... and 5 more\n"),
            "{}",
            &text[text.len() - 99..]
        );
    }
}
