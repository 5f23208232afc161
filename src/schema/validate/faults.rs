//! How the validator says what it found: at which place, in which words.

use super::Walk;
use crate::diagnostics::Diagnostic;
use crate::source::path::Step;

impl Walk<'_> {
    /// Whether this is a type in a link's `types`: its pattern says which ones go together.
    pub(super) fn is_socket_type(&self) -> bool {
        let is = |step: &Step, word: &str| matches!(step, Step::Key(key) if key == word);
        match self.path.steps.as_slice() {
            [links, _, types, _] => is(links, "links") && is(types, "types"),
            _ => false,
        }
    }

    pub(super) fn fault(&mut self, code: &'static str, message: String, label: impl Into<String>) {
        self.fault_with(code, message, label.into(), None);
    }

    pub(super) fn fault_with(
        &mut self,
        code: &'static str,
        message: String,
        label: String,
        help: Option<String>,
    ) {
        // A value that was not written has no place: its key stands for it.
        let is_unwritten = self
            .tree
            .find(&self.path)
            .is_some_and(|item| item.span.start == item.span.end);
        let path = self.path.clone();
        let diagnostic = Diagnostic::error(code, message);
        let mut diagnostic = if is_unwritten {
            diagnostic.at_key(path, label)
        } else {
            diagnostic.at_value(path, label)
        };
        diagnostic.help = help;
        self.found.push(diagnostic);
    }

    /// The place in words: the key it belongs to.
    pub(super) fn place(&self) -> String {
        let keys = self.path.steps.iter().rev();
        let mut index = None;
        for step in keys {
            match (step, index) {
                (Step::Key(key), None) => return format!("`{key}`"),
                (Step::Key(key), Some(index)) => return format!("item {index} of `{key}`"),
                (Step::Index(at), None) => index = Some(at + 1),
                (Step::Index(_), Some(_)) => {}
            }
        }
        "the manifest".to_owned()
    }
}
