//! The fan-out under fire: many publishers and subscribers that come and go, and one that never reads.
//!
//! `ZMQNET_FIRE=50 cargo test --release --lib fire` runs it with fifty of each, as docs/bus.md says.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use fastrand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::wire::hub::HubEvent;

use super::fan_tests::{Bus, config};
use super::hub::FanConfig;
use super::tests::{LONG, raw_as};

/// Messages of each publisher.
const MESSAGES: u64 = 400;
const TOPICS: [&str; 3] = ["a", "ab", "b"];

/// Publishers and subscribers.
fn size() -> u64 {
    let set = std::env::var("ZMQNET_FIRE").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Sends all its messages, over several connections; each begins anew to count.
async fn publisher(bus: Rc<Bus>, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut left = MESSAGES;
    let mut life = 0;
    while left > 0 {
        life += 1;
        let mut client = bus.publisher().await;
        for number in 0..rng.u64(1..=left.min(MESSAGES / 3)) {
            let name = format!("{seed} {life}");
            let frames = [
                Bytes::from(TOPICS[rng.usize(..3)]),
                Bytes::from(name),
                Bytes::copy_from_slice(&number.to_be_bytes()),
                Bytes::from(vec![b'x'; rng.usize(..900)]),
            ];
            client.hub.send(client.conn, frames.to_vec()).unwrap();
            left -= 1;
            if rng.u8(..20) == 0 {
                tokio::task::yield_now().await;
            }
        }
        // What was sent is read: the end of a connection comes behind it.
        client.hub.drain(LONG).await;
    }
}

/// What a subscriber has seen of each life of each publisher.
#[derive(Default)]
struct Order(HashMap<Bytes, u64>);

impl Order {
    fn see(&mut self, frames: &[Bytes]) {
        let number = u64::from_be_bytes(frames[2][..].try_into().unwrap());
        if let Some(last) = self.0.insert(frames[1].clone(), number) {
            assert!(last < number, "{:?}: {number} after {last}", frames[1]);
        }
    }
}

/// Reads until it is over, and comes back several times if it does not stay.
async fn subscriber(bus: Rc<Bus>, seed: u64, mut over: watch::Receiver<bool>) -> u64 {
    let stays = seed == 0;
    let mut rng = Rng::with_seed(seed + 1_000);
    let mut seen = 0;
    while !*over.borrow() {
        let topics: &[&'static str] = if stays { &[""] } else { &["a", "b"] };
        let mut client = bus.subscriber(topics).await;
        let mut order = Order::default();
        let most = if stays { u64::MAX } else { rng.u64(1..3_000) };
        for _ in 0..most {
            tokio::select! {
                // Cancel safe, both: nothing is lost that is not taken.
                event = client.hub.next() => {
                    if let HubEvent::Message { frames, .. } = event && frames.len() == 4 {
                        order.see(&frames);
                        seen += 1;
                    }
                }
                _ = over.wait_for(|over| *over), if !stays => break,
            }
            if stays && seen == size() * MESSAGES {
                return seen;
            }
        }
    }
    seen
}

#[tokio::test]
async fn under_fire_order_is_kept_and_the_account_is_exact() {
    let size = size();
    let bus = Rc::new(Bus::new(FanConfig {
        bytes_max: 1 << 20,
        ..config()
    }));
    let (end, over) = watch::channel(false);
    let mut stalled = raw_as(&bus.subscribe, "SUB", "").await;
    stalled.write_all(b"\0\x01\x01").await.unwrap();
    let local = LocalSet::new();
    let subscribers: Vec<_> = (0..size)
        .map(|seed| local.spawn_local(subscriber(bus.clone(), seed, over.clone())))
        .collect();
    let seen = local
        .run_until(async {
            bus.until(|facts| facts.topics.iter().any(|it| it.subscribers == 2))
                .await;
            let publishers: Vec<_> = (0..size)
                .map(|seed| tokio::task::spawn_local(publisher(bus.clone(), seed)))
                .collect();
            for publisher in publishers {
                publisher.await.unwrap();
            }
            let published = size * MESSAGES;
            let facts = bus.until(|facts| facts.published == published).await;
            let mut waits = facts.subscribers.iter().map(|it| it.passed.queued_bytes);
            assert!(waits.all(|bytes| bytes <= 1 << 20));
            let mut subscribers = subscribers.into_iter();
            let first = subscribers.next().expect("there is one at least");
            let all = timeout(LONG, first)
                .await
                .expect("who stays and reads has all");
            end.send(true).unwrap();
            let mut seen = vec![all.unwrap()];
            for subscriber in subscribers {
                seen.push(subscriber.await.unwrap());
            }
            seen
        })
        .await;
    drop(stalled);
    let facts = bus.until(|facts| facts.subscribers.is_empty()).await;
    let passed = facts.passed;
    assert_eq!(passed.matched, passed.sent + passed.dropped_all());
    assert_eq!(passed, facts.gone);
    assert_eq!(facts.published, size * MESSAGES);
    assert_eq!(seen[0], facts.published, "who stayed and read has all");
    let read: u64 = seen.iter().sum();
    assert!(passed.sent >= read && passed.matched >= 2 * facts.published);
}
