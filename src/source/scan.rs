//! Text to [`Tree`]: YAML 1.2 and JSON through one event parser.
//!
//! The parser counts characters; everything here is bytes. A fault of the grammar ends the scan,
//! since what follows it cannot be trusted; duplicate keys and unquoted `${x}` do not.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::fault::{Fault, FaultKind};
use super::merge;
use super::offsets::Offsets;
use super::path::FileId;
use super::scalar;
use super::span::Span;
use super::tree::{Content, Entry, Item, Map, Tree};
use crate::model::limits::source::{DEPTH_MAX, FAULTS_MAX, VALUES_MAX};

/// Reads a text. Without a tree there is at least one fault.
pub fn scan(file: FileId, text: &str) -> (Option<Tree>, Vec<Fault>) {
    let mut faults = Vec::new();
    // Each unquoted `${x}` is masked by as many harmless characters and the text is read again, so
    // that one of them does not hide the others.
    let mut masked = text.to_owned();
    loop {
        let (parsed, offsets) = Offsets::of(&masked);
        let mut builder = Builder::new(text, &masked, offsets);
        let end = builder.run(&parsed);
        if let Err(Stop::Unquoted(span)) = &end
            && faults.len() < FAULTS_MAX
        {
            let kind = FaultKind::UnquotedVariable {
                text: text[span.start..span.end].to_owned(),
            };
            faults.push(Fault::new(kind, *span));
            masked.replace_range(span.start..span.end, &"_".repeat(span.end - span.start));
            continue;
        }
        faults.append(&mut builder.faults);
        let top = match end {
            Ok(()) => builder.top,
            Err(Stop::Fault(fault)) => {
                faults.push(fault);
                None
            }
            Err(Stop::Unquoted(_)) => None,
        };
        if top.is_none() && faults.is_empty() {
            faults.push(Fault::new(FaultKind::Empty, Span::default()));
        }
        faults.sort_by_key(|fault| fault.span);
        return (top.map(|top| Tree { file, top }), faults);
    }
}

/// Why a scan ended early.
enum Stop {
    /// For good.
    Fault(Fault),
    /// At an unquoted `${x}` that can be masked.
    Unquoted(Span),
}

/// A list or mapping that is not closed yet.
struct Open {
    start: Span,
    anchor: usize,
    /// Values inside it so far, itself included.
    values: usize,
    /// The deepest nesting below it so far, itself included.
    depth: usize,
    body: Body,
}

enum Body {
    List(Vec<Item>),
    Map {
        entries: Vec<Entry>,
        seen: HashMap<String, Span>,
        key: Option<Key>,
        /// What `<<` brought, with the position it was written at.
        merged: Vec<(usize, Vec<Entry>)>,
    },
}

struct Key {
    text: String,
    span: Span,
    is_merge: bool,
}

/// A value that an alias may repeat.
struct Anchored {
    item: Item,
    values: usize,
    depth: usize,
}

struct Builder<'a> {
    /// The text as written.
    text: &'a str,
    /// The same without unquoted `${x}`, of the same length.
    masked: &'a str,
    offsets: Offsets,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    values: usize,
    top: Option<Item>,
    faults: Vec<Fault>,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, masked: &'a str, offsets: Offsets) -> Self {
        Self {
            text,
            masked,
            offsets,
            open: Vec::new(),
            anchors: HashMap::new(),
            values: 0,
            top: None,
            faults: Vec::new(),
        }
    }

    fn run(&mut self, parsed: &str) -> Result<(), Stop> {
        let mut parser = Parser::new_from_str(parsed);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            let span = Span {
                start: self.offsets.byte(span.start.index()),
                end: self.offsets.byte(span.end.index()),
            };
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(stop(FaultKind::SeveralDocuments, span));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(&text, style, span, (anchor, tag.as_deref()))?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.open(span, anchor, tag.as_deref(), Body::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    let body = Body::Map {
                        entries: Vec::new(),
                        seen: HashMap::new(),
                        key: None,
                        merged: Vec::new(),
                    };
                    self.open(span, anchor, tag.as_deref(), body)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn syntax(&self, error: &ScanError) -> Stop {
        let start = self.offsets.byte(error.marker().index());
        let width = self.masked[start..].chars().next().map_or(0, |c| match c {
            '\n' | '\r' => 0,
            other => other.len_utf8(),
        });
        let span = Span {
            start,
            end: start + width,
        };
        let info = error.info().to_owned();
        // The parser has a limit of its own on flow nesting.
        if info.contains("recursion limit") {
            return stop(FaultKind::TooDeep, span);
        }
        stop(FaultKind::Syntax { info }, span)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        span: Span,
        (anchor, tag): (usize, Option<&Tag>),
    ) -> Result<(), Stop> {
        let is_plain = style == ScalarStyle::Plain;
        if is_plain && text.ends_with('$') && self.masked[span.end..].starts_with('{') {
            return Err(self.unquoted(span));
        }
        let span = self.trimmed(span, style);
        // A masked text is read from what was written.
        let written = &self.text[span.start..span.end];
        let is_masked = is_plain && written != &self.masked[span.start..span.end];
        let text = if is_masked { written } else { text };
        if self.awaits_key() {
            let is_merge = is_plain && text == "<<";
            self.key(Key {
                text: text.to_owned(),
                span,
                is_merge,
            });
            return Ok(());
        }
        self.count(1, span)?;
        let content = match tag {
            None if is_plain && !is_masked => scalar::plain(text),
            None => Content::Text(text.to_owned()),
            Some(tag) => tagged(tag, text, span)?,
        };
        self.value(Item { span, content }, anchor, 1, 1)
    }

    /// The span of `${x}` whose `$` ends a plain scalar, up to its brace on the same line.
    fn unquoted(&self, span: Span) -> Stop {
        let rest = &self.masked[span.end..];
        let line = rest.lines().next().unwrap_or(rest);
        let length = line.find('}').map_or(line.len(), |at| at + 1);
        Stop::Unquoted(Span {
            start: span.end - 1,
            end: span.end + length,
        })
    }

    /// The part of a scalar's span that a person would underline: block scalars reach to the next
    /// line's start, and quoted ones to the end of a comment behind them.
    fn trimmed(&self, span: Span, style: ScalarStyle) -> Span {
        let written = &self.masked[span.start..span.end];
        let length = match style {
            ScalarStyle::Plain => written.len(),
            ScalarStyle::Literal | ScalarStyle::Folded => written.trim_end().len(),
            ScalarStyle::SingleQuoted => quoted_length(written, '\''),
            ScalarStyle::DoubleQuoted => quoted_length(written, '"'),
        };
        Span {
            start: span.start,
            end: span.start + length,
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(
            self.open.last().map(|open| &open.body),
            Some(Body::Map { key: None, .. })
        )
    }

    fn key(&mut self, new: Key) {
        let Some(Open {
            body: Body::Map { seen, key, .. },
            ..
        }) = self.open.last_mut()
        else {
            unreachable!("only a mapping awaits a key");
        };
        if !new.is_merge {
            if let Some(first) = seen.get(&new.text) {
                let kind = FaultKind::DuplicateKey {
                    key: new.text.clone(),
                };
                self.faults.push(Fault {
                    kind,
                    span: new.span,
                    other: Some(*first),
                });
            } else {
                seen.insert(new.text.clone(), new.span);
            }
        }
        *key = Some(new);
    }

    fn open(
        &mut self,
        span: Span,
        anchor: usize,
        tag: Option<&Tag>,
        body: Body,
    ) -> Result<(), Stop> {
        if self.awaits_key() {
            return Err(stop(FaultKind::KeyNotText, span));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(stop(FaultKind::TooDeep, span));
        }
        let own = match &body {
            Body::List(_) => "seq",
            Body::Map { .. } => "map",
        };
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema() || tag.suffix != own) {
            let tag = tag.to_string();
            return Err(stop(FaultKind::Tag { tag }, span));
        }
        self.count(1, span)?;
        self.open.push(Open {
            start: span,
            anchor,
            values: 1,
            depth: 1,
            body,
        });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Stop> {
        let open = self
            .open
            .pop()
            .expect("the parser closes only what it opened");
        let (content, last) = match open.body {
            Body::List(items) => {
                let last = items.last().map(|item| item.span.end);
                (Content::List(items), last)
            }
            Body::Map {
                entries, merged, ..
            } => {
                let last = entries.last().map(|e| e.item.span.end.max(e.key_span.end));
                (Content::Map(Map::new(merge::fill(entries, merged))), last)
            }
        };
        // A block has no closing bracket: it ends where its last value does.
        let is_flow = end.end > end.start;
        let until = if is_flow {
            end.end
        } else {
            last.unwrap_or(open.start.end)
        };
        let span = Span {
            start: open.start.start,
            end: until.max(open.start.end),
        };
        self.value(
            Item { span, content },
            open.anchor,
            open.values,
            open.depth + 1,
        )
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        if self.awaits_key() {
            return Err(stop(FaultKind::KeyNotText, span));
        }
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(stop(FaultKind::RecursiveAlias, span));
        };
        let (values, depth) = (anchored.values, anchored.depth);
        if self.open.len() + depth > DEPTH_MAX + 1 {
            return Err(stop(FaultKind::TooDeep, span));
        }
        // Counted before it is copied: a bomb costs nothing.
        self.count(values, span)?;
        let content = self.anchors[&anchor].item.content.clone();
        self.value(Item { span, content }, 0, values, depth)
    }

    fn count(&mut self, values: usize, span: Span) -> Result<(), Stop> {
        self.values += values;
        if self.values > VALUES_MAX {
            return Err(stop(FaultKind::TooManyValues, span));
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn value(
        &mut self,
        item: Item,
        anchor: usize,
        values: usize,
        depth: usize,
    ) -> Result<(), Stop> {
        if anchor != 0 {
            // The anchor is one more copy of the value, so it counts as one.
            self.count(values, item.span)?;
            self.anchors.insert(
                anchor,
                Anchored {
                    item: item.clone(),
                    values,
                    depth,
                },
            );
        }
        let Some(open) = self.open.last_mut() else {
            self.top = Some(item);
            return Ok(());
        };
        open.values += values;
        open.depth = open.depth.max(depth);
        match &mut open.body {
            Body::List(items) => items.push(item),
            Body::Map {
                entries,
                key,
                merged,
                ..
            } => {
                let key = key.take().expect("a value follows its key");
                if key.is_merge {
                    merged.push((entries.len(), merge::entries_of(item).map_err(Stop::Fault)?));
                } else {
                    entries.push(Entry {
                        key: key.text,
                        key_span: key.span,
                        item,
                    });
                }
            }
        }
        Ok(())
    }
}

/// How far a quoted scalar reaches, its closing quote included.
fn quoted_length(written: &str, quote: char) -> usize {
    let mut chars = written.char_indices().skip_while(|(_, c)| *c != quote);
    chars.next();
    while let Some((at, character)) = chars.next() {
        if character == '\\' && quote == '"' {
            chars.next();
        } else if character == quote {
            let end = at + quote.len_utf8();
            // In single quotes, a doubled quote is one quote of the text.
            if quote == '"' || !written[end..].starts_with(quote) {
                return end;
            }
            chars.next();
        }
    }
    written.len()
}

fn stop(kind: FaultKind, span: Span) -> Stop {
    Stop::Fault(Fault::new(kind, span))
}

/// A scalar with a tag: only the tags of the core schema mean something here.
fn tagged(tag: &Tag, text: &str, span: Span) -> Result<Content, Stop> {
    let content = match tag.suffix.as_str() {
        _ if !tag.is_yaml_core_schema() => None,
        "str" => Some(Content::Text(text.to_owned())),
        "int" | "float" => Some(scalar::plain(text)).filter(|c| matches!(c, Content::Number(_))),
        "bool" => Some(scalar::plain(text)).filter(|c| matches!(c, Content::Bool(_))),
        "null" => Some(scalar::plain(text)).filter(|c| matches!(c, Content::Null)),
        _ => None,
    };
    let tag = tag.to_string();
    content.ok_or_else(|| stop(FaultKind::Tag { tag }, span))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
