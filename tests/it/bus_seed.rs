//! What PyDistributed's bus promised: prefixes, each message once, ping and pong, and callbacks that take
//! the message and its topic; a command that fails is one of those.

use std::io::{BufRead, BufReader};

use crate::support::{Ran, Running, World, ports, py, python, wait_for};

fn bus(world: &World) -> u16 {
    let port = ports(3);
    let text = format!("zmqnet: 1\nname: seed\nnodes:\n  bus: {{kind: bus, port: {port}}}\n");
    world.write("topology.yaml", &text);
    world.ok(&["apply"]);
    port
}

fn at(port: u16, offset: u16) -> String {
    format!("tcp://127.0.0.1:{}", port + offset)
}

/// PyDistributed's `Subscriber` and `Publisher` as plain pyzmq: two frames, the second a pickle. Where the
/// seed slept, the bus says when all counts.
const CLIENT: &str = "\
import pickle, sys, zmq
context = zmq.Context()
class Subscriber:
    def __init__(self):
        self.socket = context.socket(zmq.SUB)
        self.socket.rcvtimeo, self.socket.linger, self.count = 20000, 0, 0
        self.socket.connect(sys.argv[2])
    def ready(self):
        self.count += 1
        word = b'ZN1.ready.%d' % self.count
        self.socket.subscribe(word)
        assert self.socket.recv_multipart() == [word]
        self.socket.unsubscribe(word)
    def receive(self):
        topic, pickled = self.socket.recv_multipart()
        return topic.decode(), pickle.loads(pickled)
class Publisher:
    def __init__(self):
        self.socket = context.socket(zmq.XPUB)
        self.socket.rcvtimeo, self.socket.linger = 20000, 20000
        self.socket.connect(sys.argv[1])
        assert self.socket.recv() == b'\\x01'
    def send(self, topic, message):
        self.socket.send_multipart([topic.encode(), pickle.dumps(message)])
";

/// What answers each ping with a pong.
const PONG: &str = "
pings, publisher = Subscriber(), Publisher()
pings.socket.subscribe('ping')
pings.ready()
print('ready', flush=True)
while True:
    topic, number = pings.receive()
    assert topic == 'ping'
    publisher.send('pong', number)
";
const PING: &str = "
pongs, publisher = Subscriber(), Publisher()
pongs.socket.subscribe('pong')
pongs.ready()
for number in range(100):
    publisher.send('ping', number)
    assert pongs.receive() == ('pong', number)
print('100 round trips')
";

#[test]
fn ping_and_pong_make_a_hundred_round_trips_by_a_bus() {
    let world = World::new();
    let port = bus(&world);
    let ends = [at(port, 0), at(port, 1)];
    let mut pong = world.command(python());
    pong.arg("-c").arg([CLIENT, PONG].concat()).args(&ends);
    let mut pong = Running::start(&mut pong);
    let mut said = BufReader::new(pong.0.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let ping = py(&world, &[CLIENT, PING].concat(), &[&ends[0], &ends[1]]);
    assert_eq!(ping.stdout, "100 round trips\n", "{}", ping.stderr);
    world.ok(&["down"]);
}

const WISHES: &str = "
mine, publisher = Subscriber(), Publisher()
for topic in ('ping', 'ping', 'pi', 'pong'):
    mine.socket.subscribe(topic)
mine.ready()
for topic in ('ping', 'pings', 'pong', 'other', 'pi'):
    publisher.send(topic, topic)
got = [mine.receive() for _ in range(4)]
assert got == [(topic, topic) for topic in ('ping', 'pings', 'pong', 'pi')], got
for topic in ('pi', 'pong'):
    mine.socket.unsubscribe(topic)
mine.ready()
for topic in ('pong', 'pi', 'ping'):
    publisher.send(topic, 2)
assert mine.receive() == ('ping', 2)
for topic in ('ping', 'ping'):
    mine.socket.unsubscribe(topic)
mine.ready()
# Whoever wants everything is told when this is through: nothing of it was for the other.
all_of_it = Subscriber()
all_of_it.socket.subscribe('')
all_of_it.ready()
publisher.send('ping', 3)
assert all_of_it.receive() == ('ping', 3)
mine.ready()
print('each once, and none after unsubscribing')
";

#[test]
fn a_message_comes_once_for_all_its_prefixes_and_not_after_unsubscribing() {
    let world = World::new();
    let port = bus(&world);
    let ends = [at(port, 0), at(port, 1)];
    let ran = py(&world, &[CLIENT, WISHES].concat(), &[&ends[0], &ends[1]]);
    let said = "each once, and none after unsubscribing\n";
    assert_eq!(ran.stdout, said, "{}", ran.stderr);
    world.ok(&["down"]);
}

/// `bus sub` with a command, once its subscriptions count.
fn subscribe(world: &World, args: &[&str]) -> Running {
    let mut command = world.zmqnet(&["bus", "sub"]);
    let mut running = Running::start(command.args(args));
    let talk = running.0.stderr.take().unwrap();
    let mut talk = BufReader::new(talk);
    let mut line = String::new();
    talk.read_line(&mut line).unwrap();
    assert!(line.starts_with("subscribed at tcp://"), "{line}");
    running.0.stderr = Some(talk.into_inner());
    running
}

fn end(mut running: Running) -> Ran {
    let output = |pipe: &mut dyn std::io::Read| {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    };
    let stdout = output(running.0.stdout.as_mut().unwrap());
    let stderr = output(running.0.stderr.as_mut().unwrap());
    let code = running.0.wait().unwrap().code().unwrap();
    Ran {
        code,
        stdout,
        stderr,
    }
}

#[test]
fn a_command_is_given_each_message_and_its_topic_and_one_that_fails_stops_nobody() {
    let world = World::new();
    bus(&world);
    // It fails once, is killed once, and does not read what it is given once.
    let script = "case $ZMQNET_TOPIC in\n  ping.bad) exit 3;;\n  ping.killed) kill -9 $$;;\n  \
                  ping.deaf) echo deaf; exit 0;;\nesac\nprintf '%s=' $ZMQNET_TOPIC; cat; echo";
    let options = ["ping", "--count", "6", "--timeout", "25s"];
    let all = subscribe(
        &world,
        &[&options[..], &["--", "sh", "-c", script]].concat(),
    );
    let good = ["ping.1", "--exact", "--count", "1", "--timeout", "25s"];
    let good = subscribe(&world, &[&good[..], &["--", "cat"]].concat());
    let large = "x".repeat(300_000);
    for (topic, message) in [
        ("ping.1", "one"),
        ("ping.bad", "two"),
        ("ping.killed", "three"),
        ("ping.deaf", &large),
        ("other", "not wanted"),
        ("ping.2", ""),
        ("ping.10", "last"),
    ] {
        let mut command = world.zmqnet(&["bus", "pub", topic, "-"]);
        let mut running = Running::start(command.stdin(std::process::Stdio::piped()));
        let mut stdin = running.0.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, format!("{message}\n").as_bytes()).unwrap();
        drop(stdin);
        assert!(running.0.wait().unwrap().success());
    }
    let all = end(all);
    assert_eq!(all.stdout, "ping.1=one\ndeaf\nping.2=\nping.10=last\n");
    assert_eq!(all.code, 1, "{}", all.stderr);
    for said in [
        "`sh` for `ping.bad`: exit status: 3",
        "`sh` for `ping.killed`: signal: 9 (SIGKILL)",
        "2 of 6 commands failed",
    ] {
        assert!(all.stderr.contains(said), "{}", all.stderr);
    }
    let good = end(good);
    assert_eq!((good.code, &*good.stdout), (0, "one"), "{}", good.stderr);
    world.ok(&["down"]);
}

#[test]
fn a_command_that_is_not_there_is_refused_at_once() {
    let world = World::new();
    bus(&world);
    for program in ["no-such-program", "./handler.sh"] {
        let ran = world.run(&["bus", "sub", "ping", "--", program]);
        assert_eq!(ran.code, 66, "{}", ran.stderr);
        assert!(ran.stderr.contains(program), "{}", ran.stderr);
    }
    world.write("handler.sh", "#!/bin/sh\ncat\n");
    let mut chmod = std::process::Command::new("chmod");
    let made = chmod.arg("+x").arg(world.path("handler.sh")).status();
    assert!(made.unwrap().success());
    let running = subscribe(&world, &["ping", "--count", "1", "--", "./handler.sh"]);
    wait_for("one that is here", || {
        world.ok(&["bus", "pub", "ping", "heard"]);
        Some(())
    });
    assert_eq!(end(running).stdout, "heard");
    let both = world.run(&["bus", "sub", "ping", "-o", "json", "--", "cat"]);
    assert_eq!(both.code, 64, "{}", both.stderr);
    world.ok(&["down"]);
}

/// Subscribes to very many topics.
const MANY: &str = "\
import sys, time, zmq
socket = zmq.Context().socket(zmq.SUB)
# What is subscribed to before there is a connection waits in a queue of libzmq.
socket.sndhwm, socket.rcvhwm = 0, 0
socket.connect(sys.argv[1])
for number in range(1100):
    socket.subscribe(f'topic.{number}')
socket.subscribe('ZN1.ready.me')
assert socket.recv_multipart() == [b'ZN1.ready.me']
print('up', flush=True)
time.sleep(1000)
";

#[test]
fn what_a_bus_does_not_list_take_or_answer_is_said() {
    let world = World::new();
    let port = bus(&world);
    let long = world.run(&["bus", "sub", &"t".repeat(1_025)]);
    assert_eq!(long.code, 64, "{}", long.stderr);
    assert!(
        long.stderr.contains("at most 1024 bytes"),
        "{}",
        long.stderr
    );
    let input = at(port, 0);
    let args = ["--endpoint", &input, "--timeout", "300ms", "ping", "x"];
    let wrong = world.run(&[&["bus", "pub"], &args[..]].concat());
    assert_eq!(wrong.code, 1, "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("the port `acked`"),
        "{}",
        wrong.stderr
    );
    let mut command = world.command(python());
    let _many = Running::start(command.args(["-c", MANY, &at(port, 1)]));
    let listed = wait_for("all topics", || {
        let listed = world.ok(&["bus", "ls", "-o", "json"]).json();
        (listed["more"].as_u64()? >= 100).then_some(listed)
    });
    assert_eq!(listed["topics"].as_array().unwrap().len(), 1_000);
    let table = world.ok(&["bus", "ls"]);
    assert!(table.stderr.contains(" more topics"), "{}", table.stderr);
    world.ok(&["down"]);
}
