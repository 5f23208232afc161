//! Buses that hand on to each other: in a line, in circles, over several hops. Each message comes once to
//! everybody, in the order of its publisher, and every account is exact.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde_json::Value;

use crate::support::{Running, World, ports, py, python, wait_for};

/// Messages published at each bus.
const MESSAGES: usize = 200;

/// Buses by one letter each, and who gets what from whom.
struct Buses {
    world: World,
    names: Vec<char>,
    port: u16,
    /// What other buses hold at each once everybody wants everything.
    dialled: Vec<(char, u64)>,
}

impl Buses {
    /// `ab` has `b` dial `a`; how many connections of other buses each has to have.
    fn new(links: &[(&str, &str)], dialled: &[(char, u64)]) -> Self {
        Self::with(links, dialled, "")
    }

    /// The same, each with more keys.
    fn with(links: &[(&str, &str)], dialled: &[(char, u64)], keys: &str) -> Self {
        let names: Vec<char> = dialled.iter().map(|(name, _)| *name).collect();
        let port = ports(3 * names.len() as u16);
        let mut text = "zmqnet: 1\nname: linked\nnodes:\n".to_owned();
        for (index, name) in names.iter().enumerate() {
            let port = port + 3 * index as u16;
            text += &format!("  {name}: {{kind: bus, port: {port}{keys}}}\n");
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
        let dialled = dialled.to_vec();
        let buses = Self {
            world,
            names,
            port,
            dialled: dialled.clone(),
        };
        for (name, count) in &dialled {
            // Those that ask for what is subscribed to ask for nothing yet.
            wait_for("the buses have dialled each other", || {
                let facts = buses.facts(*name);
                (facts["buses"] == *count || buses.held(*name).values().sum::<u64>() == *count)
                    .then_some(())
            });
        }
        buses
    }

    /// What is subscribed to at a bus, and by how many.
    fn held(&self, name: char) -> BTreeMap<String, u64> {
        let topics = self.facts(name)["topics"].clone();
        let topics = topics.as_array().unwrap().iter();
        let held = topics.map(|it| {
            let subscribers = it["subscribers"].as_u64().unwrap();
            (it["topic"].as_str().unwrap().to_owned(), subscribers)
        });
        held.collect()
    }

    #[track_caller]
    fn holds(&self, name: char, wanted: &[(&str, u64)]) {
        let wanted = wanted
            .iter()
            .map(|(topic, count)| ((*topic).to_owned(), *count));
        let wanted: BTreeMap<String, u64> = wanted.collect();
        wait_for(&format!("{name} to be asked for {wanted:?}"), || {
            (self.held(name) == wanted).then_some(())
        });
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
        let dialled = self.dialled.iter().map(|(_, count)| count.to_string());
        let dialled = dialled.collect::<Vec<_>>().join(",");
        let mut args = vec![&*port, &*names, topic, &*count, &*dialled];
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
import json, sys, time, zmq
port, names, topic, count = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode(), int(sys.argv[4])
dialled = dict(zip(names, map(int, sys.argv[5].split(','))))
hears = {each[0]: each[1:] for each in sys.argv[6:]}
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
def held(name):
    asker = context.socket(zmq.REQ)
    asker.linger, asker.rcvtimeo = 0, 20000
    asker.connect(at(name, 2))
    asker.send_multipart([b'ZN1', b'status', b'1'])
    topics = json.loads(asker.recv_multipart()[3])['fan']['topics']
    asker.close()
    return sum(topic['subscribers'] for topic in topics)
# What is wanted at one bus has gone its way to the others: two topics of each subscriber, and theirs.
until = time.monotonic() + 20
while any(held(name) != dialled[name] + 2 for name in names):
    assert time.monotonic() < until, {name: held(name) for name in names}
    time.sleep(0.02)
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
    buses.holds('b', &[("news.local", 2), ("sport.", 2), ("weather", 1)]);
    buses.exchange("news.local", &[('a', "a"), ('b', "ab"), ('c', "abc")]);
    buses.exchange("news.world", &[('a', "a"), ('b', "ab"), ('c', "c")]);
    buses.exchange("weather", &[('a', "a"), ('b', "b"), ('c', "bc")]);
    buses.world.ok(&["down"]);
}

/// Subscribers that come and go as they are told, by lines: `+NAME TOPIC`, `-NAME TOPIC`, `!NAME TOPIC TEXT`
/// publishes, `?NAME` waits for a message.
const WANTS: &str = "\
import sys, zmq
port, names = int(sys.argv[1]), sys.argv[2]
context = zmq.Context()
at = lambda name, offset: f'tcp://127.0.0.1:{port + 3 * names.index(name) + offset}'
subscribers = {}
for line in sys.stdin:
    what, name, rest = line[0], line[1], line[2:].split()
    if what == '+' and name not in subscribers:
        subscribers[name] = context.socket(zmq.SUB)
        subscribers[name].linger, subscribers[name].rcvtimeo = 0, 20000
        subscribers[name].connect(at(name, 1))
    if what == '+':
        subscribers[name].subscribe(rest[0])
    elif what == '-' and rest:
        subscribers[name].unsubscribe(rest[0])
    elif what == '-':
        subscribers.pop(name).close()
    elif what == '!':
        asker = context.socket(zmq.REQ)
        asker.linger, asker.rcvtimeo = 0, 20000
        asker.connect(at(name, 2))
        asker.send_multipart([b'ZN1', b'publish', b'', b'', rest[0].encode(), rest[1].encode()])
        asker.recv_multipart()
        asker.close()
    else:
        print(*(frame.decode() for frame in subscribers[name].recv_multipart()))
    print('done', flush=True)
";

/// That program, and what it is told.
struct Wants(Running, std::io::BufReader<std::process::ChildStdout>);

impl Wants {
    fn start(buses: &Buses) -> Self {
        let names: String = buses.names.iter().collect();
        let mut command = buses.world.command(python());
        command.args(["-c", WANTS, &buses.port.to_string(), &names]);
        command.stdin(std::process::Stdio::piped());
        let mut running = Running::start(&mut command);
        let stdout = running.0.stdout.take().unwrap();
        Self(running, std::io::BufReader::new(stdout))
    }

    /// Does what a line says, and gives what it prints of it.
    fn tell(&mut self, line: &str) -> String {
        let stdin = self.0.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        let mut said = String::new();
        while !said.ends_with("done\n") {
            assert!(self.1.read_line(&mut said).unwrap() > 0, "{line}");
        }
        said.trim_end_matches("done\n").to_owned()
    }
}

#[test]
fn a_bus_asks_another_for_what_is_subscribed_to_and_no_longer_than_it_is() {
    let dialled = [('a', 1), ('b', 2), ('c', 0)];
    let buses = Buses::new(&[("ab", ""), ("bc", "")], &dialled);
    let mut wants = Wants::start(&buses);
    buses.holds('a', &[]);
    wants.tell("+c news");
    // `c` asks `b` for what is published there, and for what is at `a`; `b` asks `a` for it.
    buses.holds('b', &[("news", 2)]);
    buses.holds('a', &[("news", 1)]);
    wants.tell("+b news");
    wants.tell("+b sport");
    buses.holds('a', &[("news", 1), ("sport", 1)]);
    wants.tell("!a news.x one");
    assert_eq!(wants.tell("?c"), "news.x one\n");
    assert_eq!(wants.tell("?b"), "news.x one\n");
    // What nobody wants does not come.
    wants.tell("!a weather rain");
    wants.tell("!a sport.x two");
    assert_eq!(wants.tell("?b"), "sport.x two\n");
    assert_eq!(buses.facts('b')["published"], 2);
    assert_eq!(buses.facts('c')["published"], 1);
    wants.tell("-b news");
    buses.holds('a', &[("news", 1), ("sport", 1)]);
    // Whoever is gone wants nothing, and a bus that begins anew is asked again.
    wants.tell("-b");
    buses.holds('a', &[("news", 1)]);
    buses.world.ok(&["restart", "a"]);
    buses.holds('a', &[("news", 1)]);
    wants.tell("!a news.x three");
    assert_eq!(wants.tell("?c"), "news.x three\n");
    buses.world.ok(&["restart", "b"]);
    buses.holds('b', &[("news", 2)]);
    buses.holds('a', &[("news", 1)]);
    wants.tell("-c news");
    for (name, _) in dialled {
        buses.holds(name, &[]);
    }
    drop(wants);
    buses.world.ok(&["down"]);
}

#[test]
fn in_a_circle_no_two_buses_keep_alive_what_only_each_other_wants() {
    let both = [("ab", ""), ("ba", "")];
    let circle = [("ab", ""), ("bc", ""), ("ca", "")];
    for (links, dialled) in [
        (&both[..], &[('a', 1), ('b', 1)][..]),
        (&circle[..], &[('a', 2), ('b', 2), ('c', 2)][..]),
    ] {
        let buses = Buses::new(links, dialled);
        let mut wants = Wants::start(&buses);
        wants.tell("+a news");
        match dialled.len() {
            2 => buses.holds('b', &[("news", 1)]),
            // `a` gets what is at `b` by way of `c`, and what is at `c`.
            _ => {
                buses.holds('c', &[("news", 2)]);
                buses.holds('b', &[("news", 1)]);
            }
        }
        buses.holds('a', &[("news", 1)]);
        wants.tell("!b news.x one");
        assert_eq!(wants.tell("?a"), "news.x one\n");
        wants.tell("-a");
        for (name, _) in dialled {
            buses.holds(*name, &[]);
        }
        drop(wants);
        buses.world.ok(&["down"]);
    }
}

#[test]
fn a_bus_that_keeps_what_came_last_asks_for_all() {
    let buses = Buses::with(&[("ab", "")], &[('a', 1), ('b', 0)], ", retain: true");
    buses.holds('a', &[("", 1)]);
    let mut wants = Wants::start(&buses);
    wants.tell("!a news.x one");
    wait_for("it to come", || {
        (buses.facts('b')["published"] == 1).then_some(())
    });
    wants.tell("+b news");
    assert_eq!(wants.tell("?b"), "news.x one\n");
    drop(wants);
    buses.world.ok(&["down"]);
}

/// Publishes at the first of three buses what is as large as it may be there; what comes to subscribers of
/// the others, each once.
const LARGEST: &str = "\
import sys, zmq
port, context = int(sys.argv[1]), zmq.Context()
subscribers = []
for bus in (1, 2):
    subscriber = context.socket(zmq.SUB)
    subscriber.rcvhwm, subscriber.rcvtimeo, subscriber.linger = 0, 20000, 0
    subscriber.connect(f'tcp://127.0.0.1:{port + 3 * bus + 1}')
    for wish in ('', 'ZN1.ready.me'):
        subscriber.subscribe(wish)
    assert subscriber.recv_multipart() == [b'ZN1.ready.me']
    subscribers.append(subscriber)
publisher = context.socket(zmq.XPUB)
publisher.sndhwm, publisher.rcvtimeo, publisher.linger = 0, 20000, 20000
publisher.connect(f'tcp://127.0.0.1:{port}')
assert publisher.recv() == b'\\x01'
for turn in range(2):
    for message in ([b'parts', *[b'x'] * 63], [b'bytes', b'y' * (65536 - 5)], [b'small', b'z']):
        publisher.send_multipart(message)
expected = [[b'parts', b'bytes', b'small'] * 2, [b'parts', b'small'] * 2]
for subscriber, topics in zip(subscribers, expected):
    assert [subscriber.recv_multipart()[0] for _ in topics] == topics
    subscriber.rcvtimeo = 300
    try:
        raise SystemExit(f'{subscriber.recv_multipart()[0]} came again')
    except zmq.Again:
        pass
print('each once')
";

#[test]
fn what_a_bus_adds_breaks_no_link_and_what_another_does_not_take_is_dropped_once() {
    let world = World::new();
    let port = ports(9);
    let at = |bus: u16| port + 3 * bus;
    let text = format!(
        "zmqnet: 1\nname: largest\nnodes:\n  \
         a: {{kind: bus, port: {}, sequence: true, retain: true, limits: {{message: 64KiB}}}}\n  \
         b: {{kind: bus, port: {}, limits: {{message: 64KiB}}}}\n  \
         c: {{kind: bus, port: {}, limits: {{message: 16KiB}}}}\nlinks:\n  \
         ab: {{pattern: pubsub, from: a, to: b, topics: ['']}}\n  ac: {{pattern: pubsub, from: a, to: c, topics: ['']}}\n",
        at(0),
        at(1),
        at(2),
    );
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    let listed = |name: &str| world.ok(&["bus", "ls", "-n", name, "-o", "json"]).json();
    wait_for("the buses have subscribed", || {
        (listed("a")["topics"][0]["subscribers"] == 2).then_some(())
    });
    let ran = py(&world, LARGEST, &[&port.to_string()]);
    assert_eq!(ran.stdout, "each once\n", "{}", ran.stderr);
    let (b, c) = (listed("b"), listed("c"));
    assert_eq!((&b["published"], &b["oversized"]), (&6.into(), &0.into()));
    assert_eq!((&c["published"], &c["oversized"]), (&4.into(), &2.into()));
    world.ok(&["down"]);
}
