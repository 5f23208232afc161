//! CURVE's boxes against libsodium: a peer that does the handshake of RFC 26 by hand, with PyNaCl,
//! on either side of ours, with random keys, random sizes and random bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use zmqnet::model::endpoint::Endpoint;
use zmqnet::model::key::KeyPair;
use zmqnet::model::limits::WireLimits;
use zmqnet::model::socket::SocketType;
use zmqnet::wire::curve::{self, CurveClient};
use zmqnet::wire::hub::{Admission, Dialling, Guard, Hub, HubEvent, Security};

use crate::support::{DEADLINE, Ran, World, ports, py};

/// RFC 26 by hand. Every box here is libsodium's.
const PEER: &str = r#"
import os, random, socket, struct, sys
from nacl.bindings import crypto_box, crypto_box_open, crypto_box_keypair, crypto_box_beforenm
from nacl.bindings import crypto_box_afternm, crypto_box_open_afternm, crypto_secretbox, crypto_secretbox_open
from nacl.exceptions import CryptoError
import zmq.utils.z85 as z85
side, endpoint, own_public, own_secret, other_public, count, spoil = sys.argv[1:8]
own_public, own_secret, other_public = (z85.decode(key) for key in (own_public, own_secret, other_public))
count = int(count)
address = endpoint.removeprefix("tcp://").split(":")
address = (address[0], int(address[1]))

def metadata():
    out = b""
    for name, value in ((b"Socket-Type", b"DEALER"), (b"Identity", b"")):
        out += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
    return out

class Wire:
    def __init__(self, s):
        self.s, self.out, self.seen = s, 0, []
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes([side == "server"])
        s.sendall(greeting.ljust(64, b"\0"))
        theirs = self.exactly(64)
        assert theirs[12:17] == b"CURVE" and theirs[32] == (side == "client"), theirs
    def exactly(self, n):
        data = b""
        while len(data) < n:
            got = self.s.recv(n - len(data))
            if not got: raise EOFError
            data += got
        return data
    def frame(self, flags, body):
        head = bytes([flags, len(body)]) if len(body) < 256 else bytes([flags | 2]) + struct.pack(">Q", len(body))
        self.s.sendall(head + body)
    def read(self):
        flags = self.exactly(1)[0]
        length = struct.unpack(">Q", self.exactly(8))[0] if flags & 2 else self.exactly(1)[0]
        return flags, self.exactly(length)
    def nonce(self):
        self.out += 1
        return struct.pack(">Q", self.out)
    def command(self, name, body): self.frame(4, bytes([len(name)]) + name + body)
    def expect(self, name):
        flags, body = self.read()
        assert flags & 4 and body[:1 + len(name)] == bytes([len(name)]) + name, body[:10]
        return body[1 + len(name):]
    def send(self, payload, flags=0, twist=None):
        nonce = self.nonce() if twist != "replay" else struct.pack(">Q", self.out)
        box = crypto_box_afternm(bytes([flags]) + payload, MESSAGE_OUT + nonce, self.key)
        if twist == "flip":
            at = random.randrange(len(box) * 8)
            box = box[:at // 8] + bytes([box[at // 8] ^ 1 << at % 8]) + box[at // 8 + 1:]
        self.frame(0, b"\x07MESSAGE" + nonce + box)
    def recv(self):
        while True:
            _, body = self.read()
            assert body[:8] == b"\x07MESSAGE", body[:10]
            nonce = struct.unpack(">Q", body[8:16])[0]
            # Never again, and never back.
            assert not self.seen or nonce > self.seen[-1], (nonce, self.seen[-1])
            self.seen.append(nonce)
            plain = crypto_box_open_afternm(body[16:], MESSAGE_IN + body[8:16], self.key)
            if not plain[0] & 2:
                return plain[1:]
            if plain[1:6] == b"\x04PING":
                self.send(b"\x04PONG" + plain[8:], 2)

MESSAGE_OUT, MESSAGE_IN = b"CurveZMQMESSAGEC", b"CurveZMQMESSAGES"
if side == "server": MESSAGE_OUT, MESSAGE_IN = MESSAGE_IN, MESSAGE_OUT
cp, cs = crypto_box_keypair()

def client(s):
    w = Wire(s)
    n = w.nonce()
    w.command(b"HELLO", b"\x01\0" + bytes(72) + cp + n + crypto_box(bytes(64), b"CurveZMQHELLO---" + n, other_public, cs))
    welcome = w.expect(b"WELCOME")
    plain = crypto_box_open(welcome[16:], b"WELCOME-" + welcome[:16], other_public, cs)
    sp, cookie = plain[:32], plain[32:]
    v = os.urandom(16)
    vouch = crypto_box(cp + other_public, b"VOUCH---" + v, sp, own_secret)
    n = w.nonce()
    box = crypto_box(own_public + v + vouch + metadata(), b"CurveZMQINITIATE" + n, sp, cs)
    w.command(b"INITIATE", cookie + n + box)
    ready = w.expect(b"READY")
    assert b"Socket-Type" in crypto_box_open(ready[8:], b"CurveZMQREADY---" + ready[:8], sp, cs)
    w.seen.append(struct.unpack(">Q", ready[:8])[0])
    w.key = crypto_box_beforenm(sp, cs)
    return w

def server(s):
    w = Wire(s)
    hello = w.expect(b"HELLO")
    assert hello[:2] == b"\x01\0" and hello[2:74] == bytes(72) and len(hello) == 194
    p, nonce = hello[74:106], hello[106:114]
    assert crypto_box_open(hello[114:], b"CurveZMQHELLO---" + nonce, p, own_secret) == bytes(64)
    k, r, v = os.urandom(32), os.urandom(16), os.urandom(16)
    cookie = r + crypto_secretbox(p + cs, b"COOKIE--" + r, k)
    w.command(b"WELCOME", v + crypto_box(cp + cookie, b"WELCOME-" + v, p, own_secret))
    initiate = w.expect(b"INITIATE")
    assert initiate[:96] == cookie and initiate[96:104] > nonce
    w.seen = [struct.unpack(">Q", nonce)[0], struct.unpack(">Q", initiate[96:104])[0]]
    plain = crypto_box_open(initiate[104:], b"CurveZMQINITIATE" + initiate[96:104], p, cs)
    assert plain[:32] == other_public, "it shows its long-term key"
    vouch = crypto_box_open(plain[48:128], b"VOUCH---" + plain[32:48], other_public, cs)
    assert vouch == p + own_public
    n = w.nonce()
    w.command(b"READY", n + crypto_box(metadata(), b"CurveZMQREADY---" + n, p, cs))
    w.key = crypto_box_beforenm(p, cs)
    return w

if side == "client":
    w = client(socket.create_connection(address))
else:
    listener = socket.create_server(address)
    print("up", flush=True)
    w = server(listener.accept()[0])
w.s.settimeout(20)
for i in range(count):
    payload = os.urandom(random.choice([0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, random.randrange(70_000)]))
    w.send(payload)
    assert w.recv() == payload, i
if spoil != "-":
    w.send(b"spoilt", 0, spoil)
    try:
        w.recv()
        sys.exit("it was answered")
    except (EOFError, ConnectionError):
        pass
print("agreed", len(w.seen), len(set(w.seen)))
"#;

fn args(side: &str, at: &Endpoint, own: &KeyPair, other: &KeyPair, rest: [&str; 2]) -> Vec<String> {
    let mut args = vec![
        side.to_owned(),
        at.to_string(),
        own.public.to_string(),
        own.secret.to_z85().to_string(),
        other.public.to_string(),
    ];
    args.extend(rest.map(str::to_owned));
    args
}

/// Gives everything back until the peer has ended; gives what it said and what came.
async fn echo(hub: &mut Hub, args: Vec<String>) -> (Ran, Vec<Vec<u8>>) {
    let peer = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        py(&World::new(), PEER, &args)
    });
    let mut got = Vec::new();
    let echoing = async {
        tokio::pin!(peer);
        loop {
            tokio::select! {
                ran = &mut peer => return ran.unwrap(),
                event = hub.next() => if let HubEvent::Message { conn, frames, .. } = event {
                    got.push(frames.concat());
                    hub.send(conn, frames).unwrap();
                }
            }
        }
    };
    let ran = timeout(DEADLINE * 2, echoing).await.expect("in time");
    (ran, got)
}

fn said(ran: &Ran) -> [usize; 2] {
    let numbers = ran.stdout.lines().last().unwrap_or_default();
    let numbers = numbers.strip_prefix("agreed ");
    let numbers = numbers.unwrap_or_else(|| panic!("{}{}", ran.stdout, ran.stderr));
    let numbers: Vec<usize> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[tokio::test]
async fn our_listener_and_libsodium_agree_on_every_box_and_no_nonce_comes_twice() {
    for spoil in ["-", "flip", "replay"] {
        let [server, client] = [(); 2].map(|()| curve::generate());
        let at = Endpoint::tcp("127.0.0.1", ports(1));
        let guard = Arc::new(Guard::new(Admission {
            own: vec![server.clone()],
            allowed: BTreeMap::from([(client.public, "ann".to_owned())]),
            ..Admission::default()
        }));
        let mut hub = Hub::new(WireLimits::default(), "ZN1:test");
        hub.listen("main", &at, SocketType::Router, Security::Curve(guard))
            .unwrap();
        let args = args("client", &at, &client, &server, ["60", spoil]);
        let (ran, got) = echo(&mut hub, args).await;
        let [nonces, different] = said(&ran);
        assert!(nonces >= 61 && nonces == different, "{}", ran.stdout);
        assert_eq!(got.len(), 60, "what was spoilt is not handed out");
    }
}

#[tokio::test]
async fn our_dialler_and_libsodium_agree_on_every_box_and_no_nonce_comes_twice() {
    for spoil in ["-", "flip", "replay"] {
        let [server, client] = [(); 2].map(|()| curve::generate());
        let at = Endpoint::tcp("127.0.0.1", ports(1));
        let mut hub = Hub::new(WireLimits::default(), "");
        let dialling = Dialling {
            security: Some(CurveClient {
                own: client.clone(),
                server: server.public,
            }),
            ..Dialling::default()
        };
        hub.dial("out", &at, SocketType::Dealer, dialling);
        let args = args("server", &at, &server, &client, ["60", spoil]);
        let (ran, got) = echo(&mut hub, args).await;
        let [nonces, different] = said(&ran);
        assert!(nonces >= 62 && nonces == different, "{}", ran.stdout);
        assert_eq!(got.len(), 60, "what was spoilt is not handed out");
    }
}

#[tokio::test]
async fn a_box_for_another_key_opens_nothing() {
    let [server, client, other] = [(); 3].map(|()| curve::generate());
    let at = Endpoint::tcp("127.0.0.1", ports(1));
    let mut hub = Hub::new(WireLimits::default(), "");
    let dialling = Dialling {
        security: Some(CurveClient {
            own: client.clone(),
            server: other.public,
        }),
        ..Dialling::default()
    };
    hub.dial("out", &at, SocketType::Dealer, dialling);
    let args = args("server", &at, &server, &client, ["1", "-"]);
    let (ran, got) = timeout(Duration::from_secs(30), echo(&mut hub, args))
        .await
        .expect("in time");
    assert!(ran.stderr.contains("CryptoError"), "{}", ran.stderr);
    assert!(got.is_empty());
}
