//! Every code, its title and its explanation: what `zmqnet explain CODE` prints.
//!
//! ZN01 text and variables · ZN02 shape · ZN03 names and references · ZN04 sockets and links ·
//! ZN05 ports and places · ZN06 order. A code never changes its meaning and is never reused.

/// One row a code.
#[derive(Debug)]
pub struct Code {
    /// `ZN` and four digits.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub title: &'static str,
    /// Why it is wrong and what to do, with the wrong and the right.
    pub text: &'static str,
}

/// The file is larger than a manifest may be.
pub const TOO_LARGE: &str = "ZN0101";
/// The file is not UTF-8.
pub const NOT_UTF8: &str = "ZN0102";
/// The file holds control characters.
pub const BINARY: &str = "ZN0103";
/// The file holds nothing.
pub const EMPTY: &str = "ZN0104";
/// The file is neither YAML nor JSON.
pub const SYNTAX: &str = "ZN0105";
/// `${x}` without quotes inside `[ ]` or `{ }`.
pub const UNQUOTED_VARIABLE: &str = "ZN0106";
/// A key stands twice.
pub const DUPLICATE_KEY: &str = "ZN0107";
/// A key is no text.
pub const KEY_NOT_TEXT: &str = "ZN0108";
/// More than one document.
pub const SEVERAL_DOCUMENTS: &str = "ZN0109";
/// Too deep, or too many values.
pub const TOO_MUCH: &str = "ZN0110";
/// An alias or merge key that means nothing.
pub const BAD_ALIAS: &str = "ZN0111";
/// A YAML tag.
pub const TAG: &str = "ZN0112";
/// A variable that nothing defines.
pub const UNDEFINED_VARIABLE: &str = "ZN0120";
/// A variable without a value.
pub const UNSET_VARIABLE: &str = "ZN0121";
/// A variable's value is not of its type or out of its bounds.
pub const VARIABLE_VALUE: &str = "ZN0122";
/// `${` without an end, or with something that is no name.
pub const BAD_EXPRESSION: &str = "ZN0123";
/// `${node.x}` or `${link.x}` where it cannot be known.
pub const MISPLACED_EXPRESSION: &str = "ZN0124";
/// Two replicas of a peers file with one name or one port.
pub const DUPLICATE_REPLICA: &str = "ZN0131";
/// A key that means nothing here.
pub const UNKNOWN_KEY: &str = "ZN0201";
/// A value of the wrong type or form.
pub const WRONG_VALUE: &str = "ZN0202";
/// A key that must be there.
pub const MISSING_KEY: &str = "ZN0203";
/// A key that this kind of node, or link pattern, does not carry.
pub const MISPLACED_KEY: &str = "ZN0204";
/// A key that is no name.
pub const BAD_NAME: &str = "ZN0205";
/// A number outside its bounds, or a list of the wrong length.
pub const OUT_OF_BOUNDS: &str = "ZN0206";

/// Every code, in order.
pub const CODES: &[Code] = &[
    Code {
        code: TOO_LARGE,
        title: "the file is larger than a manifest may be",
        text: "A manifest has at most 10 MiB. Use `replicas`, `include` and anchors instead of\nrepeating nodes.",
    },
    Code {
        code: NOT_UTF8,
        title: "the file is not UTF-8",
        text: "A manifest is UTF-8 text. Convert it, for example with\n    iconv -f latin1 -t utf8 old.yaml > topology.yaml",
    },
    Code {
        code: BINARY,
        title: "the file is not text",
        text: "It holds a control character, which no YAML or JSON file may. Is it the right file?",
    },
    Code {
        code: EMPTY,
        title: "the file holds nothing",
        text: "A manifest has at least\n    zmqnet: 1\n    nodes: {}\n`zmqnet init` writes a working one.",
    },
    Code {
        code: SYNTAX,
        title: "neither YAML nor JSON",
        text: "The text breaks the rules of YAML 1.2 at the marked place. Often the real cause is a little\nearlier: a bracket that is not closed, a quote that is not ended, a tab, a wrong indentation.\nwrong:\n    a: b: c\nright:\n    a: \"b: c\"",
    },
    Code {
        code: UNQUOTED_VARIABLE,
        title: "`${x}` needs quotes inside [ ] and { }",
        text: "Inside brackets YAML reads `{` as the start of a mapping.\nwrong:\n    command: [./worker, ${n}]\nright:\n    command: [./worker, \"${n}\"]",
    },
    Code {
        code: DUPLICATE_KEY,
        title: "a key stands twice",
        text: "YAML parsers differ in which of the two they take, so neither is taken.\nRename or remove one of them.",
    },
    Code {
        code: KEY_NOT_TEXT,
        title: "a key must be a text",
        text: "YAML allows lists and mappings as keys; manifests do not. A `{` or `[` too much is the usual\ncause.",
    },
    Code {
        code: SEVERAL_DOCUMENTS,
        title: "more than one document",
        text: "A manifest is one YAML document. Put the second one into a file of its own and `include` it.",
    },
    Code {
        code: TOO_MUCH,
        title: "too deep or too many values",
        text: "A manifest nests at most 64 deep and holds at most 1,000,000 values once its aliases are\nresolved.",
    },
    Code {
        code: BAD_ALIAS,
        title: "an alias or merge key that means nothing",
        text: "An alias `*a` stands for what `&a` marked before it, never for something it is part of.\n`<<` takes a mapping or a list of mappings.\nright:\n    x-base: &base {restart: never}\n    nodes:\n      a: {<<: *base, command: [./a]}",
    },
    Code {
        code: TAG,
        title: "a YAML tag that means nothing here",
        text: "Only the tags of YAML's core schema (`!!str`, `!!int`, ...) have a meaning, and only for values\nthat fit them. To start a text with `!`, quote it.",
    },
    Code {
        code: UNDEFINED_VARIABLE,
        title: "an undefined variable",
        text: "`${NAME}` needs NAME under `vars`; `${env.NAME}` needs NAME in the environment.\nright:\n    vars:\n      workers: {type: int, default: 3}\n    nodes:\n      worker: {command: [./worker], replicas: \"${workers}\"}\nFor a `$` as it is, write `$$`.",
    },
    Code {
        code: UNSET_VARIABLE,
        title: "a variable without a value",
        text: "It has no `default`, so somebody must set it: `--var NAME=VALUE` or `--var-file FILE`.",
    },
    Code {
        code: VARIABLE_VALUE,
        title: "a value that its variable does not take",
        text: "The value is not of the variable's `type`, not one of its `values`, or outside `min` and `max`.",
    },
    Code {
        code: BAD_EXPRESSION,
        title: "an expression that cannot be read",
        text: "`${` is followed by a name and `}`: `${VAR}`, `${env.HOME}`, `${node.index}`,\n`${link.NAME.endpoint}`. For a `$` as it is, write `$$`.",
    },
    Code {
        code: MISPLACED_EXPRESSION,
        title: "an expression that is not known here",
        text: "`${node.*}` and `${link.*}` differ from instance to instance. They stand in the texts of a node:\nits `command`, `env`, `cwd` and probe.",
    },
    Code {
        code: DUPLICATE_REPLICA,
        title: "two replicas with one name or one port",
        text: "ZMQ Net took the first of two replicas with the same name, silently. Here names differ, and so\ndo the ports of one address.",
    },
    Code {
        code: UNKNOWN_KEY,
        title: "an unknown key",
        text: "Nothing reads this key, so it is an error rather than a surprise. Keys that begin with `x-` are\nyours, anywhere.",
    },
    Code {
        code: WRONG_VALUE,
        title: "a value that does not belong here",
        text: "The value has the wrong type or form. The message says what belongs here.\nwrong:\n    timeout: 5\nright:\n    timeout: 5s",
    },
    Code {
        code: MISSING_KEY,
        title: "a key is missing",
        text: "The mapping means nothing without this key.",
    },
    Code {
        code: MISPLACED_KEY,
        title: "a key that does not go with this kind or pattern",
        text: "A node's `kind`, or its `command`, decides which keys it carries; a link's `pattern` decides\nwhether it has `from` and `to`, or `among`. `zmqnet explain KIND` lists the keys of a kind.",
    },
    Code {
        code: BAD_NAME,
        title: "not a name",
        text: "A name is a letter, then at most 39 letters, digits, `_` or `-`. Names become file names,\nenvironment names and arguments, so nothing else is allowed.",
    },
    Code {
        code: OUT_OF_BOUNDS,
        title: "out of bounds",
        text: "The number is too small or too large, or the list too short.",
    },
];

/// The row of a code, however it is written: `ZN0201`, `zn0201`.
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|row| row.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_explained() {
        for pair in CODES.windows(2) {
            assert!(pair[0].code < pair[1].code, "{}", pair[1].code);
        }
        for row in CODES {
            let digits = row.code.strip_prefix("ZN").unwrap();
            assert!(digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()));
            assert!(
                !row.title.is_empty() && !row.text.is_empty(),
                "{}",
                row.code
            );
            assert!(
                row.text.lines().all(|line| line.len() <= 100),
                "{}",
                row.code
            );
        }
        assert!(find("zn0201").is_some() && find("ZN9999").is_none());
    }
}
