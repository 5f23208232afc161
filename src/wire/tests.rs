//! The hub and the dialler against each other and against raw bytes: what was measured of the
//! libraries' corners, held as tests.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::limits::hub::INBOX_MESSAGES_MAX;
use crate::model::socket::SocketType;

use super::dial::{self, DialError, DialState, Dialler};
use super::hub::{Hub, HubEvent, ListenError, Security, SendError};

pub(super) const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

/// A port that is free now.
pub(super) fn free() -> Endpoint {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    Endpoint::tcp("127.0.0.1", listener.local_addr().unwrap().port())
}

pub(super) fn address(endpoint: &Endpoint) -> (&'static str, u16) {
    ("127.0.0.1", endpoint.port().unwrap())
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("zw{}-{name}", std::process::id()));
    drop(std::fs::remove_file(&path));
    path
}

pub(super) fn hub(endpoint: &Endpoint, limits: WireLimits) -> Hub {
    let mut hub = Hub::new(limits, "ZN1:test");
    hub.listen("main", endpoint, SocketType::Router, Security::Open)
        .unwrap();
    hub
}

/// Answers every message with itself, until it is aborted.
pub(super) fn echo(mut hub: Hub) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let HubEvent::Message { conn, frames, .. } = hub.next().await {
                hub.send(conn, frames).ok();
            }
        }
    })
}

pub(super) async fn next(hub: &mut Hub) -> HubEvent {
    timeout(LONG, hub.next()).await.expect("an event in time")
}

pub(super) fn text(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

pub(super) fn greeting() -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    bytes.extend_from_slice(b"NULL");
    bytes.resize(64, 0);
    bytes
}

/// A raw ZMTP peer whose handshake is sent but not read.
pub(super) async fn raw(endpoint: &Endpoint, identity: &str) -> TcpStream {
    raw_as(endpoint, "DEALER", identity).await
}

/// The same with a socket type.
pub(super) async fn raw_as(endpoint: &Endpoint, ty: &str, identity: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address(endpoint)).await.unwrap();
    stream.write_all(&handshake(ty, identity)).await.unwrap();
    stream
}

/// All that a peer says in its handshake.
pub(super) fn handshake(ty: &str, identity: &str) -> Vec<u8> {
    let mut ready = b"\x05READY".to_vec();
    for (name, value) in [("Socket-Type", ty), ("Identity", identity)] {
        ready.push(name.len() as u8);
        ready.extend_from_slice(name.as_bytes());
        ready.extend_from_slice(&(value.len() as u32).to_be_bytes());
        ready.extend_from_slice(value.as_bytes());
    }
    let mut bytes = greeting();
    bytes.extend_from_slice(&[4, ready.len() as u8]);
    bytes.extend_from_slice(&ready);
    bytes
}

/// Whether the other end closes within the test's patience.
pub(super) async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut sink = vec![0; 4096];
    timeout(LONG, async {
        loop {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
        }
    })
    .await
    .unwrap_or(false)
}

#[tokio::test]
async fn requests_are_answered_over_tcp_and_ipc_and_the_facts_are_right() {
    let ipc = Endpoint::ipc(scratch("echo.sock"));
    let tcp = free();
    let mut hub = hub(&tcp, WireLimits::default());
    hub.listen("main", &ipc, SocketType::Router, Security::Open)
        .unwrap();
    let mode = std::fs::metadata(ipc.path().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    for endpoint in [&tcp, &ipc] {
        let mut dialler = Dialler::new(endpoint.clone(), Some("alpha".into()), None);
        let asking = dialler.request(text("hello"), Instant::now() + LONG);
        let answering = async {
            loop {
                if let HubEvent::Message { conn, frames, .. } = next(&mut hub).await {
                    assert_eq!(frames, [Bytes::new(), Bytes::from_static(b"hello")]);
                    hub.send(conn, frames).unwrap();
                    return conn;
                }
            }
        };
        let (reply, conn) = tokio::join!(asking, answering);
        assert_eq!(reply, Ok(text("hello")));
        assert_eq!(dialler.announced(), b"ZN1:test");
        assert_eq!(dialler.state(), DialState::Connected);
        let facts = hub.connections().pop().unwrap();
        assert_eq!((facts.conn, facts.handshake_done), (conn, true));
        assert_eq!(facts.socket_type.as_deref(), Some("REQ"));
        assert!(facts.identity.starts_with("alpha#"), "{}", facts.identity);
        assert_eq!((facts.messages_in, facts.messages_out), (1, 1));
        assert!(facts.bytes_in > 64 && facts.bytes_out > 64);
        assert_eq!(facts.peer_address.is_empty(), endpoint.path().is_some());
    }
    drop(hub);
    assert!(
        !ipc.path().unwrap().exists(),
        "the socket file goes with the hub"
    );
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
    let path = scratch("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a closed listener leaves its file");
    let endpoint = Endpoint::ipc(&path);
    let living = hub(&endpoint, WireLimits::default());
    let mut second = Hub::new(WireLimits::default(), "");
    let refused = second.listen("main", &endpoint, SocketType::Router, Security::Open);
    assert!(matches!(refused, Err(ListenError::AddrInUse(at)) if at == endpoint));
    drop(living);
    second
        .listen("main", &endpoint, SocketType::Router, Security::Open)
        .unwrap();
    drop(second);
    std::fs::write(&path, "precious").unwrap();
    let refused = Hub::new(WireLimits::default(), "").listen(
        "m",
        &endpoint,
        SocketType::Router,
        Security::Open,
    );
    assert!(matches!(refused, Err(ListenError::NotASocket(at)) if at == path));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    drop(std::fs::remove_file(path));
}

#[tokio::test]
async fn what_cannot_be_bound_says_why() {
    let taken = free();
    let _holder = std::net::TcpListener::bind(address(&taken)).unwrap();
    let mut hub = Hub::new(WireLimits::default(), "");
    let mut listen =
        |endpoint: &Endpoint| hub.listen("main", endpoint, SocketType::Router, Security::Open);
    assert!(matches!(listen(&taken), Err(ListenError::AddrInUse(at)) if at == taken));
    for host in ["203.0.113.7", "a-host-name"] {
        let error = listen(&Endpoint::tcp(host, 1)).unwrap_err();
        assert!(matches!(error, ListenError::BadAddress(_)), "{error}");
    }
    let long = Endpoint::ipc(format!("/tmp/{}", "x".repeat(103)));
    assert!(matches!(listen(&long), Err(ListenError::BadAddress(_))));
}

#[tokio::test]
async fn hostile_bytes_close_their_connection_and_nobody_elses() {
    let endpoint = free();
    let server = echo(hub(&endpoint, WireLimits::default()));
    // 73 bytes: a greeting, then a frame that declares 2^62 bytes.
    let mut huge = greeting();
    huge.push(2);
    huge.extend_from_slice(&(1_u64 << 62).to_be_bytes());
    for junk in [huge, b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xff; 200]] {
        let mut stream = TcpStream::connect(address(&endpoint)).await.unwrap();
        stream.write_all(&junk).await.unwrap();
        stream.shutdown().await.ok();
        assert!(is_closed(&mut stream).await);
    }
    // The same after the handshake.
    let mut stream = raw(&endpoint, "").await;
    let mut frame = vec![2];
    frame.extend_from_slice(&(1_u64 << 62).to_be_bytes());
    stream.write_all(&frame).await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert_eq!(
        dial::request(&endpoint, text("still here"), LONG).await,
        Ok(text("still here"))
    );
    server.abort();
}

#[tokio::test]
async fn a_dialler_names_the_way_in_which_a_peer_is_out_of_reach() {
    let nobody = free();
    let start = Instant::now();
    let refused = dial::request(&nobody, text("x"), LONG).await;
    assert_eq!(refused, Err(DialError::NobodyListens));
    assert!(start.elapsed() < LONG / 2, "a closed port is known at once");
    let no_file = Endpoint::ipc(scratch("none.sock"));
    let refused = dial::request(&no_file, text("x"), LONG).await;
    assert_eq!(refused, Err(DialError::NobodyListens));

    // Somebody listens and never accepts; somebody accepts and hangs up.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = Endpoint::tcp("127.0.0.1", deaf.local_addr().unwrap().port());
    let unfinished = dial::request(&at, text("x"), SHORT).await;
    assert_eq!(unfinished, Err(DialError::NoHandshake));
    let rude = tokio::spawn(async move {
        while let Ok((stream, _)) = deaf.accept().await {
            drop(stream);
        }
    });
    let refused = dial::request(&at, text("x"), LONG).await;
    assert_eq!(refused, Err(DialError::Refused));
    rude.abort();

    // Connected and silent; connected and then lost.
    let at = free();
    let mut mute = hub(&at, WireLimits::default());
    let listening = async { while !matches!(next(&mut mute).await, HubEvent::Closed { .. }) {} };
    let (silent, ()) = tokio::join!(dial::request(&at, text("x"), SHORT), listening);
    assert_eq!(silent, Err(DialError::Silent));
    let hanging_up = async {
        loop {
            if let HubEvent::Message { conn, .. } = next(&mut mute).await {
                return mute.close(conn);
            }
        }
    };
    let (lost, ()) = tokio::join!(dial::request(&at, text("x"), LONG), hanging_up);
    assert_eq!(lost, Err(DialError::Closed));
    let unresolved = Endpoint::tcp("no-such-host.invalid", 1);
    let unreachable = dial::request(&unresolved, text("x"), LONG).await;
    assert!(
        matches!(unreachable, Err(DialError::Unreachable(_))),
        "{unreachable:?}"
    );
}

#[tokio::test]
async fn a_dialler_meets_a_restarted_server_at_once_and_no_late_reply() {
    let endpoint = free();
    let server = echo(hub(&endpoint, WireLimits::default()));
    let mut dialler = Dialler::new(endpoint.clone(), Some("alpha".into()), None);
    let deadline = Instant::now() + LONG;
    assert_eq!(dialler.request(text("1"), deadline).await, Ok(text("1")));
    server.abort();
    drop(server.await);
    let gone = dialler.request(text("2"), deadline).await;
    assert_eq!(gone, Err(DialError::NobodyListens));
    let mut second = hub(&endpoint, WireLimits::default());
    let late = async {
        // The first request is answered only when the second has come.
        let mut held = None;
        loop {
            if let HubEvent::Message { conn, frames, .. } = next(&mut second).await {
                match held.take() {
                    None => held = Some((conn, frames)),
                    Some((old, reply)) => {
                        second.send(old, reply).ok();
                        return second.send(conn, frames).unwrap();
                    }
                }
            }
        }
    };
    let asking = async {
        let silent = dialler.request(text("3"), Instant::now() + SHORT).await;
        assert_eq!(silent, Err(DialError::Silent));
        dialler.request(text("4"), deadline).await
    };
    let (reply, ()) = tokio::join!(asking, late);
    assert_eq!(
        reply,
        Ok(text("4")),
        "a fresh connection keeps replies apart"
    );
}

#[tokio::test]
async fn a_dealer_port_serves_what_dials_it_as_a_server() {
    let endpoint = free();
    let mut hub = Hub::new(WireLimits::default(), "");
    hub.listen("probe", &endpoint, SocketType::Dealer, Security::Open)
        .unwrap();
    let worker = raw(&endpoint, "worker").await;
    let HubEvent::Opened { port, conn, .. } = next(&mut hub).await else {
        panic!("the handshake comes first");
    };
    assert_eq!(&*port, "probe");
    hub.send(conn, vec![Bytes::new(), Bytes::from_static(b"work")])
        .unwrap();
    drop(worker);
    let closed = next(&mut hub).await;
    assert!(matches!(closed, HubEvent::Closed { conn: it, .. } if it == conn));
    assert_eq!(hub.send(conn, text("late")), Err(SendError::Closed));
}

#[tokio::test]
async fn a_request_that_was_given_up_still_arrives() {
    let endpoint = free();
    // Nobody looks at the hub's events while the request is made, so nothing is answered.
    let mut hub = hub(&endpoint, WireLimits::default());
    let mut dialler = Dialler::new(endpoint.clone(), None, None);
    let until = Instant::now() + LONG;
    let opening = async { while !matches!(next(&mut hub).await, HubEvent::Opened { .. }) {} };
    let (opened, ()) = tokio::join!(dialler.connect(until), opening);
    assert_eq!(opened, Ok(()));
    let silent = dialler.request(text("x"), Instant::now() + SHORT).await;
    assert_eq!(silent, Err(DialError::Silent));
    let late = next(&mut hub).await;
    assert!(
        matches!(late, HubEvent::Message { frames, .. } if frames[1] == "x"),
        "hence the ids"
    );
}

#[tokio::test]
async fn heartbeats_are_answered() {
    let endpoint = free();
    let server = echo(hub(&endpoint, WireLimits::default()));
    let mut stream = raw(&endpoint, "").await;
    // PING with a time to live of a second and the context `abc`.
    stream
        .write_all(b"\x04\x0a\x04PING\x00\x0aabc")
        .await
        .unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\x04\x08\x04PONGabc") {
        let read = timeout(LONG, stream.read_buf(&mut got)).await.unwrap();
        assert!(read.unwrap() > 0, "the connection stays");
    }
    server.abort();
}

#[tokio::test]
async fn what_was_sent_before_the_end_arrives_however_much_it_is() {
    // More messages than may wait at once, and an end that comes before they are taken.
    const SENT: usize = 6 * INBOX_MESSAGES_MAX;
    for _ in 0..10 {
        let endpoint = free();
        let mut hub = hub(&endpoint, WireLimits::default());
        let peer = tokio::spawn(async move {
            let mut stream = raw(&endpoint, "").await;
            stream.write_all(&b"\x00\x02hi".repeat(SENT)).await.unwrap();
            stream.shutdown().await.unwrap();
            assert!(is_closed(&mut stream).await);
        });
        let mut got = 0;
        loop {
            match next(&mut hub).await {
                HubEvent::Message { .. } => got += 1,
                HubEvent::Closed { .. } => break,
                _ => {}
            }
        }
        assert_eq!(got, SENT);
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_sends_faster_than_it_is_heard_is_not_read_meanwhile() {
    const SENT: usize = 150 * INBOX_MESSAGES_MAX;
    // What waits: an inbox, and what one read took beside it, twice at most.
    const HELD_MAX: usize = INBOX_MESSAGES_MAX * 256 + 2 * 256 * 1024;
    let endpoint = free();
    let mut hub = hub(&endpoint, WireLimits::default());
    let peer = tokio::spawn(async move {
        let mut stream = raw(&endpoint, "").await;
        stream
            .write_all(&b"\x00\x08hi there".repeat(SENT))
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        assert!(is_closed(&mut stream).await);
    });
    let (mut got, mut held) = (0, 0);
    loop {
        match next(&mut hub).await {
            HubEvent::Message { .. } => got += 1,
            HubEvent::Closed { .. } => break,
            _ => {}
        }
        if got % 64 == 0 {
            let most = hub.connections().iter().map(|it| it.unread_bytes).max();
            held = held.max(most.unwrap_or_default());
        }
    }
    assert_eq!(got, SENT);
    assert!(held < HELD_MAX, "{held} bytes waited");
    peer.await.unwrap();
}
