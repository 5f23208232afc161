//! Buses that hand on to each other: in a line, in circles, over several hops. Each message comes once to
//! everybody, in the order of its publisher, and every account is exact.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{World, ports, py, wait_for};

/// Messages published at each bus.
const MESSAGES: usize = 200;

/// Buses by one letter each, and who gets what from whom.
struct Buses {
    world: World,
    names: Vec<char>,
    port: u16,
}

impl Buses {
    /// `ab` has `b` dial `a`; how many connections of other buses each has to have.
    fn new(links: &[(&str, &str)], dialled: &[(char, u64)]) -> Self {
        let names: Vec<char> = dialled.iter().map(|(name, _)| *name).collect();
        let port = ports(3 * names.len() as u16);
        let mut text = "zmqnet: 1\nname: linked\nnodes:\n".to_owned();
        for (index, name) in names.iter().enumerate() {
            let port = port + 3 * index as u16;
            text += &format!("  {name}: {{kind: bus, port: {port}}}\n");
        }
        text += "links:\n";
        for (link, topics) in links {
            let (from, to) = link.split_at(1);
            text += &format!(
                "  {link}: {{pattern: pubsub, from: {from}, to: {to}, topics: [{topics}]}}\n"
            );
        }
        let world = World::new();
        world.write("topology.yaml", &text);
        world.ok(&["apply"]);
        let buses = Self { world, names, port };
        for (name, count) in dialled {
            wait_for("the buses have subscribed at each other", || {
                let topics = buses.facts(*name)["topics"].clone();
                let held = topics.as_array().unwrap().iter();
                let held: u64 = held.map(|it| it["subscribers"].as_u64().unwrap()).sum();
                (held == *count).then_some(())
            });
        }
        buses
    }

    fn facts(&self, name: char) -> Value {
        let name = name.to_string();
        self.world
            .ok(&["bus", "ls", "-n", &name, "-o", "json"])
            .json()
    }

    /// Publishes at each bus, and gives what a subscriber of each got of whom: how many, each once and in
    /// order, until a last word of everybody it hears of has come.
    fn exchange(&self, topic: &str, hears: &[(char, &str)]) {
        let count = MESSAGES.to_string();
        let port = self.port.to_string();
        let names: String = self.names.iter().collect();
        let hears: Vec<String> = hears.iter().map(|(at, of)| format!("{at}{of}")).collect();
        let mut args = vec![&*port, &*names, topic, &*count];
        args.extend(hears.iter().map(String::as_str));
        let ran = py(&self.world, EXCHANGE, &args);
        assert_eq!(ran.stdout, "each once and in order\n", "{}", ran.stderr);
    }

    /// What each bus has in its account, once all connections but those of buses are gone.
    #[track_caller]
    fn accounts_are_exact(&self, published: &[(char, usize)]) {
        for (name, published) in published {
            let facts = wait_for("the subscribers are gone", || {
                let facts = self.facts(*name);
                (facts["subscribers"] == facts["buses"]).then_some(facts)
            });
            let passed = &facts["passed"];
            let count = |key: &str| passed[key].as_u64().unwrap();
            let dropped = passed["dropped"].as_object().unwrap().values();
            let dropped: u64 = dropped.map(|it| it.as_u64().unwrap()).sum();
            assert_eq!(count("matched"), count("sent") + count("queued") + dropped);
            assert_eq!((count("queued"), dropped), (0, 0), "{name}: {passed}");
            assert_eq!(
                facts["published"], *published as u64,
                "{name} has each once"
            );
        }
    }
}

/// At each bus one publisher and one subscriber of everything.
const EXCHANGE: &str = "\
import sys, zmq
port, names, topic, count = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode(), int(sys.argv[4])
hears = {each[0]: each[1:] for each in sys.argv[5:]}
context = zmq.Context()
at = lambda name, offset: f'tcp://127.0.0.1:{port + 3 * names.index(name) + offset}'
subscribers, publishers = {}, {}
for name in names:
    subscriber = subscribers[name] = context.socket(zmq.SUB)
    subscriber.rcvhwm, subscriber.rcvtimeo, subscriber.linger = 0, 20000, 0
    subscriber.connect(at(name, 1))
    for wish in ('', 'ZN1.ready.me'):
        subscriber.subscribe(wish)
    assert subscriber.recv_multipart() == [b'ZN1.ready.me']
    publisher = publishers[name] = context.socket(zmq.XPUB)
    publisher.sndhwm, publisher.rcvtimeo, publisher.linger = 0, 20000, 20000
    publisher.connect(at(name, 0))
    assert publisher.recv() == b'\\x01'
for number in range(count):
    for name in names:
        publishers[name].send_multipart([topic, name.encode(), b'%d' % number])
for name, others in hears.items():
    got = {other: [] for other in others}
    while any(len(numbers) < count for numbers in got.values()):
        _, other, number = subscribers[name].recv_multipart()
        got[other.decode()].append(int(number))
    assert all(numbers == list(range(count)) for numbers in got.values()), (name, got)
    # What would come twice would come by now: the ways are as long as those that have been gone.
    subscribers[name].rcvtimeo = 300
    try:
        raise SystemExit(f'{name} got {subscribers[name].recv_multipart()} beside')
    except zmq.Again:
        pass
print('each once and in order')
";

#[test]
fn in_a_line_everybody_hears_those_above_once() {
    let buses = Buses::new(&[("ab", ""), ("bc", "")], &[('a', 1), ('b', 2), ('c', 0)]);
    buses.exchange("t", &[('a', "a"), ('b', "ab"), ('c', "abc")]);
    buses.accounts_are_exact(&[('a', MESSAGES), ('b', 2 * MESSAGES), ('c', 3 * MESSAGES)]);
    buses.world.ok(&["down"]);
}

#[test]
fn in_a_line_both_ways_and_in_a_circle_everybody_hears_everybody_once() {
    let line = [("ab", ""), ("ba", ""), ("bc", ""), ("cb", "")];
    let circle = [("ab", ""), ("bc", ""), ("ca", "")];
    for (links, dialled) in [
        (&line[..], [('a', 1), ('b', 4), ('c', 1)]),
        (&circle[..], [('a', 2), ('b', 2), ('c', 2)]),
    ] {
        let buses = Buses::new(links, &dialled);
        buses.exchange("t", &[('a', "abc"), ('b', "abc"), ('c', "abc")]);
        let all = 3 * MESSAGES;
        buses.accounts_are_exact(&[('a', all), ('b', all), ('c', all)]);
        buses.world.ok(&["down"]);
    }
}

#[test]
fn of_two_ways_of_one_length_one_is_gone() {
    // A square, both ways: everybody is two hops from the bus across, by either side.
    let sides = ["ab", "ba", "bc", "cb", "cd", "dc", "da", "ad"].map(|side| (side, ""));
    let buses = Buses::new(&sides, &[('a', 4), ('b', 4), ('c', 2), ('d', 2)]);
    let all = "abcd";
    buses.exchange("t", &[('a', all), ('b', all), ('c', all), ('d', all)]);
    let all = 4 * MESSAGES;
    buses.accounts_are_exact(&[('a', all), ('b', all), ('c', all), ('d', all)]);
    buses.world.ok(&["down"]);
}

#[test]
fn what_a_link_on_the_way_does_not_ask_for_does_not_come() {
    let links = [("ab", "news, sport"), ("bc", "news.local, weather, sport.")];
    let buses = Buses::new(&links, &[('a', 2), ('b', 5), ('c', 0)]);
    // `b` asks `a` for two topics; `c` asks `b` for three of its own and for two of those of `a`.
    let topics = buses.facts('b')["topics"].clone();
    let topics = topics.as_array().unwrap().iter();
    let held: BTreeMap<&str, u64> = topics
        .map(|it| {
            (
                it["topic"].as_str().unwrap(),
                it["subscribers"].as_u64().unwrap(),
            )
        })
        .collect();
    let wanted = [("news.local", 2), ("sport.", 2), ("weather", 1)];
    assert_eq!(held, BTreeMap::from(wanted));
    buses.exchange("news.local", &[('a', "a"), ('b', "ab"), ('c', "abc")]);
    buses.exchange("news.world", &[('a', "a"), ('b', "ab"), ('c', "c")]);
    buses.exchange("weather", &[('a', "a"), ('b', "b"), ('c', "bc")]);
    buses.world.ok(&["down"]);
}
