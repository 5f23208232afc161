//! The fan-out over real connections: the dialling side of another hub publishes and subscribes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::model::endpoint::Endpoint;
use crate::model::key::KeyPair;
use crate::model::limits::WireLimits;
use crate::model::policy::Overflow;
use crate::model::socket::SocketType;
use crate::protocol::topics::READY_PREFIX;

use super::curve::{self, CurveClient};
use super::hub::{
    Admission, ConnId, Dialling, Fan, FanConfig, FanFacts, Guard, Hub, HubEvent, Ring, Security,
    Tap,
};
use super::tests::{LONG, free, is_closed, next, raw_as};

pub(super) fn config() -> FanConfig {
    FanConfig {
        overflow: Overflow::DropNewest,
        bytes_max: 64 << 20,
        messages_max: None,
        welcome: None,
        retain_max: 0,
        is_sequenced: false,
        buses: BTreeSet::new(),
        asks: false,
        tap: Tap::new(&Arc::new(Ring::default()), 0),
    }
}

/// A bus that runs until it is dropped.
pub(super) struct Bus {
    pub(super) fan: Arc<Fan>,
    publish: Endpoint,
    pub(super) subscribe: Endpoint,
    pair: Option<KeyPair>,
    task: JoinHandle<()>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bus {
    pub(super) fn new(config: FanConfig) -> Self {
        Self::secured(config, None)
    }

    fn secured(config: FanConfig, pair: Option<KeyPair>) -> Self {
        let (publish, subscribe) = (free(), free());
        let fan = Arc::new(Fan::new(config));
        let mut hub = Hub::new(WireLimits::default(), "ZN1:bus");
        let security = match &pair {
            None => Security::Open,
            Some(pair) => Security::Curve(Arc::new(Guard::new(Admission {
                own: vec![pair.clone()],
                allowed: BTreeMap::from([(pair.public, "ann".into())]),
                ..Admission::default()
            }))),
        };
        hub.listen_in("in", &publish, &fan, security.clone())
            .unwrap();
        hub.listen_out("out", &subscribe, &fan, security).unwrap();
        let task = tokio::spawn(async move {
            loop {
                hub.next().await;
            }
        });
        Self {
            fan,
            publish,
            subscribe,
            pair,
            task,
        }
    }

    fn dialling(&self) -> Dialling {
        Dialling {
            security: self.pair.as_ref().map(|pair| CurveClient {
                own: pair.clone(),
                server: pair.public,
            }),
            ..Dialling::default()
        }
    }

    pub(super) async fn publisher(&self) -> Client {
        let mut client = Client::dial(&self.publish, SocketType::Xpub, self.dialling()).await;
        // It is connected when the bus has asked for all there is.
        while !matches!(next(&mut client.hub).await, HubEvent::Subscribed { .. }) {}
        client
    }

    /// A subscriber whose subscriptions count.
    pub(super) async fn subscriber(&self, topics: &[&'static str]) -> Client {
        let mut client = Client::dial(&self.subscribe, SocketType::Xsub, self.dialling()).await;
        client.subscribe(topics).await;
        client
    }

    pub(super) async fn until(&self, what: impl Fn(&FanFacts) -> bool) -> FanFacts {
        timeout(LONG, async {
            loop {
                let facts = self.fan.facts();
                if what(&facts) {
                    return facts;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("in time: {:?}", self.fan.facts()))
    }
}

pub(super) struct Client {
    pub(super) hub: Hub,
    pub(super) conn: ConnId,
}

impl Client {
    async fn dial(endpoint: &Endpoint, socket_type: SocketType, dialling: Dialling) -> Self {
        let mut hub = Hub::new(WireLimits::default(), "");
        hub.dial("bus", endpoint, socket_type, dialling);
        loop {
            if let HubEvent::Opened { conn, .. } = next(&mut hub).await {
                return Self { hub, conn };
            }
        }
    }

    async fn subscribe(&mut self, topics: &[&'static str]) {
        for topic in topics {
            let topic = Bytes::from_static(topic.as_bytes());
            self.hub.subscribe(self.conn, topic, true).unwrap();
        }
        let ready = Bytes::from([READY_PREFIX, b"1"].concat());
        self.hub.subscribe(self.conn, ready.clone(), true).unwrap();
        while self.message().await != [ready.clone()] {}
        self.hub.subscribe(self.conn, ready, false).unwrap();
    }

    pub(super) async fn message(&mut self) -> Vec<Bytes> {
        loop {
            match next(&mut self.hub).await {
                HubEvent::Message { frames, .. } => return frames,
                HubEvent::Closed { reason, .. } => panic!("closed: {reason}"),
                _ => {}
            }
        }
    }

    fn send(&self, frames: &[&'static str]) {
        let frames = frames.iter().map(|it| Bytes::from_static(it.as_bytes()));
        self.hub.send(self.conn, frames.collect()).unwrap();
    }

    /// What comes up to the end mark.
    async fn up_to(&mut self, end: &str) -> Vec<Vec<Bytes>> {
        let mut all = Vec::new();
        loop {
            let frames = self.message().await;
            if frames[0] == end {
                return all;
            }
            all.push(frames);
        }
    }
}

#[tokio::test]
async fn everybody_gets_what_it_subscribed_to_plain_and_encrypted() {
    for pair in [None, Some(curve::generate())] {
        let bus = Bus::secured(config(), pair);
        let mut pings = bus.subscriber(&["ping", "end"]).await;
        let mut all = bus.subscriber(&["", "ping"]).await;
        let mut none = bus.subscriber(&["x", "end"]).await;
        let publisher = bus.publisher().await;
        let large: &'static str = Box::leak("y".repeat(600_000).into_boxed_str());
        for body in ["1", "2", large, "3"] {
            publisher.send(&["ping", body]);
            publisher.send(&["pings", "", body]);
            publisher.send(&["pong"]);
        }
        publisher.send(&["end"]);
        let got = pings.up_to("end").await;
        assert_eq!(got.len(), 8);
        assert_eq!(got[0], ["ping", "1"]);
        assert_eq!(got[5], ["pings", "", large]);
        assert_eq!(all.up_to("end").await.len(), 12);
        assert!(none.up_to("end").await.is_empty());
        let facts = bus.until(|facts| facts.passed.queued == 0).await;
        assert_eq!((facts.published, facts.unmatched), (13, 0));
        // Three were told that they are ready.
        assert_eq!(facts.passed.matched, 9 + 13 + 1 + 3);
        assert_eq!(facts.passed.sent, facts.passed.matched);
        let topics: Vec<_> = facts
            .topics
            .iter()
            .map(|it| (&*it.topic, it.subscribers, it.messages))
            .collect();
        let expected = [("", 1, 13), ("end", 2, 1), ("ping", 2, 8), ("x", 1, 0)];
        assert_eq!(topics, expected);
        drop((pings, all, none));
        let facts = bus.until(|facts| facts.subscribers.is_empty()).await;
        assert_eq!(facts.gone, facts.passed, "the sum stays when they leave");
        assert!(facts.topics.is_empty());
    }
}

#[tokio::test]
async fn what_is_cut_anywhere_and_has_heartbeats_between_its_frames_arrives_whole() {
    let bus = Bus::new(config());
    let mut subscriber = bus.subscriber(&[""]).await;
    let mut raw = raw_as(&bus.publish, "PUB", "").await;
    let mut hello = [0; 64];
    raw.read_exact(&mut hello).await.unwrap();
    let ping = b"\x04\x07\x04PING\0\0";
    let message = [&b"\x01\x02ab"[..], ping, b"\x01\0", ping, b"\0\x03cde"].concat();
    let bytes = message.repeat(6);
    for piece in bytes.chunks(7) {
        raw.write_all(piece).await.unwrap();
        raw.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    for _ in 0..6 {
        assert_eq!(subscriber.message().await, ["ab", "", "cde"]);
    }
    let mut answered = 0;
    timeout(LONG, async {
        let (mut got, mut piece) = (Vec::new(), [0; 1024]);
        while answered < 12 {
            let read = raw.read(&mut piece).await.unwrap();
            got.extend_from_slice(&piece[..read]);
            answered = got.windows(4).filter(|it| it == b"PONG").count();
        }
    })
    .await
    .expect("every heartbeat is answered");
}

#[tokio::test]
async fn a_stalled_subscriber_costs_itself_only_and_its_drops_are_exact() {
    let bus = Bus::new(FanConfig {
        bytes_max: 1 << 20,
        ..config()
    });
    let mut reader = bus.subscriber(&[""]).await;
    // It subscribes and never reads.
    let mut stalled = raw_as(&bus.subscribe, "SUB", "").await;
    stalled.write_all(b"\0\x01\x01").await.unwrap();
    bus.until(|facts| facts.topics.iter().any(|it| it.subscribers == 2))
        .await;
    let publisher = bus.publisher().await;
    let (count, mut got) = (30_000, 0);
    let body: &'static str = Box::leak("z".repeat(1_000).into_boxed_str());
    while got < count {
        for _ in 0..500 {
            publisher.send(&["topic", body]);
        }
        for _ in 0..500 {
            assert_eq!(reader.message().await.len(), 2);
            got += 1;
        }
    }
    let facts = bus.fan.facts();
    let of = |matched: u64| {
        let mut all = facts.subscribers.iter().map(|it| it.passed);
        all.find(|it| it.matched == matched)
            .expect("one of the two")
    };
    let (healthy, stuck) = (of(count + 1), of(count));
    assert_eq!(healthy.sent, healthy.matched, "nothing of its is dropped");
    assert!(stuck.dropped.newest > 10_000 && stuck.queued_bytes <= 1 << 20);
    assert_eq!(
        stuck.matched,
        stuck.sent + stuck.queued + stuck.dropped.newest
    );
    drop(stalled);
    let facts = bus.until(|facts| facts.subscribers.len() == 1).await;
    assert_eq!(facts.gone.matched, count);
    assert_eq!(facts.gone.dropped.newest, stuck.dropped.newest);
    assert_eq!(
        facts.gone.dropped.left,
        count - facts.gone.sent - stuck.dropped.newest
    );
}

#[tokio::test]
async fn a_connection_ends_by_its_queue_where_the_policy_says_so() {
    let bus = Bus::new(FanConfig {
        bytes_max: 100_000,
        overflow: Overflow::Disconnect,
        ..config()
    });
    let mut stalled = raw_as(&bus.subscribe, "SUB", "").await;
    stalled.write_all(b"\0\x01\x01").await.unwrap();
    bus.until(|facts| facts.topics.len() == 1).await;
    let large = Bytes::from(vec![0; 90_000]);
    timeout(LONG, async {
        while bus.fan.publish(std::slice::from_ref(&large)).matched > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is disconnected");
    let facts = bus.fan.facts();
    assert!(facts.gone.dropped.disconnected > 0);
    assert_eq!(
        facts.gone.matched,
        facts.gone.sent + facts.gone.dropped_all()
    );
}

#[tokio::test]
async fn a_subscriber_is_welcomed_and_told_the_last_of_each_topic_before_what_is_new() {
    let bus = Bus::new(FanConfig {
        welcome: Some(Bytes::from_static(b"$welcome")),
        retain_max: 10,
        is_sequenced: true,
        ..config()
    });
    for body in ["1", "2"] {
        for topic in ["a", "b"] {
            bus.fan
                .publish(&[Bytes::from_static(topic.as_bytes()), body.into()]);
        }
    }
    let mut late = Client::dial(&bus.subscribe, SocketType::Xsub, Dialling::default()).await;
    for topic in ["a", "$welcome", "$welcome"] {
        late.hub.subscribe(late.conn, topic.into(), true).unwrap();
    }
    let first = late.message().await;
    assert_eq!(first[..2], ["a", "2"]);
    assert_eq!(late.message().await, ["$welcome"], "once");
    let published = bus.fan.publish(&["a".into(), "3".into()]);
    assert_eq!((published.matched, published.queued), (1, 1));
    let then = late.message().await;
    assert_eq!(then[..2], ["a", "3"]);
    let number = |frames: &[Bytes]| -> (u64, u64) {
        let number = |at: usize| frames[2][at..at + 8].try_into().unwrap();
        (u64::from_be_bytes(number(0)), u64::from_be_bytes(number(8)))
    };
    assert_eq!(number(&first).1, 2);
    assert_eq!(number(&then), (number(&first).0, 3));
}

#[tokio::test]
async fn what_came_from_a_bus_goes_to_no_other_bus() {
    let named = |name: &str| FanConfig {
        buses: BTreeSet::from([name.to_owned()]),
        retain_max: 9,
        ..config()
    };
    // Each dials the other: what is published at one must come round to neither twice.
    let (left, right) = (Bus::new(named("right")), Bus::new(named("left")));
    let mut links = Vec::new();
    for (name, other, of, to) in [
        ("left", "right", &left, &right),
        ("right", "left", &right, &left),
    ] {
        let mut hub = Hub::new(WireLimits::default(), "");
        let dialling = Dialling {
            identity: format!("{name}#1.0").into(),
            ..Dialling::default()
        };
        let topics = vec![Bytes::new()];
        hub.dial_fan("link", &to.subscribe, (&of.fan, topics, other), dialling);
        links.push(tokio::spawn(async move {
            loop {
                hub.next().await;
            }
        }));
    }
    for bus in [&left, &right] {
        bus.until(|facts| facts.subscribers.iter().any(|it| it.is_bus))
            .await;
        bus.until(|facts| facts.topics.len() == 1).await;
    }
    let mut here = left.subscriber(&["a"]).await;
    let mut there = right.subscriber(&["a"]).await;
    for body in ["1", "2", "3"] {
        left.fan.publish(&["a".into(), body.into()]);
    }
    right.fan.publish(&["a".into(), "end".into()]);
    for body in ["1", "2", "3"] {
        assert_eq!(here.message().await, ["a", body]);
    }
    assert_eq!(here.message().await, ["a", "end"]);
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(there.message().await[1].clone());
    }
    got.sort();
    assert_eq!(got, ["1", "2", "3", "end"]);
    let facts = (left.fan.facts(), right.fan.facts());
    assert_eq!((facts.0.published, facts.1.published), (4, 4));
    for link in links {
        link.abort();
    }
}

#[tokio::test]
async fn whoever_breaks_a_limit_at_either_port_is_closed_and_nobody_else_notices() {
    let bus = Bus::new(config());
    let mut subscriber = bus.subscriber(&["a"]).await;
    let publisher = bus.publisher().await;
    let declared = [&[2][..], &(1_u64 << 62).to_be_bytes()].concat();
    let parts = b"\x01\0".repeat(65);
    let pings = b"\x04\x07\x04PING\0\0".repeat(200);
    let subscriptions: Vec<u8> = (0..10_001_u32)
        .flat_map(|number| [&b"\0\x05\x01"[..], &number.to_be_bytes()].concat())
        .collect();
    let topic = [&[2][..], &2_000_u64.to_be_bytes(), &[1; 2_000]].concat();
    let breaks: [(&Endpoint, &str, &[u8]); 7] = [
        (&bus.publish, "PUB", &declared),
        (&bus.publish, "PUB", &parts),
        (&bus.publish, "PUB", &pings),
        (&bus.publish, "PUB", &[0xff; 20]),
        (&bus.subscribe, "SUB", &declared),
        (&bus.subscribe, "SUB", &subscriptions),
        (&bus.subscribe, "SUB", &topic),
    ];
    for (endpoint, ty, bytes) in breaks {
        let mut stranger = raw_as(endpoint, ty, "").await;
        // It may be closed while it still sends.
        stranger.write_all(bytes).await.ok();
        assert!(is_closed(&mut stranger).await, "{ty} {:?}", &bytes[..9]);
        publisher.send(&["a", ty]);
        assert_eq!(subscriber.message().await, ["a", ty]);
    }
}
