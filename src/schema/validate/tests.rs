//! What the validator makes of the schema's patterns.

use super::*;

fn patterns(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            found.extend(
                map.get("pattern")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            map.values().for_each(|value| patterns(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| patterns(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn a_pattern_without_the_tables_of_unicode_takes_the_same_texts() {
    let mut found = Vec::new();
    patterns(crate::schema::generate::topology(), &mut found);
    assert!(found.len() > 20);
    let texts = [
        "", "a", "a-1_b", "x-", "x-ü", "ü", "aü", "${a}", "${ü}", "${}", "${a}}", "1..2", "5s",
        "1000/1m", "0", "1KiB", "٣s", "a\u{a0}b", "10.0.0.1", "a b", "x-\n", "${a\nb}", "日本",
    ];
    for pattern in found {
        let (fast, plain) = (pattern_of(&pattern), Regex::new(&pattern).unwrap());
        for text in texts {
            let is_same = fast.is_match(text.as_bytes()) == plain.is_match(text);
            assert!(is_same, "`{pattern}` and `{text}`");
        }
    }
}
