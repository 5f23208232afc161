//! The peers of the simulation: what clients ask, and what workers do with what they are given.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::protocol::zn1::{Reply, Request};

use super::{Happening, STORM_US, World};

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    PlainClient,
    /// Plain too, by the ports of another service.
    OtherClient,
    MajordomoClient,
    Submitter,
    PlainWorker,
    OtherWorker,
    MajordomoWorker,
    Taker,
}

impl Kind {
    pub(super) fn port(self) -> &'static str {
        match self {
            Self::PlainWorker => "back",
            Self::OtherWorker => "other.back",
            Self::OtherClient => "other.front",
            _ => "front",
        }
    }

    fn is_client(self) -> bool {
        matches!(
            self,
            Self::PlainClient | Self::OtherClient | Self::MajordomoClient | Self::Submitter
        )
    }

    /// Whether it is a REP socket.
    pub(super) fn is_plain_worker(self) -> bool {
        matches!(self, Self::PlainWorker | Self::OtherWorker)
    }

    /// What it asks for in all.
    fn asked_max(self) -> u32 {
        match self {
            Self::PlainClient => 90,
            _ => 30,
        }
    }
}

/// A peer.
pub(super) struct Peer {
    pub(super) kind: Kind,
    /// Lives it has lost: what it meant to do in an earlier one is not done.
    pub(super) life: u64,
    pub(super) conn: Option<u64>,
    /// It does nothing before.
    pub(super) stands_until: u64,
    /// Tasks asked for.
    pub(super) asked: u32,
    /// A Majordomo worker has said READY by this connection; a taker has a `take` under way.
    pub(super) introduced: Option<u64>,
    /// When a plain worker has done all that it was given: it does one after the other.
    pub(super) busy_until: u64,
}

impl Peer {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            life: 0,
            conn: None,
            stands_until: 0,
            asked: 0,
            introduced: None,
            busy_until: 0,
        }
    }

    pub(super) fn has_asked_all(&self) -> bool {
        !self.kind.is_client() || self.asked >= self.kind.asked_max()
    }
}

fn bytes(texts: &[&str]) -> Vec<Bytes> {
    let copy = |text: &&str| Bytes::copy_from_slice(text.as_bytes());
    texts.iter().map(copy).collect()
}

fn request(verb: &str, asked: Value, body: &[Bytes]) -> Vec<Bytes> {
    let mut request = Request::new(verb, verb.to_owned(), asked);
    request.body = body.to_vec();
    request.encode()
}

impl World {
    /// Whether a peer stands still; what it was to do comes later.
    fn stands(&mut self, peer: usize, what: Happening) -> bool {
        let until = self.peers[peer].stands_until;
        let stands = self.now < until;
        if stands {
            self.at(until, what);
        }
        stands
    }

    /// A peer does what it does by itself: connects, asks, offers itself.
    pub(super) fn acts(&mut self, peer: usize) {
        let life = self.peers[peer].life;
        if self.stands(peer, Happening::Acts(peer, life)) {
            return;
        }
        let conn = match self.peers[peer].conn {
            Some(conn) => conn,
            None => self.connect(peer),
        };
        match self.peers[peer].kind {
            Kind::PlainWorker | Kind::OtherWorker => {}
            Kind::MajordomoWorker => {
                if self.peers[peer].introduced != Some(conn) {
                    self.peers[peer].introduced = Some(conn);
                    self.send(conn, bytes(&["", "MDPW01", "\x01", "named"]));
                } else if self.is_storm() && self.rng.bool() {
                    // It wants nothing for a while, whatever it has.
                    self.peers[peer].introduced = None;
                    self.send(conn, bytes(&["", "MDPW01", "\x05"]));
                    let rest = self.rng.u64(..300_000);
                    return self.after(rest, Happening::Acts(peer, life));
                } else {
                    self.send(conn, bytes(&["", "MDPW01", "\x04"]));
                }
                let pause = self.rng.u64(50_000..1_000_000);
                self.after(pause, Happening::Acts(peer, life));
            }
            Kind::Taker => {
                if self.peers[peer].introduced != Some(conn) {
                    self.peers[peer].introduced = Some(conn);
                    self.take(conn);
                }
            }
            _ => {
                let burst = self.is_near && self.rng.bool();
                if burst && self.rng.bool() {
                    let soon = self.rng.u64(50..600);
                    self.after(soon, Happening::Crash);
                }
                for _ in 0..if burst { 20 } else { 1 } {
                    self.ask(peer, conn);
                }
                let patience = self.rng.u64(5_000..150_000);
                self.after(patience, Happening::Acts(peer, life));
            }
        }
    }

    /// A `take`, mostly of the service that has no other workers.
    fn taking(&mut self) -> Vec<Bytes> {
        let wait_ms = self.rng.u64(..300);
        let service = self.service();
        request("take", json!({"service": service, "wait_ms": wait_ms}), &[])
    }

    fn service(&mut self) -> &'static str {
        ["taken", "taken", "taken", "named"][self.rng.usize(..4)]
    }

    fn take(&mut self, conn: u64) {
        let taking = self.taking();
        self.send(conn, taking);
    }

    /// The connection of somebody who works by name, as a client may know it, and of which service.
    fn some_worker(&mut self) -> Option<(u64, &'static str)> {
        let works = self.peers.iter().filter_map(|peer| {
            let service = match peer.kind {
                Kind::Taker => "taken",
                Kind::MajordomoWorker => "named",
                _ => return None,
            };
            Some((peer.conn?, service))
        });
        let works: Vec<_> = works.collect();
        (!works.is_empty()).then(|| works[self.rng.usize(..works.len())])
    }

    /// A client asks for one task more.
    fn ask(&mut self, peer: usize, conn: u64) {
        let kind = self.peers[peer].kind;
        if self.peers[peer].has_asked_all() {
            return;
        }
        self.peers[peer].asked += 1;
        let number = self.peers[peer].asked;
        let task = format!("{peer}.{number} {}", "x".repeat(self.rng.usize(..600)));
        let too_long = "a hop ".repeat(1_000);
        let frames = match kind {
            Kind::PlainClient | Kind::OtherClient => match self.rng.usize(..100) {
                // By a way of a few hops, at times of more than may be.
                hops @ ..10 => [vec!["a hop"; hops], vec!["", &task]].concat(),
                10 => vec![too_long.as_str(), "", &task],
                _ => vec!["", &task],
            }
            .into_iter()
            .map(|frame| Bytes::copy_from_slice(frame.as_bytes()))
            .collect(),
            Kind::MajordomoClient => bytes(&["", "MDPC01", "named", &task]),
            _ => {
                let pin = (self.rng.u8(..3) == 0)
                    .then(|| self.some_worker())
                    .flatten();
                let service = match pin {
                    Some((_, service)) => service,
                    None => self.service(),
                };
                let mut asked = json!({"service": service, "wait": self.rng.bool()});
                if let Some((worker, _)) = pin {
                    asked["worker"] = worker.into();
                }
                asked["priority"] = self.rng.i16(-3..3).into();
                asked["id"] = format!("{peer}.{number}").into();
                // What one alone is to do is often to be done later, when that one may be none any more.
                if self.rng.u8(..5) == 0 || pin.is_some() && self.rng.bool() {
                    asked["delay_ms"] = self.rng.u64(..300).into();
                }
                if self.rng.u8(..4) == 0 {
                    asked["deadline_ms"] = self.rng.u64(1..400).into();
                }
                request("submit", asked, &bytes(&[&task]))
            }
        };
        // Who submits by an id may do so twice.
        if kind == Kind::Submitter && self.rng.u8(..5) == 0 {
            self.send(conn, frames.clone());
        }
        self.send(conn, frames);
    }

    /// A message reaches a peer.
    pub(super) fn heard(&mut self, peer: usize, conn: u64, frames: Vec<Bytes>) {
        if self.stands(peer, Happening::ToPeer(conn, frames.clone())) {
            return;
        }
        match self.peers[peer].kind {
            Kind::PlainWorker | Kind::OtherWorker => {
                let answer = [&frames[..2], &bytes(&["done"])].concat();
                self.work(peer, answer, None);
            }
            Kind::MajordomoWorker if frames[2] == "\x02" => {
                let start = bytes(&["", "MDPW01", "\x03"]);
                let answer = [&start[..], &frames[3..5], &bytes(&["done"])].concat();
                self.work(peer, answer, None);
            }
            Kind::MajordomoWorker if frames[2] == "\x05" => {
                self.peers[peer].introduced = None;
                self.acts(peer);
            }
            Kind::Taker => self.taken(peer, conn, frames),
            _ => {}
        }
    }

    /// What answers a taker: a task, or that there is none, or what became of its word.
    fn taken(&mut self, peer: usize, conn: u64, frames: Vec<Bytes>) {
        let reply = Reply::decode(frames).expect("the queue speaks ZN1");
        if reply.id != "take" {
            return;
        }
        if reply.status != 200 {
            return self.take(conn);
        }
        let token = json!({"token": reply.result["token"]});
        let mut fail = token.clone();
        fail["message"] = "no ".repeat(self.rng.usize(..400)).into();
        let fail = request("fail", fail, &[]);
        let done = request("done", token.clone(), &bytes(&["done"]));
        let answer = match self.is_storm() && self.rng.u8(..6) == 0 {
            true => fail,
            false => done,
        };
        let extend = self.rng.bool().then(|| request("extend", token, &[]));
        self.work(peer, answer, extend);
    }

    fn is_storm(&self) -> bool {
        self.now < STORM_US
    }

    /// A worker works for a while, at times for longer than it may, and answers, at times twice.
    fn work(&mut self, peer: usize, answer: Vec<Bytes>, extend: Option<Vec<Bytes>>) {
        let life = self.peers[peer].life;
        let is_plain = self.peers[peer].kind.is_plain_worker();
        let is_fast = is_plain && self.is_near;
        let mut takes = match self.rng.u8(..if is_fast { 200 } else { 20 }) {
            0 if self.is_storm() => self.rng.u64(300_000..700_000),
            _ if is_fast => self.rng.u64(5..60),
            _ => self.rng.u64(100..20_000),
        };
        if is_plain {
            let begins = self.peers[peer].busy_until.max(self.now);
            self.peers[peer].busy_until = begins + takes;
            takes += begins - self.now;
        }
        if let Some(extend) = extend {
            self.after(takes / 2, Happening::Says(peer, life, extend));
        }
        if !is_plain && self.rng.u8(..20) == 0 {
            let again = Happening::Says(peer, life, answer.clone());
            self.after(takes, again);
        }
        self.after(takes, Happening::Says(peer, life, answer));
        if self.peers[peer].kind == Kind::Taker {
            let taking = self.taking();
            self.after(takes + 1, Happening::Says(peer, life, taking));
        }
    }
}
