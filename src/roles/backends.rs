//! Those who answer for a role that hands requests on, and what they were asked.
//!
//! A request goes to whoever has the fewest in hand, with a number before it that comes back with the
//! answer. On silence, or when the connection is lost, it goes out again, so many times in all. The
//! first answer counts, whichever try it is of; later ones are thrown away. Everything here is bounded
//! by the owner, who asks [`Backends::in_hand`] before it asks for more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::machine::{Action, Conn};

/// Frames below this are copied, so that a small request does not pin the chunk it was read in.
const COPIED_BELOW: usize = 2_048;

/// How long an answer is waited for, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// How long each try waits, in milliseconds.
    pub timeout_ms: u64,
    /// Tries in all.
    pub tries: u32,
}

/// A request, by a number that is never used again.
pub type Number = u64;

/// The backends of a role.
#[derive(Debug)]
pub struct Backends {
    patience: Patience,
    open: Vec<Backend>,
    asked: BTreeMap<Number, Asked>,
    /// When each try ends, in order since all take equally long; may name ones that are answered.
    ends: VecDeque<(Duration, Number)>,
    /// Those that nobody could be asked, first come first: each once, and only while it is asked.
    waiting: BTreeSet<Number>,
    last: Number,
    bytes: usize,
    retried: u64,
}

#[derive(Debug)]
struct Backend {
    conn: Conn,
    in_hand: usize,
    /// It does not read, so it is asked nothing more.
    is_full: bool,
}

#[derive(Debug)]
struct Asked {
    body: Vec<Bytes>,
    tries: u32,
    /// Who was asked, while it is connected.
    at: Option<Conn>,
    end: Duration,
}

impl Asked {
    fn bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

impl Backends {
    /// Nobody is connected yet.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            open: Vec::new(),
            asked: BTreeMap::new(),
            ends: VecDeque::new(),
            waiting: BTreeSet::new(),
            last: 0,
            bytes: 0,
            retried: 0,
        }
    }

    /// How long answers are waited for from now on.
    pub fn wait_for(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// Requests that are not answered yet, and their bytes.
    pub fn in_hand(&self) -> (usize, usize) {
        (self.asked.len(), self.bytes)
    }

    /// How many are connected.
    pub fn connected(&self) -> usize {
        self.open.len()
    }

    /// How many requests went out once more.
    pub fn retried(&self) -> u64 {
        self.retried
    }

    /// Hands a request on, as soon as there is somebody for it.
    pub fn ask(&mut self, now: Duration, body: Vec<Bytes>, actions: &mut Vec<Action>) -> Number {
        self.last += 1;
        let owned = |frame: Bytes| match frame.len() {
            0..COPIED_BELOW => Bytes::copy_from_slice(&frame),
            _ => frame,
        };
        let asked = Asked {
            body: body.into_iter().map(owned).collect(),
            tries: 0,
            at: None,
            end: now,
        };
        self.bytes += asked.bytes();
        self.asked.insert(self.last, asked);
        self.attempt(now, self.last, actions);
        self.last
    }

    /// Begins the next try of a request; false where it has had all of them.
    fn attempt(&mut self, now: Duration, number: Number, actions: &mut Vec<Action>) -> bool {
        let end = now + Duration::from_millis(self.patience.timeout_ms);
        let Some(asked) = self.asked.get_mut(&number) else {
            return true;
        };
        if asked.tries >= self.patience.tries {
            return false;
        }
        self.retried += u64::from(asked.tries > 0);
        asked.tries += 1;
        (asked.at, asked.end) = (None, end);
        self.ends.push_back((end, number));
        if !self.send(number, actions) {
            self.waiting.insert(number);
        }
        true
    }

    /// Sends a request to whoever has the fewest in hand; false where there is nobody.
    fn send(&mut self, number: Number, actions: &mut Vec<Action>) -> bool {
        let ready = self.open.iter_mut().filter(|backend| !backend.is_full);
        let (Some(asked), Some(backend)) = (
            self.asked.get_mut(&number),
            ready.min_by_key(|backend| backend.in_hand),
        ) else {
            return false;
        };
        backend.in_hand += 1;
        asked.at = Some(backend.conn);
        self.waiting.remove(&number);
        let head = [Bytes::copy_from_slice(&number.to_be_bytes()), Bytes::new()];
        actions.push(Action::Send {
            conn: backend.conn,
            frames: head.into_iter().chain(asked.body.iter().cloned()).collect(),
        });
        true
    }

    fn send_waiting(&mut self, actions: &mut Vec<Action>) {
        while let Some(number) = self.waiting.first().copied() {
            if !self.send(number, actions) {
                return;
            }
        }
    }

    /// Somebody who answers is connected.
    pub fn opened(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        self.open.push(Backend {
            conn,
            in_hand: 0,
            is_full: false,
        });
        self.send_waiting(actions);
    }

    /// Somebody who answers is gone: what it was asked goes out again. Returns what is given up.
    pub fn closed(&mut self, now: Duration, conn: Conn, actions: &mut Vec<Action>) -> Vec<Number> {
        self.open.retain(|backend| backend.conn != conn);
        let asked = self.asked.iter();
        let lost = asked.filter(|(_, asked)| asked.at == Some(conn));
        let lost: Vec<Number> = lost.map(|(number, _)| *number).collect();
        self.again(now, lost, actions)
    }

    fn again(
        &mut self,
        now: Duration,
        numbers: Vec<Number>,
        actions: &mut Vec<Action>,
    ) -> Vec<Number> {
        let mut given_up = Vec::new();
        for number in numbers {
            let was_at = self.asked.get(&number).and_then(|asked| asked.at);
            self.free(was_at);
            if !self.attempt(now, number, actions) {
                self.forget(number);
                given_up.push(number);
            }
        }
        given_up
    }

    fn free(&mut self, conn: Option<Conn>) {
        let mut open = self.open.iter_mut();
        if let Some(backend) = open.find(|backend| Some(backend.conn) == conn) {
            backend.in_hand = backend.in_hand.saturating_sub(1);
        }
    }

    /// Forgets a request that nobody waits for any more.
    fn forget(&mut self, number: Number) -> Option<Asked> {
        let asked = self.asked.remove(&number)?;
        self.waiting.remove(&number);
        self.bytes -= asked.bytes();
        Some(asked)
    }

    /// Somebody does not read: its request is tried again when its time is over.
    pub fn is_full(&mut self, conn: Conn) {
        self.mark(conn, true);
    }

    /// Somebody reads again.
    pub fn is_writable(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        self.mark(conn, false);
        self.send_waiting(actions);
    }

    fn mark(&mut self, conn: Conn, is_full: bool) {
        let mut open = self.open.iter_mut();
        if let Some(backend) = open.find(|backend| backend.conn == conn) {
            backend.is_full = is_full;
        }
    }

    /// Reads an answer: of which request it is, and what it says; nothing where nobody waits for it.
    pub fn answered(&mut self, mut frames: Vec<Bytes>) -> Option<(Number, Vec<Bytes>)> {
        let head = frames.first()?.as_ref().try_into().ok()?;
        let number = Number::from_be_bytes(head);
        if frames.len() < 3 || !frames[1].is_empty() {
            return None;
        }
        let asked = self.forget(number)?;
        self.free(asked.at);
        Some((number, frames.split_off(2)))
    }

    /// When something has to be done, if anything has.
    pub fn deadline(&self) -> Option<Duration> {
        self.ends.front().map(|(end, _)| *end)
    }

    /// Tries again what was silent for too long. Returns what is given up.
    pub fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) -> Vec<Number> {
        let mut silent = Vec::new();
        while let Some((end, number)) = self.ends.front().copied() {
            let asked = self.asked.get(&number);
            let is_current = asked.is_some_and(|asked| asked.end == end);
            if is_current && end > now {
                break;
            }
            self.ends.pop_front();
            if is_current {
                silent.push(number);
            }
        }
        self.again(now, silent, actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        Patience {
            timeout_ms: 100,
            tries: 3,
        }
    }

    fn ask(backends: &mut Backends, now: Duration, actions: &mut Vec<Action>) -> Number {
        backends.ask(now, vec![Bytes::from_static(b"q")], actions)
    }

    #[test]
    fn while_nobody_is_there_each_request_waits_once_and_leaves_nothing_when_it_is_given_up() {
        let mut backends = Backends::new(patience());
        let mut actions = Vec::new();
        for round in 0..50 {
            let now = Duration::from_secs(round);
            let number = ask(&mut backends, now, &mut actions);
            let mut given_up = Vec::new();
            while let Some(due) = backends.deadline() {
                assert!(backends.waiting.len() <= 1, "{:?}", backends.waiting);
                given_up.extend(backends.tick(due, &mut actions));
            }
            assert_eq!(given_up, [number]);
            assert!(backends.waiting.is_empty());
        }
        assert_eq!((actions.len(), backends.in_hand()), (0, (0, 0)));
    }

    #[test]
    fn those_that_wait_go_out_once_each_in_the_order_in_which_they_were_asked() {
        let mut backends = Backends::new(patience());
        let mut actions = Vec::new();
        let asked: Vec<Number> = (0..3)
            .map(|ms| ask(&mut backends, Duration::from_millis(ms), &mut actions))
            .collect();
        // The first is tried again meanwhile, and keeps its place.
        assert_eq!(
            backends.tick(Duration::from_millis(100), &mut actions),
            Vec::<Number>::new()
        );
        backends.opened(Conn(1), &mut actions);
        let sent: Vec<Number> = actions
            .iter()
            .map(|action| match action {
                Action::Send { frames, .. } => {
                    Number::from_be_bytes(frames[0].as_ref().try_into().unwrap())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sent, asked);
        assert!(backends.waiting.is_empty());
    }
}
