//! Whether a history of one key could have been done one request after the other, each at a moment
//! between its question and its answer (Wing and Gong, with Lowe's memory of what was tried).

use std::collections::HashSet;

/// What was asked of a key, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// It was read as this.
    Get(Option<String>),
    /// It was given a value.
    Set(String),
    /// It was to have the first value only if it had the second: done, or not.
    Cas(String, Option<String>, Option<bool>),
    /// It was deleted, was not there, or nobody knows.
    Delete(Option<bool>),
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) op: Op,
    pub(super) began: u64,
    /// Nothing where nobody knows what came of it: it took effect at any time after it began, or never.
    pub(super) ended: Option<u64>,
}

/// What the key has after an operation, if it could be done with what the key has.
fn apply(op: &Op, state: &Option<String>) -> Option<Option<String>> {
    let when = |is_so: bool, next: Option<String>| is_so.then_some(next);
    match op {
        Op::Get(saw) => when(saw == state, state.clone()),
        Op::Set(value) => Some(Some(value.clone())),
        Op::Cas(value, expected, Some(true)) => when(state == expected, Some(value.clone())),
        Op::Cas(_, expected, Some(false)) => when(state != expected, state.clone()),
        Op::Cas(value, expected, None) => Some(match state == expected {
            true => Some(value.clone()),
            false => state.clone(),
        }),
        Op::Delete(Some(true)) => when(state.is_some(), None),
        Op::Delete(Some(false)) => when(state.is_none(), None),
        Op::Delete(None) => Some(None),
    }
}

/// A place in the search: what is done, what the key has, and where to go on looking.
struct Place {
    done: Vec<bool>,
    state: Option<String>,
    next: usize,
}

/// Whether the history is linearizable, from a key that is not there.
pub(super) fn is_linearizable(calls: &[Call]) -> bool {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| call.began);
    let mut tried = HashSet::new();
    let mut path = vec![Place {
        done: vec![false; calls.len()],
        state: None,
        next: 0,
    }];
    while let Some(place) = path.last_mut() {
        let open = |index: &usize| !place.done[*index];
        let left: Vec<usize> = (0..calls.len()).filter(open).collect();
        let ends = left.iter().filter_map(|index| calls[*index].ended);
        // Whoever began after somebody's end comes after them.
        let Some(first_end) = ends.min() else {
            return true;
        };
        let may = |index: &usize| *index >= place.next && calls[*index].began <= first_end;
        let Some(index) = left.iter().copied().find(may) else {
            path.pop();
            continue;
        };
        place.next = index + 1;
        let Some(state) = apply(&calls[index].op, &place.state) else {
            continue;
        };
        let mut done = place.done.clone();
        done[index] = true;
        if tried.insert((done.clone(), state.clone())) {
            path.push(Place {
                done,
                state,
                next: 0,
            });
        }
    }
    false
}

fn call(op: Op, began: u64, ended: impl Into<Option<u64>>) -> Call {
    let ended = ended.into();
    Call { op, began, ended }
}

fn set(value: &str) -> Op {
    Op::Set(value.to_owned())
}

fn get(value: &str) -> Op {
    Op::Get(Some(value.to_owned()))
}

#[test]
fn the_checker_knows_right_from_wrong() {
    let cas = |is_done| Op::Cas("b".to_owned(), Some("a".to_owned()), is_done);
    let right = [
        vec![
            call(set("a"), 0, 9),
            call(Op::Get(None), 1, 2),
            call(get("a"), 3, 4),
        ],
        vec![
            call(set("a"), 0, 1),
            call(cas(Some(true)), 2, 3),
            call(get("b"), 4, 5),
        ],
        // Nobody knows what came of it: it was done late, or never.
        vec![
            call(set("a"), 0, None),
            call(Op::Get(None), 1, 2),
            call(get("a"), 5, 6),
        ],
        vec![call(set("a"), 0, None), call(Op::Get(None), 1, 2)],
        vec![
            call(set("a"), 0, 1),
            call(cas(None), 2, None),
            call(get("b"), 3, 4),
        ],
        vec![
            call(set("a"), 0, 1),
            call(Op::Delete(Some(true)), 2, 3),
            call(Op::Delete(Some(false)), 4, 5),
        ],
    ];
    for calls in right {
        assert!(is_linearizable(&calls), "{calls:?}");
    }
    let wrong = [
        // An old value after a new one.
        vec![
            call(set("a"), 0, 1),
            call(set("b"), 2, 3),
            call(get("a"), 4, 5),
        ],
        // An acknowledged write that is lost.
        vec![call(set("a"), 0, 1), call(Op::Get(None), 2, 3)],
        // Two compare-and-sets of one value.
        vec![
            call(set("a"), 0, 1),
            call(cas(Some(true)), 2, 9),
            call(cas(Some(true)), 2, 9),
        ],
        // Seen, then not.
        vec![
            call(set("a"), 0, 9),
            call(get("a"), 1, 2),
            call(Op::Get(None), 3, 4),
        ],
        vec![call(set("a"), 0, 1), call(Op::Delete(Some(false)), 2, 3)],
    ];
    for calls in wrong {
        assert!(!is_linearizable(&calls), "{calls:?}");
    }
}
