//! The values of a manifest's variables: declared under `vars`, set by files and `--var`.
//!
//! A value is checked against its declaration wherever it comes from; the place that is reported is
//! the one a person can change.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{At, Diagnostic, codes};
use crate::manifest::topology::Ordered;
use crate::manifest::var::{VarDecl, VarType};
use crate::model::quantity::{Duration, Size};
use crate::source::path::Path;
use crate::source::scalar;

/// A value that somebody gave to a variable. Of two for one variable the later one counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// The value; a text is read by the variable's type.
    pub value: Value,
    /// Who gave it.
    pub from: Giver,
}

/// Who gave a value to a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Giver {
    /// `--var NAME=VALUE`.
    CommandLine,
    /// `--var-file FILE`: a place in it.
    File(At),
    /// The `vars` of an `include`: a place in the including file.
    Include(At),
}

/// The values of a manifest's variables, by name.
pub type Variables = BTreeMap<String, Value>;

/// Finds the value of each declared variable; `top` is the top of the declaring file.
pub fn resolve(
    decls: &Ordered<VarDecl>,
    given: &[Assignment],
    top: &Path,
) -> (Variables, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut values = Variables::new();
    for assignment in given {
        if decls.get(&assignment.name).is_none() {
            found.push(undeclared(assignment, decls));
        }
    }
    for (name, decl) in decls.iter() {
        let path = top.key("vars").key(name);
        found.extend(wrong_bounds(name, decl, &path));
        let last = given.iter().rfind(|assignment| assignment.name == name);
        let (value, from) = match (last, &decl.default) {
            (Some(assignment), _) => (&assignment.value, Some(&assignment.from)),
            (None, Some(default)) => (default, None),
            (None, None) => {
                found.push(unset(name, &path));
                continue;
            }
        };
        match admitted(decl, value) {
            Ok(value) => {
                values.insert(name.to_owned(), value);
            }
            Err(expected) => found.push(refused((name, value), &expected, from, &path)),
        }
    }
    (values, found)
}

fn undeclared(assignment: &Assignment, decls: &Ordered<VarDecl>) -> Diagnostic {
    let name = &assignment.name;
    let names: Vec<&str> = decls.iter().map(|(name, _)| name).collect();
    let mut diagnostic = Diagnostic::error(
        codes::UNDEFINED_VARIABLE,
        format!("the manifest has no variable `{name}` to set"),
    );
    diagnostic.help = did_you_mean(name, names.iter().copied())
        .or_else(|| Some(format!("declare it: `vars: {{{name}: {{type: string}}}}`")));
    match &assignment.from {
        Giver::CommandLine => diagnostic,
        Giver::File(at) | Giver::Include(at) => diagnostic.mark(at.clone(), "set here"),
    }
}

fn unset(name: &str, path: &Path) -> Diagnostic {
    Diagnostic::error(
        codes::UNSET_VARIABLE,
        format!("nothing sets the variable `{name}`"),
    )
    .at_key(path.clone(), "it has no `default`")
    .help(format!(
        "run with `--var {name}=VALUE`, or give it a `default`"
    ))
}

fn refused(
    (name, value): (&str, &Value),
    expected: &str,
    from: Option<&Giver>,
    path: &Path,
) -> Diagnostic {
    let shown = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let message = format!("the variable `{name}` takes {expected}, not `{shown}`");
    let diagnostic = Diagnostic::error(codes::VARIABLE_VALUE, message);
    match from {
        None => diagnostic.at_value(path.key("default"), format!("expected {expected}")),
        Some(Giver::CommandLine) => {
            diagnostic.at_key(path.clone(), format!("set by `--var {name}={shown}`"))
        }
        Some(Giver::File(at) | Giver::Include(at)) => diagnostic
            .mark(at.clone(), format!("expected {expected}"))
            .at_key(path.clone(), "declared here"),
    }
}

/// A bound that is itself no value of the variable's type, and bounds with nothing between them.
fn wrong_bounds(name: &str, decl: &VarDecl, path: &Path) -> Vec<Diagnostic> {
    let measured = |bound: &Option<Value>| measure(decl.ty, bound.as_ref()?);
    if let (Some(min), Some(max)) = (measured(&decl.min), measured(&decl.max))
        && min > max
    {
        let message = format!("no value of the variable `{name}` is in its bounds");
        return vec![
            Diagnostic::error(codes::VARIABLE_VALUE, message)
                .at_value(path.key("max"), "this is less")
                .at_value(path.key("min"), "than this"),
        ];
    }
    [("min", &decl.min), ("max", &decl.max)]
        .into_iter()
        .filter_map(|(key, bound)| {
            let expected = typed(decl, bound.as_ref()?).err()?;
            let message = format!("`{key}` of the variable `{name}` must be {expected}");
            Some(
                Diagnostic::error(codes::VARIABLE_VALUE, message)
                    .at_value(path.key(key), format!("expected {expected}")),
            )
        })
        .collect()
}

/// A value that a variable can have, in its type, or what is expected of it.
pub(super) fn admitted(decl: &VarDecl, value: &Value) -> Result<Value, String> {
    typed(decl, value).and_then(|value| bounded(decl, value))
}

/// The value in the type of its variable, or what was expected.
fn typed(decl: &VarDecl, value: &Value) -> Result<Value, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if decl.ty == VarType::Int => {
            scalar::whole(number).map_or_else(|| number.to_string(), |whole| whole.to_string())
        }
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return Err(in_words(decl)),
    };
    let read = match decl.ty {
        VarType::String | VarType::Path => Some(text.into()),
        VarType::Enum => {
            let values = decl.values.as_deref().unwrap_or_default();
            values.contains(&text).then(|| text.into())
        }
        VarType::Int => text.parse::<i64>().ok().map(Value::from),
        VarType::Bool => text.parse::<bool>().ok().map(Value::from),
        VarType::Duration => text.parse::<Duration>().ok().map(|_| text.into()),
        VarType::Size => text.parse::<Size>().ok().map(|_| text.into()),
    };
    read.ok_or_else(|| in_words(decl))
}

fn in_words(decl: &VarDecl) -> String {
    match decl.ty {
        VarType::String => "a text".into(),
        VarType::Path => "a path".into(),
        VarType::Int => "a whole number".into(),
        VarType::Bool => "`true` or `false`".into(),
        VarType::Duration => Duration::EXPECTED.into(),
        VarType::Size => Size::EXPECTED.into(),
        VarType::Enum => {
            let values = decl.values.as_deref().unwrap_or_default();
            let words: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            format!("one of {}", words.join(", "))
        }
    }
}

fn bounded(decl: &VarDecl, value: Value) -> Result<Value, String> {
    let Some(own) = measure(decl.ty, &value) else {
        return Ok(value);
    };
    let bound = |bound: &Option<Value>| measure(decl.ty, bound.as_ref()?);
    let shown = |value: &Option<Value>| match value {
        Some(Value::String(text)) => text.clone(),
        other => other.as_ref().map(Value::to_string).unwrap_or_default(),
    };
    if bound(&decl.min).is_some_and(|min| own < min) {
        return Err(format!("at least `{}`", shown(&decl.min)));
    }
    if bound(&decl.max).is_some_and(|max| own > max) {
        return Err(format!("at most `{}`", shown(&decl.max)));
    }
    Ok(value)
}

/// What is compared with bounds: a number, nanoseconds or bytes.
fn measure(ty: VarType, value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => scalar::whole(number).as_ref().unwrap_or(number).to_string(),
        other => other.to_string(),
    };
    match ty {
        VarType::Int => text.parse().ok(),
        VarType::Duration => {
            let duration = text.parse::<Duration>().ok()?;
            i128::try_from(duration.as_std().as_nanos()).ok()
        }
        VarType::Size => text.parse::<Size>().ok().map(|size| i128::from(size.0)),
        VarType::String | VarType::Bool | VarType::Enum | VarType::Path => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::path::FileId;
    use serde_json::json;

    fn resolved(decls: &Value, given: &[(&str, Value)]) -> (Variables, Vec<String>) {
        let decls: Ordered<VarDecl> = serde_json::from_value(decls.clone()).unwrap();
        let given: Vec<Assignment> = given
            .iter()
            .map(|(name, value)| Assignment {
                name: (*name).into(),
                value: value.clone(),
                from: Giver::CommandLine,
            })
            .collect();
        let (values, found) = resolve(&decls, &given, &Path::top(FileId(0)));
        (values, found.into_iter().map(|d| d.message).collect())
    }

    #[test]
    fn the_last_value_counts_and_has_the_type_of_its_variable() {
        let decls = json!({
            "n": {"type": "int", "default": 3, "min": 1, "max": 64},
            "b": {"type": "bool", "default": false},
            "d": {"type": "duration", "default": "2s", "max": "1m"},
            "s": {"type": "string"},
        });
        let given = [
            ("n", json!("5")),
            ("n", json!("8")),
            ("b", json!("true")),
            ("s", json!("9")),
        ];
        let (values, found) = resolved(&decls, &given);
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(
            json!(values),
            json!({"n": 8, "b": true, "d": "2s", "s": "9"})
        );
    }

    #[test]
    fn every_wrong_value_says_what_was_expected() {
        let decls = json!({
            "n": {"type": "int", "min": 1, "max": 64},
            "e": {"type": "enum", "values": ["dev", "prod"], "default": "test"},
            "d": {"type": "duration", "default": "2m", "max": "1m"},
            "r": {"type": "string"},
        });
        let (_, found) = resolved(&decls, &[("n", json!("99")), ("m", json!("1"))]);
        assert_eq!(
            found,
            [
                "the manifest has no variable `m` to set",
                "the variable `n` takes at most `64`, not `99`",
                "the variable `e` takes one of `dev`, `prod`, not `test`",
                "the variable `d` takes at most `1m`, not `2m`",
                "nothing sets the variable `r`",
            ]
        );
    }
}
