//! What the owner of a hub does with its connections, over real sockets: subscriptions, pausing,
//! kicks and bans.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::hub::{Ban, CloseReason, ConnId, Dialling, Hub, HubEvent, Limit, Security, SendError};
use super::tests::{address, free, hub, is_closed, next, raw, raw_as};

/// A subscription as a command.
fn subscribe(topic: &[u8], name: &str) -> Vec<u8> {
    let mut bytes = vec![4 | 2];
    bytes.extend((1 + name.len() as u64 + topic.len() as u64).to_be_bytes());
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(topic);
    bytes
}

/// A subscription as the message that it was before ZMTP 3.1.
fn old(topic: &[u8], tag: u8) -> Vec<u8> {
    let mut bytes = vec![2];
    bytes.extend((1 + topic.len() as u64).to_be_bytes());
    bytes.push(tag);
    bytes.extend_from_slice(topic);
    bytes
}

async fn opened(hub: &mut Hub) -> ConnId {
    match next(hub).await {
        HubEvent::Opened { conn, .. } => conn,
        other => panic!("the handshake comes first: {other:?}"),
    }
}

fn publisher(limits: WireLimits, ty: SocketType) -> (Hub, Endpoint) {
    let endpoint = free();
    let mut hub = Hub::new(limits, "");
    hub.listen("out", &endpoint, ty, Security::Open).unwrap();
    (hub, endpoint)
}

#[tokio::test]
async fn subscriptions_are_events_in_both_their_forms() {
    for ty in [SocketType::Pub, SocketType::Xpub] {
        let (mut hub, endpoint) = publisher(WireLimits::default(), ty);
        let mut peer = raw_as(&endpoint, "SUB", "").await;
        let conn = opened(&mut hub).await;
        peer.write_all(&subscribe(b"news", "SUBSCRIBE"))
            .await
            .unwrap();
        peer.write_all(&old(b"old", 1)).await.unwrap();
        peer.write_all(&old(b"old", 0)).await.unwrap();
        // It was never subscribed to, so nothing is said of it.
        peer.write_all(&old(b"none", 0)).await.unwrap();
        peer.write_all(&subscribe(b"news", "CANCEL")).await.unwrap();
        for (expected, on) in [
            ("news", true),
            ("old", true),
            ("old", false),
            ("news", false),
        ] {
            let HubEvent::Subscribed { topic, is_on, .. } = next(&mut hub).await else {
                panic!("a subscription to {expected}");
            };
            assert_eq!((&topic[..], is_on), (expected.as_bytes(), on));
        }
        assert_eq!(hub.connections()[0].subscriptions, 0);
        hub.send(conn, vec![Bytes::from_static(b"news!")]).unwrap();
    }
}

#[tokio::test]
async fn topics_and_their_number_are_bounded_in_both_their_forms() {
    let limits = WireLimits {
        subscriptions_max: 100,
        ..WireLimits::default()
    };
    let (largest, over) = (vec![b'x'; 1024], vec![b'x'; 1025]);
    for form in [
        |topic: &[u8]| subscribe(topic, "SUBSCRIBE"),
        |topic: &[u8]| old(topic, 1),
    ] {
        let (mut hub, endpoint) = publisher(limits.clone(), SocketType::Xpub);
        let mut peer = raw_as(&endpoint, "SUB", "").await;
        opened(&mut hub).await;
        peer.write_all(&form(&largest)).await.unwrap();
        for n in 0..100_u32 {
            peer.write_all(&form(&n.to_be_bytes())).await.unwrap();
        }
        let mut subscribed = 0;
        let reason = loop {
            match next(&mut hub).await {
                HubEvent::Subscribed { .. } => subscribed += 1,
                HubEvent::Closed { reason, .. } => break reason,
                other => panic!("{other:?}"),
            }
        };
        // What came whole before is handed out.
        assert_eq!(subscribed, 100);
        assert_eq!(reason, CloseReason::Limit(Limit::Subscriptions));
        assert!(is_closed(&mut peer).await);
        let mut peer = raw_as(&endpoint, "SUB", "").await;
        opened(&mut hub).await;
        peer.write_all(&form(&over)).await.unwrap();
        let HubEvent::Closed { reason, .. } = next(&mut hub).await else {
            panic!("the topic is too long");
        };
        assert_eq!(reason, CloseReason::Limit(Limit::Topic));
        let rejected = hub.counters().rejected;
        let counts = (rejected.of(Limit::Subscriptions), rejected.of(Limit::Topic));
        assert_eq!(counts, (1, 1));
    }
}

#[tokio::test]
async fn a_hub_subscribes_to_another_and_gets_what_is_sent() {
    let (mut theirs, endpoint) = publisher(WireLimits::default(), SocketType::Xpub);
    let mut ours = Hub::new(WireLimits::default(), "");
    ours.dial("in", &endpoint, SocketType::Sub, Dialling::default());
    let (here, there) = tokio::join!(opened(&mut ours), opened(&mut theirs));
    for is_on in [true, false] {
        ours.subscribe(here, Bytes::from_static(b"a"), is_on)
            .unwrap();
        let event = next(&mut theirs).await;
        assert!(matches!(event, HubEvent::Subscribed { is_on: on, .. } if on == is_on));
    }
    theirs.send(there, vec![Bytes::from_static(b"a1")]).unwrap();
    let event = next(&mut ours).await;
    assert!(matches!(event, HubEvent::Message { frames, .. } if frames[0] == "a1"));
    assert_eq!(
        ours.subscribe(ConnId(99), Bytes::new(), true),
        Err(SendError::Closed)
    );
}

#[tokio::test]
async fn what_is_paused_is_not_read_and_goes_on_where_it_was() {
    let endpoint = free();
    let mut hub = hub(&endpoint, WireLimits::default());
    let mut peer = raw(&endpoint, "").await;
    let conn = opened(&mut hub).await;
    hub.pause(conn);
    // Ten megabytes: more than the kernel takes for somebody who does not read.
    let writing = tokio::spawn(async move {
        let mut frame = vec![2];
        frame.extend(10_000_u64.to_be_bytes());
        frame.resize(9 + 10_000, 7);
        for _ in 0..1_000 {
            peer.write_all(&frame).await.unwrap();
        }
        peer
    });
    let silent = timeout(Duration::from_millis(300), hub.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    assert!(!writing.is_finished(), "its kernel slows it down");
    let facts = &hub.connections()[0];
    assert!(facts.is_paused && facts.unread_bytes < 2 << 20, "{facts:?}");
    hub.resume(conn);
    for n in 0..1_000 {
        let event = next(&mut hub).await;
        assert!(matches!(event, HubEvent::Message { .. }), "{n}: {event:?}");
        if n == 500 {
            // An end is heard after all that came before it.
            hub.pause(conn);
            hub.resume(conn);
        }
    }
    drop(writing.await.unwrap());
    assert!(matches!(next(&mut hub).await, HubEvent::Closed { .. }));
}

#[tokio::test]
async fn room_for_messages_is_told_once_the_peer_has_read_half() {
    let endpoint = free();
    let limits = WireLimits {
        peer_bytes_max: 1 << 20,
        ..WireLimits::default()
    };
    let mut hub = hub(&endpoint, limits);
    let mut peer = raw(&endpoint, "").await;
    let conn = opened(&mut hub).await;
    let block = Bytes::from(vec![1; 64 * 1024]);
    while hub.send(conn, vec![block.clone()]).is_ok() {}
    // Also while it is paused, which is about the other direction.
    hub.pause(conn);
    let reading = tokio::spawn(async move { is_closed(&mut peer).await });
    let event = next(&mut hub).await;
    assert!(matches!(event, HubEvent::Writable { conn: it, .. } if it == conn));
    assert!(hub.connections()[0].queued_bytes <= 1 << 19);
    assert_eq!(hub.send(conn, vec![block]), Ok(()));
    hub.close(conn);
    assert!(reading.await.unwrap());
}

#[tokio::test]
async fn who_is_banned_is_ended_and_kept_out_until_the_ban_ends() {
    let endpoint = free();
    let mut hub = hub(&endpoint, WireLimits::default());
    let (mut eve, _ann) = (raw(&endpoint, "eve").await, raw(&endpoint, "ann").await);
    let (first, second) = (opened(&mut hub).await, opened(&mut hub).await);
    let ban = Ban::Identity("eve".to_owned());
    let long = Duration::from_secs(600);
    assert_eq!(hub.ban(ban.clone(), long), Ok(1));
    let banned = CloseReason::Limit(Limit::Banned);
    let event = next(&mut hub).await;
    assert!(matches!(event, HubEvent::Closed { reason, .. } if reason == banned));
    assert!(is_closed(&mut eve).await);
    let mut again = raw(&endpoint, "eve").await;
    tokio::select! {
        closed = is_closed(&mut again) => assert!(closed),
        event = hub.next() => panic!("it is not let in: {event:?}"),
    }
    assert_eq!(hub.bans().len(), 1);
    assert!(hub.lift(&ban) && !hub.lift(&ban));
    let _back = raw(&endpoint, "eve").await;
    opened(&mut hub).await;
    // An address: whoever is there is ended, and nobody gets as far as a handshake.
    let ban = Ban::Address([127, 0, 0, 1].into());
    assert_eq!(hub.ban(ban, Duration::from_millis(200)), Ok(2));
    for _ in 0..2 {
        assert!(matches!(next(&mut hub).await, HubEvent::Closed { .. }));
    }
    let mut out = TcpStream::connect(address(&endpoint)).await.unwrap();
    tokio::select! {
        closed = is_closed(&mut out) => assert!(closed),
        event = hub.next() => panic!("{event:?}"),
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let _ann = raw(&endpoint, "ann").await;
    let third = opened(&mut hub).await;
    assert!(hub.kick(third) && !hub.kick(third), "kicked once");
    let event = next(&mut hub).await;
    assert!(matches!(
        event,
        HubEvent::Closed {
            reason: CloseReason::Kicked,
            ..
        }
    ));
    assert!(first != second && second != third);
    assert_eq!(hub.counters().rejected.of(Limit::Banned), 5);
}

#[tokio::test]
async fn a_flood_of_messages_delays_nobody_else_by_more_than_its_turn() {
    let endpoint = free();
    let mut hub = hub(&endpoint, WireLimits::default());
    let (mut loud, mut quiet) = (raw(&endpoint, "loud").await, raw(&endpoint, "quiet").await);
    let (first, _) = (opened(&mut hub).await, opened(&mut hub).await);
    let flood = [0, 1, b'x'].repeat(20_000);
    loud.write_all(&flood).await.unwrap();
    while hub.connections()[0].unread_bytes == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    quiet.write_all(&[0, 1, b'q']).await.unwrap();
    while hub.connections()[1].unread_bytes == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut before = 0;
    loop {
        match next(&mut hub).await {
            HubEvent::Message { conn, .. } if conn == first => before += 1,
            HubEvent::Message { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        before <= 2,
        "{before} messages of one came before one of another"
    );
}
