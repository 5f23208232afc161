//! Attacks on a real network: strangers with raw sockets, and a legitimate client that is served
//! throughout. After each, the role lives on in the same process with the memory it had.

pub(crate) mod fort;

use fort::Fort;

use crate::support::wait_for;

#[test]
fn a_declared_length_takes_no_memory_and_ends_its_connection() {
    let fort = Fort::start("");
    for name in ["declared", "cve_2019_6250", "cve_2019_13132"] {
        fort.refuses(name, &[]);
    }
    fort.counts(&["message", "metadata"]);
    fort.end();
}

#[test]
fn bytes_that_are_not_ours_end_their_connection_at_once() {
    let fort = Fort::start("");
    for name in ["http", "tls", "greetings", "early", "types", "metadata"] {
        fort.refuses(name, &[]);
    }
    let met = fort.refuses("junk", &["megabytes=100"]);
    // Its kernel and ours hold some; we read next to nothing of it.
    assert!(met["sent"].as_u64().unwrap() < 48 << 20, "{met}");
    fort.counts(&["protocol", "metadata"]);
    fort.end();
}

#[test]
fn commands_out_of_place_end_their_connection() {
    let fort = Fort::start("");
    for name in ["commands", "errors", "ping_shapes"] {
        fort.refuses(name, &[]);
    }
    fort.counts(&["protocol"]);
    fort.end();
}

#[test]
fn crafted_subscriptions_leave_nothing() {
    let fort = Fort::start("");
    for name in ["cve_2021_20236", "cve_2021_20237"] {
        fort.refuses(name, &[]);
    }
    for name in ["topics", "subscriptions", "pings"] {
        fort.attack(name, &[]);
        fort.stands(name);
    }
    fort.counts(&["topic", "ping_rate", "protocol"]);
    fort.end();
}

#[test]
fn who_does_not_finish_a_handshake_is_ended_and_keeps_nobody_out() {
    let fort = Fort::start("");
    fort.refuses("cve_2020_15166", &[]);
    fort.refuses("half_open", &["count=1000"]);
    // More than may be pending: the oldest make room.
    fort.refuses("half_open", &["count=2000"]);
    fort.counts(&["handshake", "pending"]);
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
fn coming_and_vanishing_ten_thousand_times_leaves_nothing() {
    let fort = Fort::start("");
    fort.attack("vanish", &["count=10000"]);
    fort.stands("vanish");
    fort.end();
}

#[test]
fn large_and_endless_messages_leave_nothing() {
    let fort = Fort::start("");
    fort.refuses("parts", &[]);
    for (name, options) in [("flood", &["megabytes=50"][..]), ("dribble", &[])] {
        fort.attack(name, options);
        fort.stands(name);
    }
    fort.counts(&["parts"]);
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
