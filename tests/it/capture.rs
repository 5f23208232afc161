//! What is on the wire: every packet of a network's loopback, in a network namespace of its own,
//! while a message passes. Where no namespace may be made, a proxy records one wire instead.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::{Ran, World, ports, py, python, zmqnet};

/// Brings loopback up, captures it while a network starts and a message passes, and says how often
/// the message and the names of the mechanisms were seen.
const CAPTURE: &str = "\
import fcntl, socket, struct, subprocess, sys, threading
zmqnet, marker = sys.argv[1:]
flags = struct.pack('16sh14x', b'lo', 0x41)
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, flags)
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
raw.bind(('lo', 0))
raw.settimeout(0.2)
seen, is_over = bytearray(), threading.Event()

def record():
    while True:
        try:
            seen.extend(raw.recv(1 << 17))
        except TimeoutError:
            if is_over.is_set():
                return

recording = threading.Thread(target=record)
recording.start()
def run(*args):
    ran = subprocess.run([zmqnet, *args], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
run('apply')
try:
    assert 'reply msg' in run('send', '-n', 'alpha', marker)
finally:
    is_over.set()
    recording.join()
    run('down')
print(len(seen), seen.count(marker.encode()), seen.count(b'CURVE'), seen.count(b'NULL'))
";

const MARKER: &str = "nobody-on-the-way-reads-this-8c1f2e";

/// Two replicas over tcp, encrypted or not.
fn mesh(world: &World, curve: &str) -> u16 {
    let first = ports(4);
    let text = format!(
        "{{zmqnet: 1, name: seen, security: {{curve: {curve}}}, defaults: {{ports: {first}..{}}}, nodes: {{quorum: {{kind: replica, replicas: [alpha, bravo]}}}}, links: {{votes: {{pattern: mesh, among: quorum, transport: tcp}}}}}}",
        first + 3
    );
    world.write("topology.yaml", &text);
    first
}

/// How a network namespace may be made here, if one may.
fn namespace() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "-n"], &["unshare", "-rn"]];
    ways.into_iter().find(|way| {
        let tried = Command::new(way[0]).args(&way[1..]).arg("true").output();
        tried.is_ok_and(|ran| ran.status.success())
    })
}

/// How often the message, `CURVE` and `NULL` were seen.
fn counts(curve: &str) -> [usize; 3] {
    let world = World::new();
    let first = mesh(&world, curve);
    let Some(way) = namespace() else {
        return proxied(&world, first);
    };
    let mut command = world.command(way[0]);
    command.args(&way[1..]).arg(python());
    command.args(["-c", CAPTURE, zmqnet(), MARKER]);
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let numbers: Vec<usize> = ran
        .stdout
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    assert!(numbers[0] > 2_000, "packets were seen: {numbers:?}");
    [numbers[1], numbers[2], numbers[3]]
}

/// The same of the one wire between a client and a replica, through a proxy that records it.
fn proxied(world: &World, first: u16) -> [usize; 3] {
    world.ok(&["apply"]);
    let seen = Arc::new(Mutex::new(Vec::<u8>::new()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = listener.local_addr().unwrap().port();
    let record = seen.clone();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(("127.0.0.1", first)).unwrap();
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let record = record.clone();
                std::thread::spawn(move || {
                    let mut buffer = [0; 4_096];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        record.lock().unwrap().extend(&buffer[..count]);
                        if to.write_all(&buffer[..count]).is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    let script = "\
import os, sys, zmq, zmq.auth
socket = zmq.Context().socket(zmq.REQ)
if os.path.exists('keys'):
    socket.curve_serverkey, _ = zmq.auth.load_certificate('keys/alpha.key')
    pair = zmq.auth.load_certificate('keys/operator.key_secret')
    socket.curve_publickey, socket.curve_secretkey = pair
socket.connect('tcp://127.0.0.1:' + sys.argv[1])
socket.send_multipart([b'ZN1', b'send', b'1', b'{}', sys.argv[2].encode()])
print(socket.recv_multipart()[1].decode() if socket.poll(20000) else 'silence')
";
    let ran = py(world, script, &[&at.to_string(), MARKER]);
    assert_eq!(ran.stdout, "200\n", "{}", ran.stderr);
    let seen = seen.lock().unwrap();
    let count = |what: &[u8]| seen.windows(what.len()).filter(|it| *it == what).count();
    [count(MARKER.as_bytes()), count(b"CURVE"), count(b"NULL")]
}

#[test]
fn an_encrypted_link_shows_nothing_of_what_passes_and_one_in_the_clear_shows_it() {
    let [message, curve, null] = counts("always");
    assert_eq!((message, null), (0, 0));
    assert!(curve > 0, "the greetings were seen");
    let [message, curve, null] = counts("never");
    assert!(
        message > 0 && null > 0,
        "the capture sees what is there to see"
    );
    assert_eq!(curve, 0);
}

#[test]
fn a_proxy_that_records_sees_the_same() {
    for (mode, is_seen) in [("always", false), ("never", true)] {
        let world = World::new();
        let first = mesh(&world, mode);
        let [message, curve, _] = proxied(&world, first);
        assert_eq!((message > 0, curve > 0), (is_seen, !is_seen), "{mode}");
    }
}
