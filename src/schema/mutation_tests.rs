//! Manifests changed at random: our validator agrees with one of another make, and what it accepts
//! can be decoded.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::generate;
use super::substitute::Substituted;
use super::validate::validate;
use crate::manifest::decode::decode;
use crate::source::path::FileId;
use crate::source::scan::scan;

/// Something of everything.
pub(crate) const WHOLE: &str = include_str!("../../tests/whole/topology.yaml");

/// A change: which of the places, what is done there, and with what.
pub(crate) type Change = (prop::sample::Index, u8, prop::sample::Index);

/// A few changes.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0..6_u8,
            any::<prop::sample::Index>(),
        ),
        1..5,
    )
}

/// The whole manifest with these changes, as JSON text.
pub(crate) fn changed(changes: &[Change]) -> String {
    let mut value: Value = serde_yaml::from_str(WHOLE).unwrap();
    for change in changes {
        let mut places = Vec::new();
        pointers(&value, String::new(), &mut places);
        let place = change.0.get(&places).clone();
        apply(&mut value, &place, change);
    }
    value.to_string()
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| pointers(value, format!("{at}/{key}"), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| pointers(value, format!("{at}/{index}"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found.push(at);
}

const WORDS: [&str; 19] = [
    "",
    "x",
    "5",
    "5x",
    "2s",
    "1..3",
    "64KiB",
    "yes",
    "SUB",
    "queue",
    "east",
    "a b",
    "7000..7001",
    "65535..65536",
    "0s",
    "5/0s",
    "5/1s",
    "999999999999999999999d",
    "99999999999999999999GiB",
];

fn apply(value: &mut Value, place: &str, (_, what, with): &Change) {
    let word = with.get(&WORDS);
    let new = match what {
        0 => json!(word),
        1 => with
            .get(&[
                json!(null),
                json!(0),
                json!(-1),
                json!(2.5),
                json!(2.0),
                json!(1.0),
                json!(-0.0),
                json!(7e3),
                json!(70000),
                json!(true),
            ])
            .clone(),
        2 => with
            .get(&[
                json!([]),
                json!({}),
                json!([word]),
                json!({(*word): word}),
                json!([5]),
            ])
            .clone(),
        _ => return rename(value, place, (*what == 3).then_some(word)),
    };
    if let Some(old) = value.pointer_mut(place) {
        *old = new;
    }
}

/// Gives a key another name, or removes it.
fn rename(value: &mut Value, place: &str, name: Option<&str>) {
    let Some((above, key)) = place.rsplit_once('/') else {
        return;
    };
    if let Some(Value::Object(map)) = value.pointer_mut(above)
        && let Some(old) = map.shift_remove(key)
        && let Some(name) = name
    {
        map.insert(name.to_owned(), old);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn validators_agree_and_what_is_accepted_is_decoded(changes in changes()) {
        // Expressions are replaced before anything is validated.
        let text = changed(&changes).replace("${workers}", "2..4");
        let mut tree = scan(FileId(0), &text).0.unwrap();
        let found = validate(&mut tree, generate::topology(), &Substituted::default());
        let other = other();
        let value = serde_json::from_str(&text).unwrap();
        let theirs: Vec<String> = other.iter_errors(&value).map(|e| e.to_string()).collect();
        prop_assert_eq!(found.is_empty(), theirs.is_empty(), "{}\nours: {:#?}\ntheirs: {:#?}", text, found, theirs);
        if found.is_empty() {
            prop_assert!(decode(&tree).is_ok(), "{}\n{:?}", text, decode(&tree));
        }
    }
}

fn other() -> &'static jsonschema::Validator {
    static OTHER: std::sync::OnceLock<jsonschema::Validator> = std::sync::OnceLock::new();
    OTHER.get_or_init(|| jsonschema::draft202012::new(generate::topology()).unwrap())
}
