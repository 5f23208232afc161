//! Wires between two connections whose queues are small against what one read brings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::policy::Overflow;
use crate::model::socket::SocketType;

use super::hub::{ConnId, Face, Flow, Hub, HubEvent, Ring, Security, Tap};
use super::tests::{LONG, free, next, raw};

/// Bytes that may wait in a direction.
const BYTES_MAX: usize = 4 * 1024;
/// Messages of one burst, and the bytes of each.
const BURST: usize = 100;
const BODY: usize = 1_000;

fn flow(overflow: Overflow) -> Flow {
    Flow {
        overflow,
        bytes_max: BYTES_MAX,
        messages_max: None,
        ledger: Arc::default(),
        tap: Tap::new(&Arc::new(Ring::default()), 0),
    }
}

/// One end of a wire: who dialled a port that shows a DEALER.
async fn end(hub: &mut Hub, name: &str) -> (ConnId, TcpStream) {
    let endpoint: Endpoint = free();
    let face = Face {
        socket_type: SocketType::Dealer,
        identity: "shown".into(),
    };
    hub.listen_shown(name, &endpoint, face.clone(), Security::Open)
        .unwrap();
    hub.show(name, Some(&face));
    let stream = raw(&endpoint, "").await;
    match next(hub).await {
        HubEvent::Opened { conn, .. } => (conn, stream),
        other => panic!("the handshake comes first: {other:?}"),
    }
}

/// Two peers and the wire between them.
async fn wire(overflow: Overflow) -> (Hub, (ConnId, TcpStream), (ConnId, TcpStream)) {
    let mut hub = Hub::new(WireLimits::default(), "");
    let (from, to) = (end(&mut hub, "from").await, end(&mut hub, "to").await);
    hub.pair((from.0, flow(overflow)), (to.0, flow(overflow)))
        .unwrap();
    (hub, from, to)
}

fn burst() -> Vec<u8> {
    let mut message = vec![2];
    message.extend((BODY as u64).to_be_bytes());
    message.extend([b'#'; BODY]);
    message.repeat(BURST)
}

/// Reads until all of a burst is here.
async fn all(stream: &mut TcpStream) {
    let (mut memory, mut left) = (vec![0; 64 * 1024], BURST * BODY);
    while left > 0 {
        let read = timeout(LONG, stream.read(&mut memory)).await;
        let count = read.expect("it comes in time").unwrap();
        assert!(count > 0, "{left} bytes are missing");
        left -= memory[..count].iter().filter(|byte| **byte == b'#').count();
    }
}

#[tokio::test]
async fn a_burst_larger_than_the_queue_does_not_stall_its_wire() {
    let (_hub, mut from, mut to) = wire(Overflow::Block).await;
    let began = Instant::now();
    for _ in 0..20 {
        from.1.write_all(&burst()).await.unwrap();
        all(&mut to.1).await;
    }
    // Each that waits for a timer would take a second.
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn of_a_burst_nothing_is_dropped_that_the_kernel_takes() {
    for overflow in [
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Disconnect,
    ] {
        let (hub, mut from, mut to) = wire(overflow).await;
        from.1.write_all(&burst()).await.unwrap();
        all(&mut to.1).await;
        let passed = hub.passed(to.0).unwrap();
        assert_eq!((passed.sent, passed.dropped_all()), (BURST as u64, 0));
    }
}
