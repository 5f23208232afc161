//! CURVE between our wire and libzmq's, as pyzmq brings it with libsodium: who is admitted exchanges
//! messages of every size, who is not gets none through, and each side says why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use zmqnet::model::endpoint::Endpoint;
use zmqnet::model::key::KeyPair;
use zmqnet::model::limits::WireLimits;
use zmqnet::model::socket::SocketType;
use zmqnet::wire::curve::{self, CurveClient};
use zmqnet::wire::dial::{DialError, DialState, Dialler};
use zmqnet::wire::hub::{
    Admission, CloseReason, ConnId, Dialling, Guard, Hub, HubEvent, Mechanism, Security,
};

use crate::support::{DEADLINE, Ran, Running, World, ports, py, python};

/// A DEALER that sends what it is told to and wants it back; its argument says how it is secured.
const CLIENT: &str = r#"
import os, sys, zmq
from zmq.utils.monitor import recv_monitor_message
how, endpoint, server, public, secret = sys.argv[1:6]
sizes = [0, 1, 63, 64, 255, 256, 1000, 65536, 1 << 20]

def dealer():
    s = zmq.Context.instance().socket(zmq.DEALER)
    s.linger, s.rcvtimeo = 0, 20_000
    if how == "curve":
        s.curve_serverkey, s.curve_publickey, s.curve_secretkey = server.encode(), public.encode(), secret.encode()
    elif how == "plain":
        s.plain_username, s.plain_password = b"ann", b"secret"
    return s

if sys.argv[6] == "refused":
    s = dealer()
    m = s.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                             | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
    s.connect(endpoint)
    s.send(b"never")
    assert m.poll(20_000), "no end of the handshake"
    event = recv_monitor_message(m)
    print(zmq.Event(event["event"]).name, event["value"])
else:
    for life in range(3):
        s = dealer()
        s.connect(endpoint)
        for size in sizes:
            parts = [b"head", os.urandom(size), b""]
            s.send_multipart(parts)
            assert s.recv_multipart() == parts, size
        for i in range(2_000):
            s.send(b"%d" % i)
        for i in range(2_000):
            assert s.recv() == b"%d" % i
        s.close()
    print("served")
"#;

/// A ROUTER that gives everything back, whom its arguments admit. It prints when it listens.
const SERVER: &str = r#"
import sys, zmq, threading, time
from zmq.auth.thread import ThreadAuthenticator
how, endpoint, public, secret, allowed = sys.argv[1:6]
ctx = zmq.Context.instance()
if how == "curve":
    auth = ThreadAuthenticator(ctx)
    auth.start()
    class Keys:
        def callback(self, domain, key):
            return key == allowed.encode()
    auth.configure_curve_callback("*", Keys())
def router():
    s = ctx.socket(zmq.ROUTER)
    s.linger = 0
    if how == "curve":
        s.curve_server, s.curve_publickey, s.curve_secretkey = True, public.encode(), secret.encode()
    if how == "plain":
        s.plain_server = True
    while True:
        try:
            s.bind(endpoint)
            return s
        except zmq.ZMQError:
            time.sleep(0.01)
s = router()
print("up", flush=True)
while True:
    parts = s.recv_multipart()
    if parts[-1] == b"again":
        s.close()
        s = router()
    else:
        s.send_multipart(parts)
"#;

fn endpoint() -> Endpoint {
    Endpoint::tcp("127.0.0.1", ports(1))
}

fn admission(own: &KeyPair, allowed: &[&KeyPair]) -> Admission {
    Admission {
        own: vec![own.clone()],
        allowed: allowed
            .iter()
            .map(|pair| (pair.public, "ann".to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ..Admission::default()
    }
}

fn secured(own: &KeyPair, allowed: &[&KeyPair]) -> Security {
    Security::Curve(Arc::new(Guard::new(admission(own, allowed))))
}

fn listener(endpoint: &Endpoint, security: Security) -> Hub {
    let mut hub = Hub::new(WireLimits::default(), "ZN1:test");
    hub.listen("main", endpoint, SocketType::Router, security)
        .unwrap();
    hub
}

/// Gives every message back until `done`; gives how many there were.
async fn echo<T>(hub: &mut Hub, done: impl Future<Output = T>) -> (T, usize) {
    let mut count = 0;
    tokio::pin!(done);
    loop {
        tokio::select! {
            done = &mut done => return (done, count),
            event = hub.next() => if let HubEvent::Message { conn, frames, .. } = event {
                hub.send(conn, frames).unwrap();
                count += 1;
            }
        }
    }
}

/// Runs the client beside a hub that gives everything back.
async fn client(hub: &mut Hub, args: [String; 6]) -> (Ran, usize) {
    let running = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        py(&World::new(), CLIENT, &args)
    });
    let (ran, count) = echo(hub, timeout(DEADLINE * 2, running)).await;
    (ran.expect("in time").unwrap(), count)
}

fn told(how: &str, to: &Endpoint, server: &KeyPair, own: &KeyPair, what: &str) -> [String; 6] {
    [
        how.to_owned(),
        to.to_string(),
        server.public.to_string(),
        own.public.to_string(),
        own.secret.to_z85().to_string(),
        what.to_owned(),
    ]
}

/// Starts the server and waits until it listens.
fn serve(how: &str, at: &Endpoint, own: &KeyPair, allowed: &KeyPair) -> Running {
    let world = World::new();
    let mut command = world.command(python());
    let secret = own.secret.to_z85();
    command.args(["-c", SERVER, how]).args([
        &at.to_string(),
        &own.public.to_string(),
        &*secret,
        &allowed.public.to_string(),
    ]);
    let mut running = Running::start(&mut command);
    let mut line = [0; 3];
    let out = running.0.stdout.as_mut().unwrap();
    std::io::Read::read_exact(out, &mut line).unwrap();
    assert_eq!(&line, b"up\n");
    running
}

fn keys(own: &KeyPair, server: &KeyPair) -> Option<CurveClient> {
    Some(CurveClient {
        own: own.clone(),
        server: server.public,
    })
}

async fn next(hub: &mut Hub) -> HubEvent {
    timeout(DEADLINE, hub.next())
        .await
        .expect("an event in time")
}

async fn opened(hub: &mut Hub) -> ConnId {
    let opening = async {
        loop {
            if let HubEvent::Opened { conn, .. } = hub.next().await {
                return conn;
            }
        }
    };
    timeout(DEADLINE, opening)
        .await
        .expect("a connection in time")
}

#[tokio::test]
async fn a_libzmq_client_with_the_right_key_is_served_through_reconnects() {
    let [server, ann] = [(); 2].map(|()| curve::generate());
    let at = endpoint();
    let mut hub = listener(&at, secured(&server, &[&ann]));
    let (ran, count) = client(&mut hub, told("curve", &at, &server, &ann, "served")).await;
    assert_eq!(ran.stdout, "served\n", "{}", ran.stderr);
    assert_eq!(count, 3 * (9 + 2_000));
}

type Case<'a> = (&'a str, (&'a KeyPair, &'a KeyPair), &'a str, &'a str);

/// How the client is secured, whom it expects and who it is, what libzmq says of its end, and what
/// we say.
fn case<'a>(
    how: &'a str,
    keys: (&'a KeyPair, &'a KeyPair),
    end: &'a str,
    why: &'a str,
) -> Case<'a> {
    (how, keys, end, why)
}

#[tokio::test]
async fn a_libzmq_client_that_is_not_admitted_gets_nothing_through() {
    let [server, ann, eve] = [(); 3].map(|()| curve::generate());
    let protocol = "HANDSHAKE_FAILED_PROTOCOL";
    let cases = [
        case("curve", (&server, &eve), "400", "not on the allow-list"),
        case("curve", (&eve, &ann), "DISCONNECTED", "wrong server key"),
        case(
            "null",
            (&server, &ann),
            protocol,
            "it speaks NULL, not CURVE",
        ),
        case(
            "plain",
            (&server, &ann),
            protocol,
            "it speaks PLAIN, not CURVE",
        ),
        case(
            "curve",
            (&server, &ann),
            protocol,
            "it speaks CURVE, not NULL",
        ),
        case(
            "plain",
            (&server, &ann),
            protocol,
            "it speaks PLAIN, not NULL",
        ),
    ];
    for (how, (expects, own), end, why) in cases {
        let at = endpoint();
        let security = match why.ends_with("not NULL") {
            true => Security::Open,
            false => secured(&server, &[&ann]),
        };
        let mut hub = listener(&at, security);
        let (ran, count) = client(&mut hub, told(how, &at, expects, own, "refused")).await;
        assert!(
            ran.stdout.contains(end),
            "{end}: {}{}",
            ran.stdout,
            ran.stderr
        );
        assert_eq!(count, 0, "{end}");
        let refusals = hub.refusals();
        let refusal = refusals.iter().find(|it| it.reason.contains(why));
        let refusal = refusal.unwrap_or_else(|| panic!("{why}: {refusals:?}"));
        assert_eq!(
            (refusal.port.as_str(), refusal.address.as_str()),
            ("main", "127.0.0.1")
        );
        let shown = (own.public == eve.public).then(|| eve.public.to_string());
        assert_eq!(refusal.key, shown, "a key is named where one was shown");
    }
}

#[tokio::test]
async fn our_diallers_are_served_by_a_libzmq_server_and_come_back_to_it() {
    let [server, ann] = [(); 2].map(|()| curve::generate());
    let at = endpoint();
    let _server = serve("curve", &at, &server, &ann);
    let mut hub = Hub::new(WireLimits::default(), "");
    let dialling = Dialling {
        identity: Bytes::from_static(b"ann"),
        security: keys(&ann, &server),
    };
    hub.dial("out", &at, SocketType::Dealer, dialling);
    for _ in 0..3 {
        let conn = opened(&mut hub).await;
        for size in [0, 1, 255, 256, 65_536, 1 << 20] {
            let frames = vec![Bytes::from("head"), vec![7; size].into(), Bytes::new()];
            hub.send(conn, frames.clone()).unwrap();
            let got = next(&mut hub).await;
            assert!(
                matches!(got, HubEvent::Message { frames: it, .. } if it == frames),
                "{size}"
            );
        }
        hub.send(conn, vec!["again".into()]).unwrap();
        let lost = next(&mut hub).await;
        assert!(
            matches!(
                &lost,
                HubEvent::Closed {
                    reason: CloseReason::Peer | CloseReason::Io(_),
                    ..
                }
            ),
            "{lost:?}"
        );
    }
    let mut dialler = Dialler::new(at, Some("ann".into()), keys(&ann, &server));
    let until = Instant::now() + DEADLINE;
    assert_eq!(dialler.connect_patiently(until).await, Ok(()));
    for _ in 0..3 {
        let request = vec![Bytes::from("hello"), vec![1; 100_000].into()];
        let reply = dialler
            .request(request.clone(), Instant::now() + DEADLINE)
            .await;
        assert_eq!(reply, Ok(request));
    }
}

#[tokio::test]
async fn our_diallers_say_in_which_way_a_libzmq_server_refuses_them() {
    let [server, ann, eve] = [(); 3].map(|()| curve::generate());
    let cases = [
        ("curve", keys(&ann, &eve), DialError::WrongServerKey),
        ("curve", keys(&eve, &server), DialError::KeyRefused),
        (
            "null",
            keys(&ann, &server),
            DialError::Speaks(Mechanism::Null),
        ),
        (
            "plain",
            keys(&ann, &server),
            DialError::Speaks(Mechanism::Plain),
        ),
        ("curve", None, DialError::Speaks(Mechanism::Curve)),
    ];
    for (how, keys, expected) in cases {
        let at = endpoint();
        let _server = serve(how, &at, &server, &ann);
        let mut hub = Hub::new(WireLimits::default(), "");
        let dialling = Dialling {
            identity: Bytes::new(),
            security: keys.clone(),
        };
        hub.dial("out", &at, SocketType::Dealer, dialling);
        let told = next(&mut hub).await;
        assert!(
            matches!(&told, HubEvent::DialFailed { reason, .. } if *reason == expected),
            "{how}: {told:?}"
        );
        let mut dialler = Dialler::new(at, None, keys);
        let until = Instant::now() + Duration::from_secs(5);
        let asked = dialler.request(vec!["hello".into()], until).await;
        assert_eq!(asked, Err(expected.clone()), "{how}");
        assert_eq!(dialler.state(), DialState::from(&expected));
    }
}
