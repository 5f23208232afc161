//! The limits of the hub, each with the side on which it fails, over real sockets.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::dial::{self, DialError, Dialler};
use super::hub::{Hub, HubEvent, Limit, Security, SendError};
use super::tests::{LONG, address, echo, free, handshake, hub, is_closed, next, raw, text};

#[tokio::test]
async fn half_open_connections_are_bounded_in_time_and_number() {
    let endpoint = free();
    let limits = WireLimits {
        handshake_ms: 100,
        ..WireLimits::default()
    };
    let server = echo(hub(&endpoint, limits));
    let mut idle = TcpStream::connect(address(&endpoint)).await.unwrap();
    assert!(is_closed(&mut idle).await, "the handshake has a deadline");
    server.abort();

    let endpoint = free();
    let limits = WireLimits {
        pending_max: 2,
        ..WireLimits::default()
    };
    let server = echo(hub(&endpoint, limits));
    let mut first = TcpStream::connect(address(&endpoint)).await.unwrap();
    let mut rest = Vec::new();
    for _ in 0..2 {
        rest.push(TcpStream::connect(address(&endpoint)).await.unwrap());
    }
    assert!(is_closed(&mut first).await, "the oldest makes room");
    // A full waiting room keeps nobody out who finishes the handshake.
    assert_eq!(
        dial::request(&endpoint, text("x"), LONG).await,
        Ok(text("x"))
    );
    server.abort();
}

#[tokio::test]
async fn who_waits_for_our_greeting_gets_it_and_who_is_silent_costs_no_session() {
    let endpoint = free();
    let mut hub = hub(&endpoint, WireLimits::default());
    let mut silent = TcpStream::connect(address(&endpoint)).await.unwrap();
    let mut shown = [0; 64];
    let read = timeout(LONG, silent.read_exact(&mut shown)).await;
    read.expect("in time").expect("the whole greeting");
    assert_eq!(
        (shown[0], shown[9], &shown[12..16]),
        (0xff, 0x7f, &b"NULL"[..])
    );
    assert_eq!((hub.pending(), hub.connections().len()), (1, 0));
    // It is served like any other once it speaks, byte by byte.
    for byte in handshake("DEALER", "slow") {
        silent.write_all(&[byte]).await.unwrap();
    }
    silent.write_all(b"\0\x02hi").await.unwrap();
    assert!(matches!(next(&mut hub).await, HubEvent::Opened { .. }));
    assert!(matches!(next(&mut hub).await, HubEvent::Message { .. }));
    assert_eq!((hub.pending(), hub.connections().len()), (0, 1));
    // READY comes after the greeting, which is not shown again.
    let mut ready = [0; 8];
    silent.read_exact(&mut ready).await.unwrap();
    assert_eq!((ready[0], &ready[2..]), (4, &b"\x05READY"[..]));
}

#[tokio::test]
async fn who_hangs_up_before_it_is_anybody_is_no_event_and_its_port_is_free_with_the_hub() {
    let endpoint = free();
    let mut hub = hub(&endpoint, WireLimits::default());
    let whole = handshake("DEALER", "");
    for cut in [0, 1, 20, 64, whole.len() - 1, whole.len()] {
        let mut stream = TcpStream::connect(address(&endpoint)).await.unwrap();
        stream.write_all(&whole[..cut]).await.unwrap();
    }
    let _stays = raw(&endpoint, "stays").await;
    let deadline = Instant::now() + LONG;
    while hub.connections().iter().all(|it| it.identity != "stays") || hub.pending() > 0 {
        assert!(Instant::now() < deadline, "{} pending", hub.pending());
        drop(timeout(Duration::from_millis(20), hub.next()).await);
    }
    assert_eq!(hub.counters().accepted, 7);
    assert_eq!(hub.counters().rejected.total(), 0);
    drop(hub);
    super::tests::hub(&endpoint, WireLimits::default());
}

#[tokio::test]
async fn a_name_is_not_waited_for_long_where_its_holder_answers() {
    let endpoint = free();
    let limits = WireLimits {
        handshake_ms: 60_000,
        ..WireLimits::default()
    };
    let server = echo(hub(&endpoint, limits));
    let _first = raw(&endpoint, "twin").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut second = raw(&endpoint, "twin").await;
    let told = rest(&mut second).await;
    assert!(contains(&told, Limit::Identity.words()), "{told:?}");
    server.abort();
}

#[tokio::test]
async fn connections_are_bounded() {
    let endpoint = free();
    let limits = WireLimits {
        connections_max: 1,
        ..WireLimits::default()
    };
    let server = echo(hub(&endpoint, limits));
    let mut one = Dialler::new(endpoint.clone(), None, None);
    let deadline = Instant::now() + LONG;
    assert_eq!(one.request(text("x"), deadline).await, Ok(text("x")));
    let refused = dial::request(&endpoint, text("x"), LONG).await;
    assert_eq!(refused, Err(DialError::Refused));
    drop(one);
    // The hub hears of the end a moment after it came; until then the next one is refused.
    let answer = loop {
        match dial::request(&endpoint, text("x"), LONG).await {
            Err(DialError::Refused) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => break other,
        }
    };
    assert_eq!(answer, Ok(text("x")));
    server.abort();
}

#[tokio::test]
async fn messages_are_bounded_in_bytes_and_parts() {
    let endpoint = free();
    let limits = WireLimits {
        message_bytes_max: 1_000,
        parts_max: 3,
        ..WireLimits::default()
    };
    let server = echo(hub(&endpoint, limits));
    let ask = |frames: Vec<Bytes>| dial::request(&endpoint, frames, LONG);
    let x = || Bytes::from_static(b"x");
    assert!(ask(vec![vec![7; 1_000].into()]).await.is_ok());
    let over = ask(vec![vec![7; 1_000 + 200].into()]).await;
    assert_eq!(over, Err(DialError::Closed));
    // The empty frame of the envelope counts.
    assert!(ask(vec![x(), x()]).await.is_ok());
    assert_eq!(ask(vec![x(), x(), x()]).await, Err(DialError::Closed));
    server.abort();
}

#[tokio::test]
async fn a_stalled_peer_costs_its_own_bound_and_stalls_nobody() {
    let endpoint = free();
    let limits = WireLimits {
        peer_bytes_max: 1 << 20,
        ..WireLimits::default()
    };
    let mut hub = hub(&endpoint, limits);
    let _stalled = raw(&endpoint, "stalled").await;
    let HubEvent::Opened { conn, .. } = next(&mut hub).await else {
        panic!("the handshake comes first");
    };
    let block = Bytes::from(vec![1; 64 * 1024]);
    let mut sent = 0_u64;
    while hub.send(conn, vec![block.clone()]).is_ok() {
        sent += 1;
        assert!(sent < 10_000, "the bound holds");
    }
    assert_eq!(hub.send(conn, vec![block]), Err(SendError::Full));
    let facts = &hub.connections()[0];
    assert_eq!((facts.messages_out, facts.dropped.full), (sent, 2));
    assert!(facts.queued_bytes <= 1 << 20, "{}", facts.queued_bytes);
    let server = echo(hub);
    assert_eq!(
        dial::request(&endpoint, text("x"), LONG).await,
        Ok(text("x"))
    );
    server.abort();
}

#[tokio::test]
async fn what_is_sent_in_one_turn_is_bounded_only_where_the_kernel_does_not_take_it() {
    let endpoint = free();
    let limits = WireLimits {
        peer_bytes_max: 1_000,
        ..WireLimits::default()
    };
    let mut hub = hub(&endpoint, limits);
    let mut reader = raw(&endpoint, "reader").await;
    let HubEvent::Opened { conn, .. } = next(&mut hub).await else {
        panic!("the handshake comes first");
    };
    let body = Bytes::from(vec![b'z'; 100]);
    // A socket that is new to the runtime takes nothing before it was looked at once.
    hub.send(conn, vec![body.clone()]).unwrap();
    while hub.connections()[0].queued_bytes > 0 {
        tokio::task::yield_now().await;
    }
    for _ in 1..100 {
        assert_eq!(hub.send(conn, vec![body.clone()]), Ok(()));
    }
    // What was sent before a connection is closed goes before.
    hub.close(conn);
    let said = rest(&mut reader).await;
    let count = said.iter().filter(|byte| **byte == b'z').count();
    assert_eq!(count, 100 * 100);
}

/// Reads until the stream ends; gives what came.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    timeout(LONG, stream.read_to_end(&mut got))
        .await
        .expect("it ends")
        .ok();
    got
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|it| it == text.as_bytes())
}

#[tokio::test]
async fn an_identity_is_held_by_one_connection_of_a_port_until_it_ends() {
    let (endpoint, other) = (free(), free());
    let limits = WireLimits {
        handshake_ms: 2_000,
        ..WireLimits::default()
    };
    let mut hub = hub(&endpoint, limits);
    hub.listen("other", &other, SocketType::Router, Security::Open)
        .unwrap();
    let mut first = raw(&endpoint, "twin").await;
    assert!(matches!(next(&mut hub).await, HubEvent::Opened { .. }));
    let mut second = raw(&endpoint, "twin").await;
    let elsewhere = raw(&other, "twin").await;
    // The claimant is refused without an event; another port has names of its own.
    let opened = next(&mut hub).await;
    assert!(matches!(opened, HubEvent::Opened { port, .. } if &*port == "other"));
    let told = tokio::select! {
        told = rest(&mut second) => told,
        event = hub.next() => panic!("nothing happens meanwhile: {event:?}"),
    };
    assert!(contains(&told, "\x05ERROR") && !contains(&told, "\x05READY"));
    assert!(contains(&told, Limit::Identity.words()), "{told:?}");
    assert_eq!(hub.counters().rejected.of(Limit::Identity), 1);
    let refusal = hub.refusals().pop().unwrap();
    assert_eq!((refusal.limit, refusal.count), (Limit::Identity, 1));
    assert_eq!(refusal.address, "127.0.0.1");
    // The first is as it was, and its name is free once it ends.
    first.write_all(&[0, 2, b'h', b'i']).await.unwrap();
    let HubEvent::Message { conn, frames, .. } = next(&mut hub).await else {
        panic!("a message of the first");
    };
    hub.send(conn, frames).unwrap();
    drop(elsewhere);
    assert!(matches!(next(&mut hub).await, HubEvent::Closed { .. }));
    // Who comes while it is held and stays until it is free gets it.
    let _third = raw(&endpoint, "twin").await;
    drop(first);
    assert!(matches!(next(&mut hub).await, HubEvent::Closed { .. }));
    assert!(matches!(next(&mut hub).await, HubEvent::Opened { .. }));
    assert_eq!(hub.counters().rejected.of(Limit::Identity), 1);
}

/// Hears a hub until so many wait; nothing else happens.
async fn waiting(hub: &mut Hub, count: usize) {
    while hub
        .connections()
        .iter()
        .filter(|it| !it.handshake_done)
        .count()
        < count
    {
        let heard = timeout(Duration::from_millis(20), hub.next()).await;
        assert!(heard.is_err(), "nothing happens meanwhile: {heard:?}");
    }
}

#[tokio::test]
async fn a_name_goes_to_nobody_who_was_told_that_its_time_is_over() {
    let endpoint = free();
    let mut hub = hub(&endpoint, WireLimits::default());
    let _holder = raw(&endpoint, "twin").await;
    let HubEvent::Opened { conn, .. } = next(&mut hub).await else {
        panic!("the first gets the name");
    };
    let mut late = raw(&endpoint, "twin").await;
    waiting(&mut hub, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _next = raw(&endpoint, "twin").await;
    waiting(&mut hub, 2).await;
    // From here on the owner hears nothing, until the one was refused and the name is free.
    let mut told = vec![0; 4096];
    let mut count = 0;
    while !contains(&told[..count], Limit::Identity.words()) {
        let read = timeout(LONG, late.read(&mut told[count..])).await;
        count += read.expect("it is told in time").unwrap();
    }
    assert!(hub.kick(conn));
    let gone = next(&mut hub).await;
    assert!(matches!(gone, HubEvent::Closed { conn: it, .. } if it == conn));
    // The one that still waits has it.
    assert!(matches!(next(&mut hub).await, HubEvent::Opened { .. }));
    let heard = timeout(Duration::from_millis(100), hub.next()).await;
    assert!(heard.is_err(), "nobody else is opened or closed: {heard:?}");
    assert_eq!(hub.counters().rejected.of(Limit::Identity), 1);
}
