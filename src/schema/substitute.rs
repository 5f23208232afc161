//! `${...}` in a tree is replaced by values, before the tree is validated.
//!
//! An expression alone keeps the type of its value. `${node.*}` and `${link.*}` differ from
//! instance to instance: in the texts of a node they stay as they are, elsewhere they are refused.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::variables::Variables;
use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{At, Diagnostic, codes};
use crate::manifest::decode::is_ignored;
use crate::model::key::PublicKey;
use crate::model::limits::source::FAULTS_KEPT_MAX;
use crate::source::expression::{BadExpression, Piece, is_alone, pieces};
use crate::source::path::{Path, Step};
use crate::source::scalar;
use crate::source::span::Span;
use crate::source::tree::{Content, Item, Tree};

/// What expressions may name.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The variables of the file, resolved.
    pub variables: &'a Variables,
    /// Declared variables without a right value: reported already, so not again where they are used.
    pub unresolved: &'a [String],
    /// The environment of whoever runs zmqnet, `.env` included.
    pub env: &'a BTreeMap<String, String>,
}

/// What a substitution found wrong, and the values it could not replace: nobody should judge those.
#[derive(Debug, Default)]
pub struct Substituted {
    /// Every fault.
    pub found: Vec<Diagnostic>,
    /// Values that still hold an expression without a value.
    pub unreplaced: HashSet<Path>,
    /// Texts that were put together from expressions and more, as they are written.
    pub mixed: HashMap<Path, String>,
}

/// Replaces every expression of a tree but those in its `vars`. `text` is what the tree was read
/// from, to mark an expression inside its value.
pub fn substitute(tree: &mut Tree, text: &str, scope: Scope<'_>) -> Substituted {
    let mut walk = Walk {
        scope,
        text,
        path: Path::top(tree.file),
        out: Substituted::default(),
    };
    if let Content::Map(map) = &mut tree.top.content {
        for (key, item) in map.items_mut() {
            if key != "vars" {
                walk.below(key, item);
            }
        }
    }
    walk.out
}

/// Replaces `${env.*}` in the defaults of a tree's variables.
pub fn substitute_defaults(
    tree: &mut Tree,
    text: &str,
    env: &BTreeMap<String, String>,
) -> Substituted {
    let variables = Variables::new();
    let mut walk = Walk {
        scope: Scope {
            variables: &variables,
            unresolved: &[],
            env,
        },
        text,
        path: Path::top(tree.file),
        out: Substituted::default(),
    };
    if let Content::Map(map) = &mut tree.top.content {
        for (key, item) in map.items_mut() {
            if key == "vars" {
                walk.below(key, item);
            }
        }
    }
    walk.out
}

struct Walk<'a> {
    scope: Scope<'a>,
    text: &'a str,
    path: Path,
    out: Substituted,
}

impl Walk<'_> {
    fn below(&mut self, key: &str, item: &mut Item) {
        if is_ignored(key) {
            return;
        }
        self.path.steps.push(Step::Key(key.to_owned()));
        self.item(item);
        self.path.steps.pop();
    }

    fn item(&mut self, item: &mut Item) {
        if self.out.found.len() >= FAULTS_KEPT_MAX {
            return;
        }
        match &mut item.content {
            Content::Map(map) => {
                for (key, item) in map.items_mut() {
                    self.below(key, item);
                }
            }
            Content::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.path.steps.push(Step::Index(index));
                    self.item(item);
                    self.path.steps.pop();
                }
            }
            Content::Text(text) if text.contains('$') => match self.replaced(text, item.span) {
                Some(content) => item.content = content,
                None => {
                    self.out.unreplaced.insert(self.path.clone());
                }
            },
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => {}
        }
    }

    fn replaced(&mut self, text: &str, span: Span) -> Option<Content> {
        // A public key may hold `$`, `{` and `}`: it is pasted as it stands in its file.
        if is_key(&self.path) && text.parse::<PublicKey>().is_ok() {
            return Some(Content::Text(text.to_owned()));
        }
        // A text that is expanded again for each instance keeps its `$$` until then.
        let keeps = is_of_instances(&self.path);
        if let Some(name) = is_alone(text) {
            if keeps && is_instance_name(name) {
                return Some(Content::Text(text.to_owned()));
            }
            return self.value(name, span).map(|value| match value {
                Value::Bool(value) => Content::Bool(value),
                Value::Number(number) if !keeps => Content::Number(number),
                Value::Number(number) => Content::Text(number.to_string()),
                Value::String(text) if name.starts_with("env.") && !keeps => scalar::plain(&text),
                other if keeps => Content::Text(as_text(&other).replace('$', "$$")),
                other => Content::Text(as_text(&other)),
            });
        }
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(bad) => {
                self.bad(text, bad, span);
                return None;
            }
        };
        let own = |piece: &Piece<'_>| matches!(piece, Piece::Expression(name) if keeps && is_instance_name(name));
        let has_own = pieces.iter().any(own);
        let (mut result, mut is_whole, mut is_mixed) = (String::new(), true, false);
        for piece in &pieces {
            match piece {
                Piece::Text(text) => result.push_str(text),
                Piece::Dollar => result.push_str(if keeps { "$$" } else { "$" }),
                Piece::Expression(name) if keeps && is_instance_name(name) => {
                    result.push_str(&format!("${{{name}}}"));
                }
                Piece::Expression(name) => {
                    is_mixed = true;
                    match self.value(name, span) {
                        Some(value) if keeps => {
                            result.push_str(&as_text(&value).replace('$', "$$"));
                        }
                        Some(value) => result.push_str(&as_text(&value)),
                        None => {
                            is_whole = false;
                            result.push_str(name);
                        }
                    }
                }
            }
        }
        if is_mixed && is_whole {
            self.out.mixed.insert(self.path.clone(), text.to_owned());
        }
        // What else is wrong with a text of an instance is found with the instance.
        (is_whole || has_own).then_some(Content::Text(result))
    }

    fn value(&mut self, name: &str, span: Span) -> Option<Value> {
        if let Some(variable) = name.strip_prefix("env.") {
            let value = self.scope.env.get(variable).cloned().map(Value::String);
            if value.is_none() {
                let message = format!("the environment has no `{variable}`");
                let help = format!("set it: {variable}=VALUE zmqnet ..., or write it into `.env`");
                self.undefined(name, span, message, Some(help));
            }
            return value;
        }
        if is_instance_name(name) {
            let diagnostic = Diagnostic::error(
                codes::MISPLACED_EXPRESSION,
                format!("`${{{name}}}` is not known here"),
            )
            .mark(self.at(name, span), "differs from instance to instance")
            .help("it stands in the texts of a node: `command`, `env`, `cwd` and `probe`");
            self.out.found.push(diagnostic);
            return None;
        }
        let value = self.scope.variables.get(name).cloned();
        if value.is_none() && !self.scope.unresolved.iter().any(|known| known == name) {
            let known = self.scope.variables.keys().map(String::as_str);
            let help = did_you_mean(name, known).unwrap_or_else(|| {
                format!("declare `{name}` under `vars`, or write `$$` for a `$` as it is")
            });
            let message = format!("the variable `{name}` is not defined");
            self.undefined(name, span, message, Some(help));
        }
        value
    }

    fn undefined(&mut self, name: &str, span: Span, message: String, help: Option<String>) {
        let mut diagnostic = Diagnostic::error(codes::UNDEFINED_VARIABLE, message)
            .mark(self.at(name, span), "not defined");
        diagnostic.help = help;
        self.out.found.push(diagnostic);
    }

    fn bad(&mut self, text: &str, bad: BadExpression, span: Span) {
        let rest: String = text[bad.at..].chars().take(20).collect();
        self.out.found.push(
            Diagnostic::error(codes::BAD_EXPRESSION, format!("`{rest}` is no expression"))
                .mark(At::Span(self.path.file, span), "`${` needs a name and `}`")
                .help("write `${NAME}`, or `$$` for a `$` as it is"),
        );
    }

    /// The expression itself where it stands in the value as written, else the whole value.
    fn at(&self, name: &str, span: Span) -> At {
        let written = self.text.get(span.start..span.end).unwrap_or_default();
        let expression = format!("${{{name}}}");
        match written.find(&expression) {
            Some(at) => At::Span(
                self.path.file,
                Span {
                    start: span.start + at,
                    end: span.start + at + expression.len(),
                },
            ),
            None => At::Value(self.path.clone()),
        }
    }
}

fn is_instance_name(name: &str) -> bool {
    name.starts_with("node.") || name.starts_with("link.")
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether the value of a path is the key of a node.
fn is_key(path: &Path) -> bool {
    match path.steps.as_slice() {
        [Step::Key(nodes), Step::Key(_), Step::Key(key)] => nodes == "nodes" && key == "key",
        _ => false,
    }
}

/// Whether the value of a path is a text of a node that is expanded for each instance.
fn is_of_instances(path: &Path) -> bool {
    let keys: Vec<&str> = path
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    match keys.as_slice() {
        ["nodes", _, "command" | "cwd"] | ["nodes", _, "env", ..] => true,
        ["nodes", _, "replicas", _, "env", ..] => true,
        ["nodes", _, "probe", way] => {
            matches!(*way, "send" | "expect" | "exec" | "http" | "log")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::path::FileId;
    use crate::source::scan::scan;
    use serde_json::json;

    fn substituted(text: &str) -> (Value, Vec<(String, Option<Span>)>) {
        let mut tree = scan(FileId(0), text).0.unwrap();
        let variables = Variables::from([
            ("n".to_owned(), json!(3)),
            ("s".to_owned(), json!("a$b")),
            ("b".to_owned(), json!(true)),
        ]);
        let env = BTreeMap::from([("PORT".to_owned(), "80".to_owned())]);
        let scope = Scope {
            variables: &variables,
            unresolved: &["broken".to_owned()],
            env: &env,
        };
        let out = substitute(&mut tree, text, scope);
        let spans = out.found.into_iter().map(|d| {
            let span = match &d.marks[0].at {
                At::Span(_, span) => Some(*span),
                At::Key(_) | At::Value(_) => None,
            };
            (d.message, span)
        });
        (tree.top.content.to_json(), spans.collect())
    }

    #[test]
    fn alone_it_keeps_its_type_and_inside_a_text_it_is_text() {
        let (value, found) = substituted(
            "a: ${n}\nb: \"${n}s\"\nc: ${b}\nd: $$5 $x\ne: ${env.PORT}\nx-f: ${no}\nvars: {g: \"${no}\"}\nh: [\"${s}\"]\n",
        );
        assert_eq!(found, []);
        assert_eq!(
            value,
            json!({"a": 3, "b": "3s", "c": true, "d": "$5 $x", "e": 80, "x-f": "${no}",
                   "vars": {"g": "${no}"}, "h": ["a$b"]})
        );
    }

    #[test]
    fn texts_of_instances_wait_for_their_instance() {
        let (value, found) = substituted(
            "nodes: {a: {command: [\"${node.name}\", \"$$${s}${node.index}\", \"$$5\", \"${env.PORT}\", \"${n}\", \"${s}\"]}}",
        );
        assert_eq!(found, []);
        assert_eq!(
            value["nodes"]["a"]["command"],
            json!([
                "${node.name}",
                "$$a$$b${node.index}",
                "$$5",
                "80",
                "3",
                "a$$b"
            ])
        );
    }

    #[test]
    fn what_is_undefined_is_marked_inside_its_value() {
        let text = "a: \"x${m}\"\nb: ${env.NO}\nc: ${node.name}\nd: ${broken}\ne: \"${\"\n";
        let (_, found) = substituted(text);
        let messages: Vec<&str> = found.iter().map(|(message, _)| message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "the variable `m` is not defined",
                "the environment has no `NO`",
                "`${node.name}` is not known here",
                "`${` is no expression",
            ]
        );
        let span = found[0].1.unwrap();
        assert_eq!(&text[span.start..span.end], "${m}");
    }
}
