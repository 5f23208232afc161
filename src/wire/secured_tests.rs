//! CURVE and dialling by the hub, over sockets: what the two sides say of each other, what is kept
//! and what is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::model::endpoint::Endpoint;
use crate::model::key::{KeyPair, PublicKey};
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::curve::{self, CurveClient};
use super::dial::{DialError, DialState, Dialler};
use super::hub::{
    Admission, CloseReason, ConnId, DialId, Dialling, Guard, Hub, HubEvent, KeyRefusal, Mechanism,
    Security,
};

const LONG: Duration = Duration::from_secs(20);

fn free() -> Endpoint {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    Endpoint::tcp("127.0.0.1", listener.local_addr().unwrap().port())
}

fn admission(own: &[&KeyPair], allowed: &[(&KeyPair, &str)]) -> Admission {
    Admission {
        own: own.iter().copied().cloned().collect(),
        allowed: allowed
            .iter()
            .map(|(pair, who)| (pair.public, (*who).to_owned()))
            .collect::<BTreeMap<PublicKey, String>>(),
        ..Admission::default()
    }
}

fn listener(endpoint: &Endpoint, security: Security) -> Hub {
    let mut hub = Hub::new(WireLimits::default(), "ZN1:test");
    hub.listen("main", endpoint, SocketType::Router, security)
        .unwrap();
    hub
}

fn keys(own: &KeyPair, server: &KeyPair) -> Option<CurveClient> {
    Some(CurveClient {
        own: own.clone(),
        server: server.public,
    })
}

/// A port lets one connection at a time have a name.
fn name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("dealer{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn dial(hub: &mut Hub, to: &Endpoint, security: Option<CurveClient>) -> DialId {
    let dialling = Dialling {
        identity: name().into(),
        security,
    };
    hub.dial("out", to, SocketType::Dealer, dialling)
}

async fn next(hub: &mut Hub) -> HubEvent {
    timeout(LONG, hub.next()).await.expect("an event in time")
}

/// Drives a hub until an event is what is looked for.
async fn until<T>(hub: &mut Hub, mut look: impl FnMut(HubEvent) -> Option<T>) -> T {
    loop {
        if let Some(found) = look(next(hub).await) {
            return found;
        }
    }
}

async fn opened(hub: &mut Hub) -> (ConnId, Option<DialId>) {
    until(hub, |event| match event {
        HubEvent::Opened { conn, dial, .. } => Some((conn, dial)),
        _ => None,
    })
    .await
}

async fn failed(hub: &mut Hub) -> DialError {
    until(hub, |event| match event {
        HubEvent::DialFailed { reason, .. } => Some(reason),
        _ => None,
    })
    .await
}

async fn closed(hub: &mut Hub) -> CloseReason {
    until(hub, |event| match event {
        HubEvent::Closed { reason, .. } => Some(reason),
        _ => None,
    })
    .await
}

async fn message(hub: &mut Hub) -> (ConnId, Vec<Bytes>) {
    until(hub, |event| match event {
        HubEvent::Message { conn, frames, .. } => Some((conn, frames)),
        _ => None,
    })
    .await
}

/// Runs a hub beside the one that is looked at.
async fn beside<T>(hub: &mut Hub, looked_at: impl Future<Output = T>) -> T {
    tokio::pin!(looked_at);
    loop {
        tokio::select! {
            found = &mut looked_at => return found,
            _ = hub.next() => {}
        }
    }
}

#[tokio::test]
async fn a_dial_is_kept_over_a_restart_and_ends_when_it_is_hung_up() {
    let (server, client) = (curve::generate(), curve::generate());
    let endpoint = free();
    let mut ours = Hub::new(WireLimits::default(), "");
    let id = dial(&mut ours, &endpoint, keys(&client, &server));
    assert_eq!(failed(&mut ours).await, DialError::NobodyListens);
    assert_eq!(failed(&mut ours).await, DialError::NobodyListens);
    for _ in 0..2 {
        let guard = Guard::new(admission(&[&server], &[(&client, "ann")]));
        let mut theirs = listener(&endpoint, Security::Curve(Arc::new(guard)));
        let ((conn, by), (there, _)) = tokio::join!(opened(&mut ours), opened(&mut theirs));
        assert_eq!((by, ours.connection_of(id)), (Some(id), Some(conn)));
        let facts = theirs.connections().pop().unwrap();
        assert_eq!(
            (facts.mechanism, facts.zmtp_minor),
            (Mechanism::Curve, Some(1))
        );
        assert_eq!(
            (facts.key, facts.who.as_deref()),
            (Some(client.public), Some("ann"))
        );
        assert!(facts.identity.starts_with("dealer"));
        assert_eq!(ours.connections()[0].key, Some(server.public));
        // Frames of every size pass both ways, and keep their borders.
        let frames = vec![
            Bytes::new(),
            vec![7; 65_536].into(),
            vec![9; 1 << 20].into(),
        ];
        ours.send(conn, frames.clone()).unwrap();
        let got = beside(&mut ours, message(&mut theirs)).await;
        assert_eq!(got, (there, frames.clone()));
        theirs.send(there, frames.clone()).unwrap();
        let got = beside(&mut theirs, message(&mut ours)).await;
        assert_eq!(got, (conn, frames));
        drop(theirs);
        let lost = closed(&mut ours).await;
        assert!(
            matches!(lost, CloseReason::Peer | CloseReason::Io(_)),
            "{lost:?}"
        );
    }
    ours.hang_up(id);
    let quiet = timeout(Duration::from_millis(300), async {
        loop {
            let event = ours.next().await;
            assert!(!matches!(event, HubEvent::DialFailed { .. }), "{event:?}");
        }
    });
    assert!(
        quiet.await.is_err(),
        "nothing is told of a dial that is over"
    );
}

#[tokio::test]
async fn one_dial_once_is_one_event() {
    let endpoint = free();
    let mut ours = Hub::new(WireLimits::default(), "");
    let id = ours.dial_once("out", &endpoint, SocketType::Dealer, Dialling::default());
    let told = next(&mut ours).await;
    assert!(
        matches!(told, HubEvent::DialFailed { dial, reason: DialError::NobodyListens, .. } if dial == id)
    );
    let mut theirs = listener(&endpoint, Security::Open);
    ours.dial_once("out", &endpoint, SocketType::Dealer, Dialling::default());
    tokio::join!(opened(&mut ours), opened(&mut theirs));
    drop(theirs);
    let lost = closed(&mut ours).await;
    assert!(
        matches!(lost, CloseReason::Peer | CloseReason::Io(_)),
        "{lost:?}"
    );
    let again = timeout(Duration::from_millis(300), ours.next()).await;
    assert!(again.is_err(), "{again:?}");
}

#[tokio::test]
async fn both_ways_of_dialling_say_in_which_way_they_were_refused() {
    let [server, client, other] = [(); 3].map(|()| curve::generate());
    let secured = || {
        let guard = Guard::new(admission(&[&server], &[(&client, "ann")]));
        Security::Curve(Arc::new(guard))
    };
    let cases = [
        (secured(), keys(&client, &other), DialError::WrongServerKey),
        (secured(), keys(&other, &server), DialError::KeyRefused),
        (secured(), None, DialError::Speaks(Mechanism::Curve)),
        (
            Security::Open,
            keys(&client, &server),
            DialError::Speaks(Mechanism::Null),
        ),
    ];
    for (security, keys, expected) in cases {
        let endpoint = free();
        let mut theirs = listener(&endpoint, security);
        let mut ours = Hub::new(WireLimits::default(), "");
        dial(&mut ours, &endpoint, keys.clone());
        assert_eq!(beside(&mut theirs, failed(&mut ours)).await, expected);
        let mut dialler = Dialler::new(endpoint, None, keys);
        let asked = dialler.request(vec!["hello".into()], Instant::now() + LONG);
        assert_eq!(beside(&mut theirs, asked).await, Err(expected.clone()));
        assert_eq!(dialler.state(), DialState::from(&expected));
    }
}

#[tokio::test]
async fn a_dialler_under_curve_asks_and_notices_a_loss_while_it_is_idle() {
    let (server, client) = (curve::generate(), curve::generate());
    let endpoint = free();
    let guard = Guard::new(admission(&[&server], &[(&client, "ann")]));
    let mut theirs = listener(&endpoint, Security::Curve(Arc::new(guard)));
    let mut dialler = Dialler::new(endpoint, Some("alpha".into()), keys(&client, &server));
    let asking = dialler.request(vec!["hello".into()], Instant::now() + LONG);
    let answering = async {
        let (conn, frames) = message(&mut theirs).await;
        assert_eq!(frames, [Bytes::new(), Bytes::from("hello")]);
        theirs.send(conn, frames).unwrap();
    };
    let (reply, ()) = tokio::join!(asking, answering);
    assert_eq!(reply, Ok(vec![Bytes::from("hello")]));
    assert_eq!(dialler.announced(), b"ZN1:test");
    assert!(theirs.connections()[0].identity.starts_with("alpha#"));
    drop(theirs);
    timeout(LONG, dialler.lost())
        .await
        .expect("the loss in time");
    assert!(!dialler.is_connected());
    assert_eq!(dialler.state(), DialState::Lost);
}

#[tokio::test]
async fn rotation_keeps_what_is_connected_and_a_revoked_key_ends_it_at_once() {
    let [old, new, ann, bob] = [(); 4].map(|()| curve::generate());
    let endpoint = free();
    let guard = Arc::new(Guard::new(admission(
        &[&old],
        &[(&ann, "ann"), (&bob, "bob")],
    )));
    let mut theirs = listener(&endpoint, Security::Curve(guard.clone()));
    let mut ours = Hub::new(WireLimits::default(), "");
    for client in [&ann, &bob] {
        dial(&mut ours, &endpoint, keys(client, &old));
        tokio::join!(opened(&mut ours), opened(&mut theirs));
    }
    // The old pair is in overlap: who is connected stays, who knows either key gets in.
    let rotated = |allowed: &[(&KeyPair, &str)]| admission(&[&new, &old], allowed);
    guard.replace(rotated(&[(&ann, "ann"), (&bob, "bob")]));
    theirs.recheck();
    for server in [&old, &new] {
        let id = dial(&mut ours, &endpoint, keys(&ann, server));
        tokio::join!(opened(&mut ours), opened(&mut theirs));
        ours.hang_up(id);
    }
    assert_eq!(
        theirs
            .connections()
            .iter()
            .filter(|c| c.who.as_deref() == Some("bob"))
            .count(),
        1
    );
    // Bob is revoked: his connection ends at once, with its reason, and no other does.
    let mut revoking = rotated(&[(&ann, "ann"), (&bob, "bob")]);
    revoking.revoked.insert(bob.public);
    guard.replace(revoking);
    theirs.recheck();
    let (key, refusal) = (bob.public, KeyRefusal::Revoked);
    until(&mut theirs, |event| match event {
        HubEvent::Closed { reason, .. } if reason == CloseReason::Key { key, refusal } => Some(()),
        _ => None,
    })
    .await;
    let refused = beside(&mut theirs, failed(&mut ours)).await;
    assert_eq!(refused, DialError::KeyRefused);
    assert!(
        theirs
            .connections()
            .iter()
            .any(|c| c.who.as_deref() == Some("ann") && c.handshake_done)
    );
}

#[tokio::test]
async fn who_listens_and_is_no_zmtp_or_falls_silent_is_named() {
    let client = curve::generate();
    let listening = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = Endpoint::tcp("127.0.0.1", listening.local_addr().unwrap().port());
    let web = async {
        let (mut stream, _) = listening.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let (mut silent, _) = listening.accept().await.unwrap();
        let mut sink = [0; 256];
        // It waits for our whole greeting, shown after a moment, and then says nothing.
        let mut seen = 0;
        while seen < 64 {
            seen += silent.read(&mut sink).await.unwrap();
        }
        (stream, silent)
    };
    let asking = async {
        let mut dialler = Dialler::new(endpoint.clone(), None, keys(&client, &client));
        let first = dialler.connect(Instant::now() + LONG).await;
        let second = dialler
            .connect(Instant::now() + Duration::from_millis(300))
            .await;
        (first, second)
    };
    let (_held, (first, second)) = tokio::join!(web, asking);
    assert_eq!(first, Err(DialError::NotZmtp));
    assert_eq!(second, Err(DialError::NoHandshake));
}

#[tokio::test]
async fn a_dialler_without_keys_notices_a_loss_while_it_is_idle() {
    let endpoint = free();
    let mut theirs = listener(&endpoint, Security::Open);
    let mut dialler = Dialler::new(endpoint, None, None);
    let connecting = dialler.connect(Instant::now() + LONG);
    assert_eq!(beside(&mut theirs, connecting).await, Ok(()));
    let kept = timeout(Duration::from_millis(500), dialler.lost());
    assert!(beside(&mut theirs, kept).await.is_err());
    drop(theirs);
    timeout(LONG, dialler.lost())
        .await
        .expect("the loss in time");
    assert!(!dialler.is_connected());
    assert_eq!(dialler.state(), DialState::Lost);
}
