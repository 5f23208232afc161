//! Two sessions with no socket between them: every way in which a handshake ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::model::key::KeyPair;
use crate::model::limits::WireLimits;
use crate::model::limits::hub::UNFINISHED_BYTES_MAX;
use crate::model::socket::SocketType;
use crate::wire::curve::{self, CurveClient};

use super::event::{CloseReason, Mechanism};
use super::guard::{Admission, Guard, KeyRefusal, OWN_PAIRS_MAX, Security};
use super::inbox::Received;
use super::opening::{GREETING_START, Side};
use super::refusal::Limit;
use super::session::{Session, SessionConfig};
use super::unfinished::{Share, Unfinished};

fn session(socket_type: SocketType, side: Side) -> Session {
    Session::new(SessionConfig {
        socket_type,
        announce: Bytes::from_static(b"name"),
        limits: Arc::new(WireLimits::default()),
        side,
        is_near: true,
    })
}

fn guard(own: &[&KeyPair], allowed: &[&KeyPair]) -> Arc<Guard> {
    let named = |pair: &&KeyPair| (pair.public, "ann".to_owned());
    Arc::new(Guard::new(Admission {
        own: own.iter().copied().cloned().collect(),
        allowed: allowed.iter().map(named).collect(),
        ..Admission::default()
    }))
}

fn listening(guard: &Arc<Guard>) -> Session {
    let side = Side::Listening(Security::Curve(guard.clone()));
    session(SocketType::Router, side)
}

fn dialling(own: &KeyPair, server: &KeyPair) -> Session {
    let keys = CurveClient {
        own: own.clone(),
        server: server.public,
    };
    session(SocketType::Dealer, Side::Dialling(Some(Arc::new(keys))))
}

fn open() -> Session {
    session(SocketType::Router, Side::Listening(Security::Open))
}

fn plain() -> Session {
    session(SocketType::Dealer, Side::Dialling(None))
}

/// What a session wants written, all of it.
fn written(session: &mut Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    while session.is_behind() {
        let part: Vec<u8> = session.outgoing().iter().flat_map(|s| s.to_vec()).collect();
        session.wrote(part.len());
        bytes.extend(part);
    }
    bytes
}

type Ends = (Result<(), CloseReason>, Result<(), CloseReason>);

/// Feeds bytes and admits whoever then says who it is.
fn receive(session: &mut Session, bytes: &[u8]) -> Result<(), CloseReason> {
    session.receive(Bytes::copy_from_slice(bytes))?;
    match session.take_claim() {
        Some(_) => session.admit(),
        None => Ok(()),
    }
}

/// Carries bytes both ways until nobody has any, `step` bytes at a time; gives how each side ended.
fn carry(ours: &mut Session, theirs: &mut Session, step: usize) -> Ends {
    let mut ends = (Ok(()), Ok(()));
    loop {
        let (there, back) = (written(ours), written(theirs));
        if there.is_empty() && back.is_empty() {
            return ends;
        }
        for (bytes, to, end) in [
            (there, &mut *theirs, &mut ends.1),
            (back, ours, &mut ends.0),
        ] {
            for part in bytes.chunks(step) {
                if end.is_ok() {
                    *end = receive(to, part);
                }
            }
        }
        if ends.0.is_err() || ends.1.is_err() {
            // What was still on its way arrives, and then the end of the stream.
            let rest = written(ours);
            if ends.1.is_ok() && !rest.is_empty() {
                ends.1 = receive(theirs, &rest);
            }
            let rest = written(theirs);
            if ends.0.is_ok() && !rest.is_empty() {
                ends.0 = receive(ours, &rest);
            }
            ends.0 = ends.0.and_then(|()| Err(ours.ended(CloseReason::Peer)));
            ends.1 = ends.1.and_then(|()| Err(theirs.ended(CloseReason::Peer)));
            return ends;
        }
    }
}

#[test]
fn the_right_keys_open_whatever_the_pieces_and_messages_pass() {
    let (server, client) = (curve::generate(), curve::generate());
    for step in [1, 7, 64, 1_000_000] {
        let mut ours = listening(&guard(&[&server], &[&client]));
        let mut theirs = dialling(&client, &server);
        assert_eq!(carry(&mut ours, &mut theirs, step), (Ok(()), Ok(())));
        assert!(ours.is_ready() && theirs.is_ready());
        assert_eq!(ours.key, Some(client.public));
        assert_eq!(ours.who.as_deref(), Some("ann"));
        assert_eq!(theirs.key, Some(server.public));
        assert_eq!(
            (ours.mechanism, ours.zmtp_minor),
            (Mechanism::Curve, Some(1))
        );
        theirs.send(vec!["secret".into(), Bytes::new()]).unwrap();
        let bytes = written(&mut theirs);
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
        ours.receive(bytes.into()).unwrap();
        let message = vec![Bytes::from("secret"), Bytes::new()];
        assert_eq!(ours.take(), Some(Received::Message(message)));
    }
}

#[test]
fn a_key_that_is_not_admitted_is_told_apart_and_named() {
    let (server, client) = (curve::generate(), curve::generate());
    let listed = guard(&[&server], &[]);
    let ends = carry(&mut listening(&listed), &mut dialling(&client, &server), 64);
    let key = client.public;
    let refusal = KeyRefusal::Unlisted;
    assert_eq!(ends.0, Err(CloseReason::Key { key, refusal }));
    assert_eq!(ends.1, Err(CloseReason::KeyRefused));
    listed.replace(Admission {
        own: vec![server.clone()],
        allowed: BTreeMap::from([(key, "ann".into())]),
        revoked: BTreeSet::from([key]),
        ..Admission::default()
    });
    let ends = carry(&mut listening(&listed), &mut dialling(&client, &server), 64);
    let refusal = KeyRefusal::Revoked;
    assert_eq!(ends.0, Err(CloseReason::Key { key, refusal }));
}

#[test]
fn a_wrong_server_key_is_told_apart_on_both_sides() {
    let (server, client, other) = (curve::generate(), curve::generate(), curve::generate());
    for step in [1, 1_000] {
        let mut ours = listening(&guard(&[&server], &[&client]));
        let ends = carry(&mut ours, &mut dialling(&client, &other), step);
        assert_eq!(ends.0, Err(CloseReason::WrongServerKey));
        assert_eq!(ends.1, Err(CloseReason::WrongServerKey));
        assert_eq!(ours.key, None);
    }
    // A guard that holds no pair yet.
    let ends = carry(
        &mut listening(&guard(&[], &[&client])),
        &mut dialling(&client, &server),
        64,
    );
    assert_eq!(ends.0, Err(CloseReason::WrongServerKey));
}

#[test]
fn a_pair_in_overlap_still_opens_and_one_too_many_does_not() {
    let client = curve::generate();
    let pairs: Vec<KeyPair> = (0..=OWN_PAIRS_MAX).map(|_| curve::generate()).collect();
    let own: Vec<&KeyPair> = pairs.iter().collect();
    for (index, server) in pairs.iter().enumerate() {
        for step in [1, 64, 1_000] {
            let mut ours = listening(&guard(&own, &[&client]));
            let ends = carry(&mut ours, &mut dialling(&client, server), step);
            if index < OWN_PAIRS_MAX {
                assert_eq!(
                    ends,
                    (Ok(()), Ok(())),
                    "pair {index}, {step} bytes at a time"
                );
                assert_eq!(ours.who.as_deref(), Some("ann"));
            } else {
                assert_eq!(ends.0, Err(CloseReason::WrongServerKey));
            }
        }
    }
}

#[test]
fn another_mechanism_is_named_on_both_sides() {
    let (server, client) = (curve::generate(), curve::generate());
    let listed = guard(&[&server], &[&client]);
    let differs = |ours, theirs| Err(CloseReason::Mechanism { ours, theirs });
    let (null, curve) = (Mechanism::Null, Mechanism::Curve);
    let ends = carry(&mut listening(&listed), &mut plain(), 64);
    assert_eq!(ends, (differs(curve, null), differs(null, curve)));
    let ends = carry(&mut open(), &mut dialling(&client, &server), 64);
    assert_eq!(ends, (differs(null, curve), differs(curve, null)));
    let mut greeting = GREETING_START.to_vec();
    greeting.extend_from_slice(b"\0PLAIN");
    greeting.resize(64, 0);
    let mut ours = listening(&listed);
    let end = ours.receive(greeting.into());
    assert_eq!(end, differs(curve, Mechanism::Plain));
}

#[test]
fn what_is_no_greeting_is_told_apart() {
    for junk in [
        "GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03",
    ] {
        let end = open().receive(junk.into());
        assert_eq!(end, Err(CloseReason::NotZmtp));
    }
    // Too few bytes for the engine to say anything, then the end.
    let mut ours = open();
    ours.receive("GE".into()).unwrap();
    assert_eq!(ours.ended(CloseReason::Peer), CloseReason::NotZmtp);
    assert_eq!(
        ours.ended(CloseReason::HandshakeTimeout),
        CloseReason::NotZmtp
    );
    assert_eq!(open().ended(CloseReason::Peer), CloseReason::Peer);
}

#[test]
fn the_greeting_is_shown_in_two_parts_and_whole_to_whoever_waits() {
    for mut session in [open(), plain(), listening(&guard(&[], &[]))] {
        assert_eq!(written(&mut session), GREETING_START);
        assert!(session.release());
        assert_eq!(written(&mut session).len(), 64 - GREETING_START.len());
        assert!(!session.release());
    }
    // 10 bytes are all that libzmq shows before it has our 11; one more waits for us.
    let mut ours = open();
    ours.receive(Bytes::copy_from_slice(&GREETING_START[..10]))
        .unwrap();
    assert_eq!(written(&mut ours), GREETING_START);
    ours.receive(Bytes::copy_from_slice(&GREETING_START[10..]))
        .unwrap();
    assert_eq!(written(&mut ours).len(), 64 - GREETING_START.len());
}

/// A listener and a dialler under CURVE, both open.
fn pair() -> (Session, Session) {
    let (server, client) = (curve::generate(), curve::generate());
    let mut ours = listening(&guard(&[&server], &[&client]));
    let mut theirs = dialling(&client, &server);
    assert_eq!(carry(&mut ours, &mut theirs, 1_000), (Ok(()), Ok(())));
    (ours, theirs)
}

#[test]
fn parts_are_bounded_while_they_arrive_also_under_curve() {
    let (mut ours, mut theirs) = pair();
    let parts = |n| vec![Bytes::from_static(b"part"); n];
    theirs.send(parts(64)).unwrap();
    receive(&mut ours, &written(&mut theirs)).unwrap();
    assert!(matches!(ours.take(), Some(Received::Message(frames)) if frames.len() == 64));
    // All but the end of a message that would be too long.
    theirs.send(parts(10_000)).unwrap();
    let bytes = written(&mut theirs);
    let end = receive(&mut ours, &bytes[..bytes.len() / 2]);
    assert_eq!(end, Err(CloseReason::Limit(Limit::Parts)));
    assert!(ours.take().is_none());
}

#[test]
fn answers_to_heartbeats_are_no_parts_and_heartbeats_are_counted_under_curve() {
    let (mut ours, mut theirs) = pair();
    for _ in 0..1_000 {
        ours.ping();
        receive(&mut theirs, &written(&mut ours)).unwrap();
        receive(&mut ours, &written(&mut theirs)).unwrap();
    }
    assert_eq!((ours.pings_in, theirs.pings_in), (0, 1_000));
    theirs
        .send(vec![Bytes::from_static(b"still here")])
        .unwrap();
    receive(&mut ours, &written(&mut theirs)).unwrap();
    assert!(ours.take().is_some());
}

#[test]
fn of_memory_that_is_read_into_again_nothing_is_kept() {
    for step in [13, 100, 5_000, 70_000, 1_000_000] {
        let (mut ours, mut theirs) = pair();
        let sizes = [0, 1, 64, 4_000, 65_536, 7, 65_536, 20_000];
        for size in sizes {
            theirs.send(vec![Bytes::from(vec![b'm'; size])]).unwrap();
        }
        let mut got = Vec::new();
        for part in written(&mut theirs).chunks(step) {
            let memory = Bytes::copy_from_slice(part);
            ours.receive_lent(memory.clone()).unwrap();
            assert!(memory.is_unique(), "{step}");
            while let Some(Received::Message(frames)) = ours.take() {
                assert!(frames[0].iter().all(|byte| *byte == b'm'));
                got.push(frames[0].len());
            }
        }
        assert_eq!(got, sizes);
    }
}

/// A session's part in what is counted of unfinished messages, and the sum.
fn counted(session: &mut Session) -> Arc<Unfinished> {
    let all = Arc::new(Unfinished::default());
    session.share(Share::new(all.clone(), Arc::default()));
    all
}

#[test]
fn what_waits_in_boxes_for_the_end_of_its_message_is_counted() {
    const PART: usize = 100_000;
    for step in [1_000, 70_000, 1_000_000] {
        let (mut ours, mut theirs) = pair();
        let all = counted(&mut ours);
        theirs.send(vec![Bytes::from(vec![b'p'; PART]); 3]).unwrap();
        let bytes = written(&mut theirs);
        let (two, last) = bytes.split_at(2 * PART + PART / 2);
        for part in two.chunks(step) {
            receive(&mut ours, part).unwrap();
            // A heartbeat between two parts ends nothing.
            ours.ping();
        }
        let held = all.bytes() + ours.unread_bytes();
        assert!(held >= two.len() && held < two.len() + 4_096, "{held}");
        assert!(ours.take().is_none());
        receive(&mut ours, last).unwrap();
        assert_eq!(all.bytes(), 0, "it is whole");
        assert!(ours.take().is_some());
    }
}

#[test]
fn whose_messages_are_cut_elsewhere_is_counted_there_until_they_are_whole() {
    let (mut ours, mut theirs) = (open(), plain());
    ours.pass_raw();
    assert_eq!(carry(&mut ours, &mut theirs, 1_000), (Ok(()), Ok(())));
    let all = counted(&mut ours);
    ours.note_raw((1_000, 0, 1_000), Ok(())).unwrap();
    // Whatever else the connection's task does.
    ours.parse().unwrap();
    assert_eq!(all.bytes(), 1_000);
    ours.note_raw((500, 1, 0), Ok(())).unwrap();
    ours.parse().unwrap();
    assert_eq!(all.bytes(), 0, "it is whole");
}

#[test]
fn whose_cut_message_is_the_oldest_of_too_many_ends() {
    let (mut ours, mut theirs) = (open(), plain());
    ours.pass_raw();
    assert_eq!(carry(&mut ours, &mut theirs, 1_000), (Ok(()), Ok(())));
    let all = counted(&mut ours);
    let mut other = Share::new(all.clone(), Arc::default());
    ours.note_raw((1, 0, 1), Ok(())).unwrap();
    assert!(other.note(0, UNFINISHED_BYTES_MAX - 1));
    assert_eq!(ours.parse(), Ok(()));
    assert!(other.note(0, UNFINISHED_BYTES_MAX));
    assert_eq!(ours.parse(), Err(CloseReason::Limit(Limit::Unfinished)));
}
