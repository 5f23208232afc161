//! The form that scripts and editors read.

use serde::Serialize;

use super::in_order;
use crate::diagnostics::sources::Sources;
use crate::diagnostics::{Diagnostic, Mark, Severity};

/// What `-o json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this form.
    pub schema: u32,
    /// The diagnostics, by place.
    pub diagnostics: Vec<Row>,
}

/// One diagnostic.
#[derive(Debug, Serialize)]
pub struct Row {
    code: &'static str,
    severity: Severity,
    message: String,
    file: Option<String>,
    marks: Vec<MarkRow>,
    help: Option<String>,
}

#[derive(Debug, Serialize)]
struct MarkRow {
    /// Only where it is another file than that of the first mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    label: String,
}

impl Report {
    /// A report of rows that are in order.
    pub fn new(diagnostics: Vec<Row>) -> Self {
        Self {
            schema: 1,
            diagnostics,
        }
    }
}

/// The rows of one compilation's diagnostics, by place.
pub fn rows(diagnostics: &[Diagnostic], sources: &Sources) -> Vec<Row> {
    in_order(diagnostics.to_vec(), sources)
        .into_iter()
        .map(|diagnostic| row(diagnostic, sources))
        .collect()
}

fn row(diagnostic: Diagnostic, sources: &Sources) -> Row {
    let file_of = |mark: &Mark| sources.file(sources.locate(&mark.at).0).name.clone();
    let file = diagnostic.marks.first().map(file_of);
    let marks = diagnostic
        .marks
        .iter()
        .map(|mark| {
            let (id, span) = sources.locate(&mark.at);
            let source = sources.file(id);
            let (start, end) = (source.position(span.start), source.position(span.end));
            MarkRow {
                file: Some(source.name.clone()).filter(|name| Some(name) != file.as_ref()),
                line: start.line,
                column: start.column,
                end_line: end.line,
                end_column: end.column,
                label: mark.label.clone(),
            }
        })
        .collect();
    Row {
        code: diagnostic.code,
        severity: diagnostic.severity,
        message: diagnostic.message,
        file,
        marks,
        help: diagnostic.help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::At;
    use crate::diagnostics::sources::SourceFile;
    use crate::source::span::Span;

    #[test]
    fn rows_are_sorted_and_count_characters_from_one() {
        let mut sources = Sources::new();
        let a = sources.add(SourceFile::new("a.yaml", "ä: b\nc: d\n"));
        let b = sources.add(SourceFile::new("b.yaml", "x: y\n"));
        let at = |file, start, end| At::Span(file, Span { start, end });
        let late = Diagnostic::error("ZN0202", "late")
            .mark(at(a, 6, 7), "here")
            .mark(at(b, 0, 1), "there");
        let early = Diagnostic::warning("ZN0201", "early").mark(at(a, 4, 5), "b");
        let all = [late.clone(), early, late];
        let rows = serde_json::to_value(Report::new(rows(&all, &sources))).unwrap();
        assert_eq!(
            rows,
            serde_json::json!({"schema": 1, "diagnostics": [
                {"code": "ZN0201", "severity": "warning", "message": "early", "file": "a.yaml",
                 "marks": [{"line": 1, "column": 4, "end_line": 1, "end_column": 5, "label": "b"}],
                 "help": null},
                {"code": "ZN0202", "severity": "error", "message": "late", "file": "a.yaml",
                 "marks": [{"line": 2, "column": 1, "end_line": 2, "end_column": 2, "label": "here"},
                           {"file": "b.yaml", "line": 1, "column": 1, "end_line": 1, "end_column": 2, "label": "there"}],
                 "help": null},
            ]})
        );
    }
}
