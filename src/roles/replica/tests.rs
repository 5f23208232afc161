//! The replica's promises, step by step, without a socket.

use serde_json::{Value, json};

use crate::protocol::zn1::Request;

use super::*;

const GOLDEN: &[u8] = b"\x12\x05bravo\x1a\x16this is a test message";

fn machine(peers: &[&str]) -> Machine {
    Machine::new(&Config {
        name: "bravo".into(),
        listen: Vec::new(),
        peers: peers
            .iter()
            .map(|name| ((*name).into(), Endpoint::tcp("127.0.0.1", 1)))
            .collect(),
        health: Endpoint::ipc("/none"),
        broadcast_ms: 1_000,
        guarded: None,
        limits: Box::new(WireLimits::default()),
    })
}

fn at(machine: &mut Machine, ms: u64, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    machine.step(Duration::from_millis(ms), event, &mut actions);
    // What is only said does not matter here.
    actions.retain(|action| !matches!(action, Action::Note(_) | Action::Missed { .. }));
    actions
}

fn request(caller: u64, frames: &[&'static [u8]]) -> Event {
    Event::Request {
        caller,
        door: Door::Public,
        frames: frames.iter().map(|f| Bytes::from_static(f)).collect(),
    }
}

fn bounce(text: &str) -> Bytes {
    Message::new(MessageType::Bounce, "alpha", text).encode()
}

fn ack(broadcast: u64, peer: usize) -> Event {
    Event::Answered {
        broadcast,
        peer,
        frames: vec![bounce("ACK")],
    }
}

/// The one answer among the actions, without its envelope, and its caller.
#[track_caller]
fn answer(actions: Vec<Action>) -> (u64, Vec<Bytes>) {
    let [Action::Answer { caller, frames }] = actions.as_slice() else {
        panic!("not one answer: {actions:?}");
    };
    (*caller, envelope::split(frames.clone()).1)
}

#[track_caller]
fn mesh_answer(actions: Vec<Action>) -> Message {
    Message::decode(&answer(actions).1[0]).unwrap()
}

#[test]
fn a_lone_replica_answers_the_golden_request_with_the_golden_reply() {
    let mut bravo = machine(&[]);
    let actions = at(&mut bravo, 0, request(1, &[b"", GOLDEN]));
    let frames = vec![
        Bytes::new(),
        Bytes::from_static(b"\x12\x05bravo\x1a\x0creply msg #1"),
    ];
    assert_eq!(actions, [Action::Answer { caller: 1, frames }]);
    // A DEALER that leaves the empty frame out gets none.
    let actions = at(&mut bravo, 0, request(1, &[GOLDEN]));
    assert!(matches!(&actions[..], [Action::Answer { frames, .. }] if frames.len() == 1));
}

#[test]
fn a_client_message_is_bounced_to_all_and_answered_when_all_have_acknowledged() {
    let mut bravo = machine(&["alpha", "charlie"]);
    let actions = at(&mut bravo, 5, request(1, &[b"", GOLDEN]));
    for (peer, action) in actions.iter().enumerate() {
        let Action::Bounce {
            broadcast: 1,
            peer: to,
            frame,
            until,
        } = action
        else {
            panic!("{action:?}");
        };
        let bounced = Message::decode(frame).unwrap();
        assert_eq!(
            (bounced.ty, &*bounced.sender),
            (MessageType::Bounce, "bravo")
        );
        assert_eq!(bounced.message, "this is a test message");
        assert_eq!((*to, *until), (peer, Duration::from_millis(1_005)));
    }
    assert_eq!(actions.len(), 2);
    assert_eq!(at(&mut bravo, 6, ack(1, 0)), []);
    // Bounces are acknowledged while the broadcast waits, and are counted.
    let meanwhile = Event::Request {
        caller: 2,
        door: Door::Public,
        frames: vec![Bytes::new(), bounce("hi")],
    };
    let acked = mesh_answer(at(&mut bravo, 6, meanwhile));
    assert_eq!((acked.ty, &*acked.message), (MessageType::Bounce, "ACK"));
    let done = mesh_answer(at(&mut bravo, 7, ack(1, 1)));
    assert_eq!(done.to_string(), r#"sender:"bravo" message:"reply msg #1""#);
    assert_eq!(bravo.deadline(), None);
    at(&mut bravo, 8, request(1, &[b"", GOLDEN]));
    at(&mut bravo, 9, ack(2, 0));
    let third = mesh_answer(at(&mut bravo, 9, ack(2, 1)));
    assert_eq!(third.message, "reply msg #3");
    let counters = bravo.counters();
    assert_eq!(
        (counters.received, counters.bounced, counters.acked),
        (3, 4, 4)
    );
}

#[test]
fn a_lost_peer_costs_nothing_and_a_silent_one_its_second() {
    let mut bravo = machine(&["alpha", "charlie"]);
    at(&mut bravo, 0, request(1, &[b"", GOLDEN]));
    let lost = Event::Lost {
        broadcast: 1,
        peer: 1,
        reason: "nobody listens",
    };
    assert_eq!(at(&mut bravo, 1, lost), []);
    mesh_answer(at(&mut bravo, 1, ack(1, 0)));
    at(&mut bravo, 10, request(1, &[b"", GOLDEN]));
    at(&mut bravo, 11, ack(2, 0));
    assert_eq!(bravo.deadline(), Some(Duration::from_millis(1_010)));
    assert_eq!(at(&mut bravo, 1_009, Event::Tick), []);
    mesh_answer(at(&mut bravo, 1_010, Event::Tick));
    // What comes later meets nobody.
    assert_eq!(at(&mut bravo, 1_011, ack(2, 1)), []);
    assert_eq!((bravo.counters().acked, bravo.counters().missed), (2, 2));
}

#[test]
fn junk_errors_and_unknown_types_are_answered_with_error() {
    let mut bravo = machine(&["alpha"]);
    for body in [&b"\xff\xff"[..], b"\x08\x02", b"\x08\x09"] {
        let answer = mesh_answer(at(&mut bravo, 0, request(1, &[b"", body])));
        assert_eq!(answer.ty, MessageType::Error, "{body:?}");
    }
    let two = mesh_answer(at(&mut bravo, 0, request(1, &[b"", b"a", b"b"])));
    assert_eq!(two.message, "2 frames where one belongs");
    assert_eq!(bravo.counters().malformed, 2);
}

#[test]
fn probes_are_answered_and_counted_nowhere() {
    let mut bravo = machine(&["alpha"]);
    let (_, frames) = answer(at(&mut bravo, 0, request(1, &[b"", b"ZN1", b"ping", b"7"])));
    let reply = Reply::decode(frames).unwrap();
    assert_eq!((reply.status, &reply.id[..]), (200, &b"7"[..]));
    assert_eq!(bravo.counters(), &Counters::default());
    for (verb, status) in [(&b"drain"[..], "501"), (b"fly", "501"), (b"FLY", "400")] {
        let (_, frames) = answer(at(&mut bravo, 0, request(1, &[b"", b"ZN1", verb, b""])));
        assert_eq!(frames[1], status, "a stranger cannot drain a replica");
    }
    let drain = Event::Request {
        caller: 1,
        door: Door::Health,
        frames: Request::new("drain", "", Value::Null).encode(),
    };
    assert_eq!(at(&mut bravo, 0, drain)[0], Action::Drain);
}

#[test]
fn send_says_who_acknowledged_and_a_retry_is_handled_once() {
    let mut bravo = machine(&["alpha", "charlie"]);
    let send = |caller| request(caller, &[b"", b"ZN1", b"send", b"id-1", b"", b"hello"]);
    assert_eq!(at(&mut bravo, 0, send(1)).len(), 2);
    assert_eq!(at(&mut bravo, 1, send(2)), [], "it is on its way already");
    at(&mut bravo, 1, ack(1, 0));
    let lost = Event::Lost {
        broadcast: 1,
        peer: 1,
        reason: "nobody listens",
    };
    let (caller, frames) = answer(at(&mut bravo, 2, lost));
    assert_eq!(caller, 2, "the newest try gets the answer");
    let reply = Reply::decode(frames.clone()).unwrap();
    assert_eq!(reply.status, 207);
    assert_eq!(
        reply.result,
        json!({"sender": "bravo", "message": "reply msg #1", "peers": [
            {"name": "alpha", "acked": true, "us": 1_000},
            {"name": "charlie", "acked": false, "reason": "nobody listens"},
        ]})
    );
    assert_eq!(answer(at(&mut bravo, 3, send(3))), (3, frames));
    assert_eq!(bravo.counters().received, 1);
    let bad = request(1, &[b"", b"ZN1", b"send", b"x", b"", b"\xff"]);
    assert_eq!(answer(at(&mut bravo, 4, bad)).1[1], "400");
}

#[test]
fn broadcasts_are_bounded() {
    let mut bravo = machine(&["alpha"]);
    for caller in 0..BROADCASTS_MAX as u64 {
        assert_eq!(at(&mut bravo, 0, request(caller, &[b"", GOLDEN])).len(), 1);
    }
    let refused = mesh_answer(at(&mut bravo, 0, request(9, &[b"", GOLDEN])));
    assert_eq!(refused.ty, MessageType::Error);
    at(&mut bravo, 0, ack(1, 0));
    let taken = at(&mut bravo, 0, request(9, &[b"", GOLDEN]));
    assert!(matches!(taken[0], Action::Bounce { .. }));
}

fn reconfigure(config: &Value) -> Event {
    Event::Request {
        caller: 9,
        door: Door::Health,
        frames: Request::new("reconfigure", "", json!({"config": config})).encode(),
    }
}

/// The configuration of [`machine`], with peers and their ports.
fn config(peers: &[(&str, u16)]) -> Value {
    let peer = |(name, port): &(&str, u16)| ((*name).into(), Endpoint::tcp("127.0.0.1", *port));
    let config = Config {
        peers: peers.iter().map(peer).collect(),
        ..machine(&[]).config
    };
    serde_json::to_value(config).unwrap()
}

fn numbers(machine: &Machine) -> Vec<(usize, &str)> {
    let peers = machine.peers().iter();
    peers
        .map(|peer| (peer.number, peer.name.as_str()))
        .collect()
}

#[test]
fn a_new_member_is_dialled_a_former_one_is_given_up_and_the_rest_keep_their_numbers() {
    let mut bravo = machine(&["alpha", "charlie"]);
    at(&mut bravo, 0, request(1, &[b"", GOLDEN]));
    at(&mut bravo, 0, ack(1, 0));
    at(&mut bravo, 0, ack(1, 1));
    let counted = bravo.counters().clone();
    let now = config(&[("charlie", 1), ("delta", 1)]);
    let actions = at(&mut bravo, 1, reconfigure(&now));
    assert_eq!(actions[0], Action::HangUp { peer: 0 });
    let delta = Action::Dial {
        peer: 2,
        name: "delta".into(),
        endpoint: Endpoint::tcp("127.0.0.1", 1),
    };
    assert_eq!(actions[1], delta);
    let reply = Reply::decode(answer(actions[2..].iter().map(same).collect()).1).unwrap();
    assert_eq!(reply.status, 200);
    let told = json!({"peers": 2, "added": ["delta"], "removed": ["alpha"]});
    assert_eq!(reply.result, told);
    assert_eq!(numbers(&bravo), [(1, "charlie"), (2, "delta")]);
    assert_eq!(*bravo.counters(), counted);
    // The same again changes nothing, and who comes back is a new one.
    let again = answer(at(&mut bravo, 2, reconfigure(&now)));
    let told = json!({"peers": 2, "added": [], "removed": []});
    assert_eq!(Reply::decode(again.1).unwrap().result, told);
    at(&mut bravo, 3, reconfigure(&config(&[("alpha", 1)])));
    assert_eq!(numbers(&bravo), [(3, "alpha")]);
    let bounced = at(&mut bravo, 4, request(1, &[b"", GOLDEN]));
    assert!(matches!(bounced[..], [Action::Bounce { peer: 3, .. }]));
}

#[test]
fn a_member_that_moved_is_dialled_where_it_listens_now() {
    let mut bravo = machine(&["alpha"]);
    let actions = at(&mut bravo, 0, reconfigure(&config(&[("alpha", 2)])));
    assert_eq!(actions[0], Action::HangUp { peer: 0 });
    assert!(matches!(&actions[1], Action::Dial { peer: 1, endpoint, .. }
        if *endpoint == Endpoint::tcp("127.0.0.1", 2)));
}

#[test]
fn a_broadcast_does_not_wait_for_a_member_that_leaves() {
    let mut bravo = machine(&["alpha", "charlie"]);
    let send = request(1, &[b"", b"ZN1", b"send", b"id-1", b"", b"hello"]);
    at(&mut bravo, 0, send);
    at(&mut bravo, 1, ack(1, 0));
    let actions = at(&mut bravo, 2, reconfigure(&config(&[("alpha", 1)])));
    let (caller, frames) = answer(actions[..1].iter().map(same).collect());
    let reply = Reply::decode(frames).unwrap();
    assert_eq!((caller, reply.status), (1, 207));
    assert_eq!(
        reply.result["peers"][1],
        json!({"name": "charlie", "acked": false, "reason": "no longer a member"})
    );
    assert_eq!(actions[1], Action::HangUp { peer: 1 });
    assert!(bravo.is_idle());
    assert_eq!((bravo.counters().acked, bravo.counters().missed), (1, 1));
    // Its late answer meets nobody, and one who joins meanwhile is not waited for.
    assert_eq!(at(&mut bravo, 3, ack(1, 1)), []);
    at(&mut bravo, 4, request(1, &[b"", GOLDEN]));
    at(
        &mut bravo,
        5,
        reconfigure(&config(&[("alpha", 1), ("delta", 1)])),
    );
    mesh_answer(at(&mut bravo, 6, ack(2, 0)));
}

#[test]
fn a_wrong_configuration_is_refused_and_changes_nothing() {
    let mut bravo = machine(&["alpha"]);
    let good = config(&[("alpha", 1), ("delta", 1)]);
    let mut other_port = good.clone();
    other_port["listen"] = json!(["tcp://127.0.0.1:2"]);
    let mut other_name = good.clone();
    other_name["name"] = json!("bravo-2");
    let mut other_wait = good.clone();
    other_wait["broadcast_ms"] = json!(2);
    for (config, status, reason) in [
        (json!({"name": "bravo"}), 400, "not understood"),
        (Value::Null, 400, "not understood"),
        (
            config(&[("delta", 1), ("delta", 2)]),
            400,
            "`delta` is a member twice",
        ),
        (config(&[("bravo", 1)]), 400, "`bravo` is a member twice"),
        (other_port, 409, "where it listens cannot change"),
        (other_name, 409, "its name cannot change"),
        (other_wait, 409, "how long a broadcast waits cannot change"),
    ] {
        let (_, frames) = answer(at(&mut bravo, 0, reconfigure(&config)));
        let reply = Reply::decode(frames).unwrap();
        assert_eq!(reply.status, status, "{config}");
        let said = reply.result["error"].as_str().unwrap();
        assert!(said.contains(reason), "{said}");
    }
    assert_eq!(numbers(&bravo), [(0, "alpha")]);
    let stranger = Request::new("reconfigure", "", json!({"config": good})).encode();
    let stranger = Event::Request {
        caller: 1,
        door: Door::Public,
        frames: stranger,
    };
    assert_eq!(answer(at(&mut bravo, 0, stranger)).1[1], "501");
    at(&mut bravo, 0, reconfigure(&good));
    assert_eq!(numbers(&bravo), [(0, "alpha"), (1, "delta")]);
}

/// An answer once more; actions are not copied anywhere else.
fn same(action: &Action) -> Action {
    let Action::Answer { caller, frames } = action else {
        panic!("no answer: {action:?}");
    };
    Action::Answer {
        caller: *caller,
        frames: frames.clone(),
    }
}
