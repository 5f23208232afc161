//! The health verb `tap` of a role: copies of what comes in by its public port and of what it answers.
//!
//! A role knows who talks to it by what they call themselves, ours by `NAME#PROCESS.NUMBER`, else by
//! the address. It does not know links: whoever asks says which one it looks at, and among whom.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::model::name::InstanceName;
use crate::protocol::envelope;
use crate::protocol::zn1::{self, Reply, Request};
use crate::run::looking::{LookError, Looking, Place};
use crate::wire::hub::{ConnId, Hub, Ring, Tap, places};

/// How often what was seen is dealt out while nobody asks, so that who no longer asks is forgotten.
const DEAL_EVERY: Duration = Duration::from_secs(1);

/// The place of all that a bus fans out.
const ALL: usize = usize::MAX;

/// Who looks, and at what.
pub(super) struct Tapping {
    name: InstanceName,
    ring: Arc<Ring>,
    looking: Looking,
    places: HashMap<usize, Place>,
    dealt: Instant,
}

impl Tapping {
    pub(super) fn new(name: &InstanceName) -> Self {
        Self {
            name: name.clone(),
            ring: Arc::default(),
            looking: Looking::default(),
            places: HashMap::new(),
            dealt: Instant::now(),
        }
    }

    /// A tap on what a bus fans out, whose publishers are not told apart.
    pub(super) fn all(&mut self) -> Tap {
        Tap::new(&self.ring, ALL)
    }

    /// Notes a message that came by the public port.
    pub(super) fn came(&mut self, hub: &Hub, conn: ConnId, frames: &[Bytes]) {
        if !self.looking.is_on() {
            return;
        }
        let [coming, going] = places(conn);
        if !self.places.contains_key(&coming) {
            let facts = hub.connection(conn);
            let from = facts.map_or_else(String::new, |facts| {
                let name = facts
                    .identity
                    .split('#')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let known = facts.who.or(Some(name).filter(|name| !name.is_empty()));
                known.unwrap_or(facts.peer_address)
            });
            let place = |is_forward: bool| Place {
                link: String::new(),
                from: from.clone(),
                to: self.name.to_string(),
                is_forward,
            };
            self.places.insert(coming, place(true));
            self.places.insert(going, place(false));
        }
        Tap::new(&self.ring, coming).see(frames);
        self.deal_in_time();
    }

    /// Notes an answer.
    pub(super) fn goes(&self, conn: ConnId, frames: &[Bytes]) {
        let [_, going] = places(conn);
        if self.looking.is_on() && self.places.contains_key(&going) {
            Tap::new(&self.ring, going).see(frames);
        }
    }

    /// A connection is gone: what was seen of it is dealt out, then its places are forgotten.
    pub(super) fn gone(&mut self, conn: ConnId) {
        let [coming, going] = places(conn);
        if self.places.contains_key(&coming) {
            self.deal();
            self.places.remove(&coming);
            self.places.remove(&going);
        }
    }

    /// Deals where somebody looks and it was not done for a while.
    fn deal_in_time(&mut self) {
        if self.looking.is_on() && self.dealt.elapsed() > DEAL_EVERY {
            self.deal();
        }
    }

    fn deal(&mut self) {
        self.dealt = Instant::now();
        let places = &self.places;
        let name = self.name.to_string();
        let place = |number: usize| match number {
            ALL => Some(Place {
                link: String::new(),
                from: String::new(),
                to: name.clone(),
                is_forward: true,
            }),
            number => places.get(&number).cloned(),
        };
        self.looking.turn(&self.ring, place);
        if !self.looking.is_on() {
            self.places = HashMap::new();
        }
    }

    /// Answers a request by the health socket if it is `tap`, with its envelope. Probes come every few
    /// seconds, so that who no longer asks is forgotten also where nothing else comes here: what a bus
    /// fans out does not.
    pub(super) fn serve(&mut self, frames: &[Bytes]) -> Option<Vec<Bytes>> {
        self.deal_in_time();
        let copied = frames.to_vec();
        let (mut answer, body) = envelope::split(copied);
        let request = Request::decode(body).ok()?;
        if request.verb != "tap" {
            return None;
        }
        self.deal();
        let id = request.id;
        let reply = match self.looking.answer(&self.ring, request.params) {
            Ok(result) => Reply::new(zn1::OK, id, result),
            Err(error @ LookError::Busy) => Reply::failure(zn1::BACK_PRESSURE, id, error),
            Err(error) => Reply::failure(zn1::BAD_REQUEST, id, error),
        };
        answer.extend(reply.encode());
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::limits::WireLimits;

    use super::*;

    fn asked(verb: &str, params: serde_json::Value) -> Vec<Bytes> {
        let request = Request::new(verb, "1", params);
        let mut frames = vec![Bytes::new()];
        frames.extend(request.encode());
        frames
    }

    fn tapping() -> Tapping {
        Tapping::new(&"bus".into())
    }

    fn looked(tapping: &mut Tapping) {
        let wish = serde_json::json!({ "looker": "me" });
        assert!(tapping.serve(&asked("tap", wish)).is_some());
    }

    /// Lets the clock of the lookers run.
    fn until(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < deadline, "in time");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_tap_whose_looker_is_gone_ends_with_the_next_probes_though_nothing_comes() {
        let mut tapping = tapping();
        let all = tapping.all();
        looked(&mut tapping);
        all.see(&[Bytes::from_static(b"seen")]);
        assert_eq!(tapping.ring.take().0.len(), 1, "somebody looks");
        let mut tapping = std::cell::RefCell::new(tapping);
        until(|| {
            let mut tapping = tapping.borrow_mut();
            assert!(
                tapping
                    .serve(&asked("ping", serde_json::Value::Null))
                    .is_none()
            );
            !tapping.looking.is_on()
        });
        all.see(&[Bytes::from_static(b"not seen")]);
        assert!(tapping.get_mut().ring.take().0.is_empty(), "nobody does");
    }

    #[test]
    fn a_tap_forgets_whose_connection_is_gone_and_shows_what_it_said() {
        let hub = Hub::new(WireLimits::default(), "");
        let mut tapping = tapping();
        looked(&mut tapping);
        for conn in (1..=100).map(ConnId) {
            tapping.came(&hub, conn, &[Bytes::from_static(b"hello")]);
            tapping.goes(conn, &[Bytes::from_static(b"you too")]);
            assert_eq!(tapping.places.len(), 2);
            tapping.gone(conn);
            assert!(tapping.places.is_empty());
        }
        tapping.gone(ConnId(1_000));
        let wish = serde_json::json!({ "looker": "me" });
        let answer = tapping.serve(&asked("tap", wish)).unwrap();
        let text = String::from_utf8(answer.concat()).unwrap();
        assert_eq!(text.matches("hello").count(), 100, "{text}");
    }
}
