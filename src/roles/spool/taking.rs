//! `pop`: who has a message takes it, and all before it. The position is stored before it counts; one
//! change of it is under way at a time, and what is asked meanwhile is the next.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::model::limits::spool::{PENDING_MAX, TRIM_EVERY_BYTES};
use crate::model::store::{Ask, Entry, Fetched, Start, StoreFault, Stored};
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::machine::{Action, Caller};
use crate::roles::refused::{Refused, params};

use super::known::{Kept, Note};
use super::{Machine, Pending, Place};

/// The params of `pop`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    offset: u64,
}

/// A `pop` that was asked.
#[derive(Debug)]
struct Pop {
    caller: Caller,
    id: Bytes,
    /// The message, taken with all before it.
    offset: u64,
}

/// Those that were asked, and what is being done of them.
#[derive(Debug, Default)]
pub(super) struct Taking {
    asked: Vec<Pop>,
    /// Those that are done together, and where the position is then; nothing while that is looked for.
    flight: Option<(Vec<Pop>, Option<Place>)>,
}

impl Taking {
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.flight.is_none()
    }
}

impl Machine {
    pub(super) fn pop(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let asked: Params = params(request.params)?;
        if asked.offset >= self.end.offset {
            let words = format!("there is no message {} yet", asked.offset);
            let more = json!({"head": self.head.offset, "end": self.end.offset});
            return Err(Refused(zn1::NOT_FOUND, words, more));
        }
        if self.taking.asked.len() >= PENDING_MAX {
            return Err(Refused::of(&StoreFault::Busy));
        }
        self.taking.asked.push(Pop {
            caller: caller.clone(),
            id: request.id,
            offset: asked.offset,
        });
        self.take_off(actions);
        Ok(None)
    }

    /// Begins with what was asked, where nothing is under way.
    fn take_off(&mut self, actions: &mut Vec<Action>) {
        if self.taking.flight.is_some() || self.taking.asked.is_empty() {
            return;
        }
        let pops = std::mem::take(&mut self.taking.asked);
        let last = pops.iter().map(|pop| pop.offset).max();
        let last = last.expect("there is one at least");
        if last < self.head.offset {
            return self.land(pops, None, actions);
        }
        let to = match last + 1 == self.end.offset {
            true => Some(self.end),
            false => self.window.behind(last),
        };
        self.taking.flight = Some((pops, to));
        match to {
            Some(to) => self.move_to(to, actions),
            None => {
                let ticket = self.ticket(Pending::Size);
                actions.push(Action::Disk(Ask::Fetch {
                    ticket,
                    start: Start::Offset(last),
                    records_max: 1,
                    bytes_max: 0,
                }));
            }
        }
    }

    fn move_to(&mut self, to: Place, actions: &mut Vec<Action>) {
        let ticket = self.ticket(Pending::Position);
        let entry = Entry {
            note: Note::Position(to.offset, to.bytes).encode(),
            records: Vec::new(),
        };
        actions.push(Action::Disk(Ask::Store { ticket, entry }));
    }

    /// The last message that is taken was read: its size is known.
    pub(super) fn sized(&mut self, result: Result<Fetched, StoreFault>, actions: &mut Vec<Action>) {
        let found = result.map(|mut fetched| {
            let kept = (!fetched.records.is_empty()).then(|| Kept::from(fetched.records.remove(0)));
            kept.map(|kept| kept.behind(fetched.first_offset))
        });
        let flight = self.taking.flight.take();
        let (pops, _) = flight.expect("a size is asked for a flight");
        match found {
            Ok(Some(place)) => {
                self.taking.flight = Some((pops, Some(place)));
                self.move_to(place, actions);
            }
            Ok(None) => unreachable!("what is before the end can be read"),
            Err(StoreFault::Gone(start)) => {
                // It was too old meanwhile: so it is taken.
                self.begins_at(start, actions);
                self.land(pops, None, actions);
                self.take_off(actions);
            }
            Err(fault) => {
                self.taking.flight = Some((pops, None));
                self.took(Err(fault), actions);
            }
        }
    }

    /// What became of a change of the position.
    pub(super) fn took(&mut self, result: Result<Stored, StoreFault>, actions: &mut Vec<Action>) {
        let flight = self.taking.flight.take();
        let (pops, to) = flight.expect("a position is stored for a flight");
        match result {
            Ok(_) => self.land(pops, to, actions),
            Err(fault) => {
                for pop in pops {
                    self.answer(pop.caller, pop.id, Err(Refused::of(&fault)), actions);
                }
            }
        }
        self.take_off(actions);
    }

    /// The position is stored, or need not be: all are answered in their order.
    fn land(&mut self, pops: Vec<Pop>, to: Option<Place>, actions: &mut Vec<Action>) {
        let mut head = self.head.offset;
        // With `mode: latest` a newer message may be there since.
        if let Some(to) = to.filter(|to| to.offset > head) {
            self.head = to;
            self.is_new = self.is_new && self.length() > 0;
            self.window.forget(to.offset);
        }
        for pop in pops {
            let removed = (pop.offset + 1)
                .saturating_sub(head)
                .min(self.head.offset - head);
            head += removed;
            self.counters.popped += removed;
            let told = json!({"removed": removed, "length": self.end.offset - head});
            let reply = Reply::new(zn1::OK, pop.id, told);
            actions.push(pop.caller.reply(&reply));
        }
        self.trim_if_much(actions);
    }

    /// Has the disk trimmed where that may be worth it.
    pub(super) fn trim_if_much(&mut self, actions: &mut Vec<Action>) {
        if self.head.bytes.saturating_sub(self.trimmed_bytes) >= TRIM_EVERY_BYTES {
            self.trim(actions);
        }
    }
}
