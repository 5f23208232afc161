//! Attacks on real networks: strangers with raw sockets, and a legitimate client that is served
//! throughout. After each, whoever was attacked lives on in the same process with the memory it had.
//!
//! Every kind of listener meets the same campaign, under CURVE also from inside the boxes.

pub(crate) mod fort;
pub(crate) mod target;

use std::sync::{Mutex, PoisonError};

use fort::Fort;
use target::{
    BUS_FROM_PUBLISHERS, BUS_TO_SUBSCRIBERS, BUS_UNDER_CURVE, GATE, GATE_FROM_INSIDE,
    GATE_OF_A_PUBLISHER, GATE_UNDER_CURVE, REPLICA, REPLICA_UNDER_CURVE, Target,
};

use crate::support::wait_for;

/// What an attack must come to, besides leaving nothing.
enum End {
    /// Every connection is ended by us.
    Refused,
    /// Some may stay as long as the attacker does.
    Borne,
    /// As that, and the C library may keep of the memory what was in use at once, which is bounded.
    Kept,
}

use End::{Borne, Kept, Refused};

/// The attacks of `attacks.py`, their options, and what they come to.
const CAMPAIGN: [(&str, &[&str], End); 29] = [
    ("declared", &[], Refused),
    ("cve_2019_6250", &[], Refused),
    ("cve_2019_13132", &[], Refused),
    ("http", &[], Refused),
    ("tls", &[], Refused),
    ("greetings", &[], Refused),
    ("early", &[], Refused),
    ("types", &[], Refused),
    ("metadata", &[], Refused),
    ("junk", &["megabytes=100"], Refused),
    ("commands", &[], Refused),
    ("errors", &[], Refused),
    ("ping_shapes", &[], Refused),
    ("cve_2021_20236", &[], Borne),
    ("cve_2021_20237", &[], Borne),
    ("topics", &[], Borne),
    ("subscriptions", &[], Borne),
    ("pings", &[], Borne),
    ("cve_2020_15166", &[], Refused),
    ("hellos", &["count=300"], Refused),
    ("hellos", &["count=300", "is_good=false"], Refused),
    ("half_open", &["count=1000"], Refused),
    // More than may be pending, twice: the oldest make room.
    ("half_open", &["count=2000"], Refused),
    ("slow", &["every=0.5"], Refused),
    ("vanish", &["count=10000"], Borne),
    ("parts", &[], Refused),
    ("flood", &["megabytes=50"], Borne),
    ("dribble", &[], Borne),
    ("unfinished", &["count=40"], Kept),
];

/// The limits that the campaign meets at a listener that answers.
const COUNTED_IN_CLEAR: [&str; 8] = [
    "message",
    "metadata",
    "protocol",
    "topic",
    "ping_rate",
    "handshake",
    "pending",
    "parts",
];
/// The same where it is encrypted.
const COUNTED_UNDER_CURVE: [&str; 8] = [
    "message",
    "metadata",
    "protocol",
    "key",
    "ping_rate",
    "handshake",
    "pending",
    "parts",
];

/// Does all of it to a listener, and insists that these limits counted some of it. One at a time: each
/// takes all that a machine of two processors has.
fn campaign(target: &Target, counted: &[&str]) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let fort = Fort::of(target);
    for (name, options, end) in CAMPAIGN {
        let met = fort.attack(name, options);
        match end {
            Refused => {
                assert_eq!(met["open"], 0, "{name}: {met}");
                fort.stands(name);
            }
            Borne => fort.stands(name),
            Kept => fort.lives(name),
        }
    }
    fort.counts(counted);
    fort.end();
}

#[test]
fn a_replica_stands() {
    campaign(&REPLICA, &COUNTED_IN_CLEAR);
}

#[test]
fn a_replica_under_curve_stands() {
    campaign(&REPLICA_UNDER_CURVE, &COUNTED_UNDER_CURVE);
}

#[test]
fn a_gate_stands() {
    campaign(&GATE, &COUNTED_IN_CLEAR);
}

#[test]
fn a_gate_under_curve_stands() {
    campaign(&GATE_UNDER_CURVE, &COUNTED_UNDER_CURVE);
}

#[test]
fn the_gate_of_a_publisher_stands() {
    campaign(&GATE_OF_A_PUBLISHER, &COUNTED_OF_SUBSCRIBERS);
}

/// The limits that the campaign meets where somebody subscribes, and where somebody publishes.
const COUNTED_OF_SUBSCRIBERS: [&str; 7] = [
    "metadata",
    "protocol",
    "topic",
    "subscriptions",
    "ping_rate",
    "handshake",
    "pending",
];
const COUNTED_OF_PUBLISHERS: [&str; 7] = [
    "message",
    "metadata",
    "protocol",
    "ping_rate",
    "handshake",
    "pending",
    "parts",
];

#[test]
fn a_bus_stands_before_subscribers() {
    campaign(&BUS_TO_SUBSCRIBERS, &COUNTED_OF_SUBSCRIBERS);
}

#[test]
fn a_bus_stands_before_publishers() {
    campaign(&BUS_FROM_PUBLISHERS, &COUNTED_OF_PUBLISHERS);
}

#[test]
fn a_bus_under_curve_stands_before_publishers() {
    campaign(&BUS_UNDER_CURVE, &COUNTED_UNDER_CURVE);
}

#[test]
fn the_inner_side_of_a_gate_stands() {
    let counted = [
        "message",
        "metadata",
        "protocol",
        "handshake",
        "pending",
        "parts",
    ];
    campaign(&GATE_FROM_INSIDE, &counted);
}

#[test]
fn little_is_read_of_bytes_that_are_not_ours() {
    let fort = Fort::start("");
    let met = fort.refuses("junk", &["megabytes=100"]);
    // Its kernel and ours hold some; we read next to nothing of it.
    assert!(met["sent"].as_u64().unwrap() < 48 << 20, "{met}");
    fort.end();
}

#[test]
fn a_handshake_of_slow_bytes_is_ended_at_its_deadline() {
    let fort = Fort::start("");
    let met = fort.refuses("slow", &["every=0.5"]);
    assert!(met["took"].as_f64().unwrap() > 4.0, "{met}");
    fort.counts(&["handshake"]);
    fort.end();
}

#[test]
fn nobody_gets_what_is_meant_for_a_peer_of_the_same_name() {
    let fort = Fort::start("");
    let met = fort.attack("identities", &["name=alpha"]);
    assert_eq!(
        met["answered"],
        serde_json::json!([true, false, true]),
        "the second claimant is refused, and the first notices nothing: {met}"
    );
    fort.stands("identities");
    fort.counts(&["identity"]);
    fort.end();
}

#[test]
fn messages_that_never_end_are_bounded_together_and_the_oldest_go() {
    let fort = Fort::start("");
    // 450 MiB in all, of messages that each keep to their limit.
    let met = fort.attack("unfinished", &["count=150"]);
    assert!(met["closed"].as_u64().unwrap() > 0, "{met}");
    fort.lives("unfinished");
    fort.counts(&["unfinished"]);
    let peak = fort.peak_kib();
    assert!(peak < (256 + 96) * 1024, "{peak} KiB were held");
    fort.end();
}

#[test]
fn what_an_attack_leaves_is_no_more_however_often_it_comes() {
    let fort = Fort::start("");
    // Each would leave more than may stay if it left anew each time what it needs at once.
    let attacks: [(&str, &[&str]); 3] = [
        ("shaken_many", &["count=1000"]),
        ("half_open", &["count=1000", "wait=0.5"]),
        ("flood", &["megabytes=10"]),
    ];
    for (name, options) in attacks {
        for _ in 0..4 {
            fort.attack(name, options);
            fort.stands(name);
        }
    }
    fort.end();
}

#[test]
fn what_strangers_call_themselves_writes_no_line_and_moves_no_cursor() {
    let fort = Fort::start("");
    let forged = fort.staying("forged");
    let conns = wait_for("both with forged names", || {
        let conns = fort.world.ok(&["conns", "ls", "-n", "fort"]).stdout;
        (conns.contains("owned") && conns.contains("evil")).then_some(conns)
    });
    let moves = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{2028}' | '\u{202e}');
    assert!(!conns.contains(moves), "{conns:?}");
    fort.counts(&["protocol"]);
    let json = fort
        .world
        .ok(&["conns", "ls", "-n", "fort", "-o", "json"])
        .stdout;
    assert!(!json.contains(|c: char| c < ' ' && c != '\n'), "{json:?}");
    let status = fort.world.ok(&["status", "--wires"]).stdout;
    let log = fort.world.ok(&["logs", "fort"]).stdout;
    for text in [&status, &log] {
        assert!(!text.contains(moves), "{text:?}");
    }
    for text in [json, conns, status, log] {
        let is_forged = |line: &str| line.trim_start().starts_with("forged line");
        assert!(!text.lines().any(is_forged), "{text}");
    }
    drop(forged);
    fort.end();
}
