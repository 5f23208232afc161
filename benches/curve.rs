//! One end of a stream of messages under CURVE or NULL, on our hub: what `curve.py` measures beside
//! libzmq's ends.
//!
//! `curve push|pull bind|connect ENDPOINT SIZE COUNT SERVER_SECRET CLIENT_SECRET`; keys are Z85, and
//! `-` for both is NULL. The pulling end prints messages a second, from the first to the last; both
//! print the processor time they took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use zmqnet::model::endpoint::Endpoint;
use zmqnet::model::key::KeyPair;
use zmqnet::model::limits::WireLimits;
use zmqnet::model::socket::SocketType;
use zmqnet::wire::curve::{self, CurveClient};
use zmqnet::wire::hub::{Admission, ConnId, Dialling, Guard, Hub, HubEvent, Security, SendError};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages sent between two looks at what else happened.
const BURST: u64 = 256;

fn pair(secret: &str) -> Option<KeyPair> {
    let secret = (secret != "-").then(|| secret.parse().expect("a secret key in Z85"))?;
    Some(KeyPair {
        public: curve::public_of(&secret),
        secret,
    })
}

async fn opened(hub: &mut Hub) -> ConnId {
    loop {
        if let HubEvent::Opened { conn, .. } = hub.next().await {
            return conn;
        }
    }
}

async fn push(hub: &mut Hub, size: usize, count: u64) {
    let conn = opened(hub).await;
    let body = Bytes::from(vec![7; size]);
    let mut sent = 0;
    while sent < count {
        match hub.send(conn, vec![body.clone()]) {
            Ok(()) => {
                sent += 1;
                if sent % BURST == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(SendError::Full) => while !matches!(hub.next().await, HubEvent::Writable { .. }) {},
            Err(SendError::Closed) => panic!("the other end is gone"),
        }
    }
    // The other end has it all when it goes.
    while !matches!(hub.next().await, HubEvent::Closed { .. }) {}
}

async fn pull(hub: &mut Hub, count: u64) -> f64 {
    let (mut got, mut start) = (0, Instant::now());
    while got < count {
        if let HubEvent::Message { .. } = hub.next().await {
            if got == 0 {
                start = Instant::now();
            }
            got += 1;
        }
    }
    (count - 1) as f64 / start.elapsed().as_secs_f64()
}

fn processor_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

#[expect(clippy::print_stdout, reason = "what a benchmark prints is its result")]
fn say(rate: Option<f64>) {
    let rate = rate.unwrap_or_default();
    println!("rate={rate:.0} cpu={:.3}", processor_seconds());
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, what, how, endpoint, size, count, server, client] = args.as_slice() else {
        // `cargo bench` runs it without a word; there is nothing to measure then.
        return;
    };
    let is_bound = how == "bind";
    let (server, client) = (pair(server), pair(client));
    let (size, count) = (
        size.parse().expect("bytes"),
        count.parse().expect("messages"),
    );
    let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
    let socket_type = if what == "push" {
        SocketType::Push
    } else {
        SocketType::Pull
    };
    let limits = WireLimits {
        peer_bytes_max: 4 * 1024 * 1024,
        ..WireLimits::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let task = tokio::spawn(async move {
            let mut hub = Hub::new(limits, "");
            if is_bound {
                let security = match (server, client) {
                    (Some(own), Some(client)) => Security::Curve(Arc::new(Guard::new(Admission {
                        own: vec![own],
                        allowed: BTreeMap::from([(client.public, "client".into())]),
                        ..Admission::default()
                    }))),
                    _ => Security::Open,
                };
                hub.listen("main", &endpoint, socket_type, security)
                    .expect("a free port");
            } else {
                let keys = server.zip(client);
                let security = keys.map(|(server, own)| CurveClient {
                    own,
                    server: server.public,
                });
                let dialling = Dialling {
                    security,
                    ..Dialling::default()
                };
                hub.dial("out", &endpoint, socket_type, dialling);
            }
            if socket_type == SocketType::Push {
                push(&mut hub, size, count).await;
                say(None);
            } else {
                say(Some(pull(&mut hub, count).await));
            }
        });
        task.await.expect("it runs to its end");
    });
}
