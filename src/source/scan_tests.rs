//! What the scanner promises: exact places, bounded work, and a fault instead of a guess.

use proptest::prelude::*;

use super::*;
use crate::source::path::Path;

fn tree(text: &str) -> Tree {
    let (tree, faults) = scan(FileId(0), text);
    assert_eq!(faults, [], "{text}");
    tree.unwrap()
}

fn fault(text: &str) -> Fault {
    let (_, faults) = scan(FileId(0), text);
    assert_eq!(faults.len(), 1, "{text}: {faults:?}");
    faults.into_iter().next().unwrap()
}

fn top() -> Path {
    Path::top(FileId(0))
}

fn slice(text: &str, span: Span) -> &str {
    &text[span.start..span.end]
}

#[test]
fn spans_are_bytes_after_byte_order_mark_umlauts_and_carriage_returns() {
    let text = "\u{feff}größe: \"ü💡\" # ß\r\nnodes:\r\n  é: {kind: bus, port: 1}\r\nlist:\r\n- ä\r\n- 2\r\n";
    let tree = tree(text);
    let kind = top().key("nodes").key("é").key("kind");
    assert_eq!(slice(text, tree.value_span(&kind)), "bus");
    assert_eq!(slice(text, tree.key_span(&kind)), "kind");
    assert_eq!(slice(text, tree.value_span(&top().key("größe"))), "\"ü💡\"");
    assert_eq!(
        slice(text, tree.key_span(&top().key("nodes").key("é"))),
        "é"
    );
    let node = tree.value_span(&top().key("nodes").key("é"));
    assert_eq!(slice(text, node), "{kind: bus, port: 1}");
    assert_eq!(
        slice(text, tree.value_span(&top().key("list").index(0))),
        "ä"
    );
    let list = tree.value_span(&top().key("list"));
    assert!(
        slice(text, list).ends_with("- 2"),
        "{:?}",
        slice(text, list)
    );
}

#[test]
fn json_and_yaml_give_the_same_values() {
    let json = tree("{\n\t\"a\": {\"b\": [1, true, null, \"x\\/y\\u00e9\"]}\n}");
    let yaml = tree("a:\n  b:\n  - 1\n  - true\n  -\n  - x/yé\n");
    assert_eq!(json.top.content.to_json(), yaml.top.content.to_json());
    let emoji = tree(r#"{"a": "\ud83d\ude00", "b": {"c": 1}}"#);
    assert_eq!(emoji.top.get("a").and_then(Item::as_text), Some("😀"));
}

#[test]
fn merge_keys_fill_what_is_not_written_and_keep_their_places() {
    let text = "x-base: &b {kind: bus, port: 1, env: {A: b}}\nn: {<<: *b, port: 2}\nm:\n  <<: [*b, {port: 3, host: h}]\n";
    let tree = tree(text);
    let n = tree.find(&top().key("n")).unwrap();
    assert_eq!(
        n.content.to_json(),
        serde_json::json!({"kind": "bus", "env": {"A": "b"}, "port": 2})
    );
    let merged = tree.value_span(&top().key("n").key("kind"));
    assert!(merged.start < text.find("n: {<<").unwrap());
    assert_eq!(slice(text, merged), "bus");
    let m = tree.find(&top().key("m")).unwrap().content.to_json();
    assert_eq!(
        m,
        serde_json::json!({"kind": "bus", "port": 1, "env": {"A": "b"}, "host": "h"})
    );
    assert_eq!(fault("a: {<<: 5}").kind, FaultKind::MergeNotMapping);
}

#[test]
fn an_alias_stands_where_it_is_written() {
    let text = "a: &x [1]\nb: *x\n";
    let tree = tree(text);
    assert_eq!(slice(text, tree.value_span(&top().key("b"))), "*x");
    assert_eq!(slice(text, tree.value_span(&top().key("b").index(0))), "1");
    assert_eq!(fault("a: &x [*x]").kind, FaultKind::RecursiveAlias);
}

#[test]
fn an_alias_bomb_is_refused_before_it_goes_off() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..=9 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{list}]\n");
    }
    assert_eq!(fault(&text).kind, FaultKind::TooManyValues);
}

#[test]
fn nesting_is_bounded_also_through_aliases() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    tree(&nested(DEPTH_MAX));
    assert_eq!(fault(&nested(DEPTH_MAX + 1)).kind, FaultKind::TooDeep);
    assert_eq!(fault(&nested(300)).kind, FaultKind::TooDeep);
    assert_eq!(fault(&"[".repeat(100_000)).kind, FaultKind::TooDeep);
    let block: String = (0..100).map(|d| format!("{}a:\n", " ".repeat(d))).collect();
    assert_eq!(fault(&block).kind, FaultKind::TooDeep);
    let chain = format!(
        "- &a {}\n- &b {}\n",
        nested(40),
        nested(40).replace("[]", "[*a]")
    );
    assert_eq!(fault(&chain).kind, FaultKind::TooDeep);
}

#[test]
fn duplicate_keys_mark_both_places_and_the_scan_goes_on() {
    let text = "a: 1\nb: {c: 1, c: 2}\na: 2\n";
    let (tree, faults) = scan(FileId(0), text);
    assert!(tree.is_some());
    assert_eq!(faults.len(), 2);
    assert_eq!(faults[0].kind, FaultKind::DuplicateKey { key: "c".into() });
    assert_eq!(faults[1].span.start, text.rfind('a').unwrap());
    assert_eq!(faults[1].other, Some(Span { start: 0, end: 1 }));
}

#[test]
fn every_unquoted_variable_is_found_and_only_those() {
    let text = "a: {b: ${x}, c: [é, pre-${y}]}\nd: ${z}\ne: {f: \"${q}\"}\n";
    let (tree, faults) = scan(FileId(0), text);
    let found: Vec<&str> = faults.iter().map(|f| slice(text, f.span)).collect();
    assert_eq!(found, ["${x}", "${y}"]);
    let b = top().key("a").key("b");
    assert_eq!(tree.unwrap().find(&b).unwrap().as_text(), Some("${x}"));
}

#[test]
fn what_is_no_manifest_text_says_so() {
    assert_eq!(fault("").kind, FaultKind::Empty);
    assert_eq!(fault("# only a comment\n\n").kind, FaultKind::Empty);
    assert_eq!(fault("--- a\n--- b\n").kind, FaultKind::SeveralDocuments);
    assert_eq!(fault("? [a]\n: b\n").kind, FaultKind::KeyNotText);
    assert!(matches!(fault("a: !foo b").kind, FaultKind::Tag { .. }));
    assert!(matches!(fault("a: {b: 1\n").kind, FaultKind::Syntax { .. }));
    assert!(matches!(fault("a: *q").kind, FaultKind::Syntax { .. }));
}

proptest! {
    #[test]
    fn any_text_gives_a_tree_or_a_fault_with_a_place_inside_it(text in "[\\[\\]{}:,&*a-cé\\-? \n\"'$<|>!#%@`\\\\]{0,60}") {
        let (tree, faults) = scan(FileId(0), &text);
        prop_assert!(tree.is_some() || !faults.is_empty());
        for fault in faults {
            prop_assert!(text.get(fault.span.start..fault.span.end).is_some());
        }
        if let Some(tree) = tree {
            check_spans(&text, &tree.top);
        }
    }

    #[test]
    fn keys_and_values_stand_where_their_spans_say(
        pairs in proptest::collection::btree_map("[a-zé💡]{1,8}", "[a-zß]{1,8}", 1..10),
        end in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let text: String = pairs.iter().map(|(k, v)| format!("\"{k}\": '{v}'{end}")).collect();
        let (tree, faults) = scan(FileId(0), &text);
        prop_assert_eq!(faults, vec![]);
        for entry in tree.unwrap().top.as_map().unwrap().iter() {
            prop_assert_eq!(slice(&text, entry.key_span), format!("\"{}\"", entry.key));
            let value = entry.item.as_text().unwrap();
            prop_assert_eq!(slice(&text, entry.item.span), format!("'{value}'"));
        }
    }
}

fn check_spans(text: &str, item: &Item) {
    assert!(
        text.get(item.span.start..item.span.end).is_some(),
        "{text:?} {item:?}"
    );
    match &item.content {
        Content::List(items) => items.iter().for_each(|item| check_spans(text, item)),
        Content::Map(map) => map.iter().for_each(|entry| check_spans(text, &entry.item)),
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => {}
    }
}
