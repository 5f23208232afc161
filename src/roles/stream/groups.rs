//! Consumer groups: where a group of readers goes on, and who of them may say so.
//!
//! Whoever takes a group is its owner until another takes it; ownerships are numbered, and what an
//! earlier owner says is refused. Positions and ownerships are stored before they are acknowledged.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::limits::stream::{GROUP_BYTES_MAX, GROUPS_MAX};
use crate::model::store::{Ask, Entry, StoreFault, Stored};
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::machine::{Action, Caller};
use crate::roles::refused::{Refused, params};

use super::known::Note;
use super::{Machine, Pending};

/// A group.
#[derive(Debug, Clone, Default)]
struct Group {
    /// Where it goes on.
    offset: u64,
    /// The number of its ownership.
    generation: u64,
    /// Who owns it.
    consumer: String,
    /// The highest number that was given out, stored or not.
    given: u64,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: BTreeMap<String, Group>,
    /// The highest number of an ownership that was ever given, of groups that are forgotten too: no
    /// number is given again, so that nobody who had one is taken for an owner.
    highest: u64,
}

/// What is kept of a group.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptGroup {
    name: String,
    offset: u64,
    generation: u64,
    consumer: String,
}

/// A change that is being stored.
#[derive(Debug)]
pub(super) struct Changing {
    caller: Caller,
    id: Bytes,
    note: Note,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeParams {
    group: String,
    #[serde(default)]
    consumer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitParams {
    group: String,
    generation: u64,
    offset: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgetParams {
    group: String,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn facts(&self, end: u64) -> Vec<Value> {
        let owned = self.all.iter().filter(|(_, group)| group.generation > 0);
        owned
            .map(|(name, group)| {
                json!({
                    "group": name,
                    "offset": group.offset,
                    "lag": end.saturating_sub(group.offset),
                    "consumer": group.consumer,
                    "generation": group.generation,
                })
            })
            .collect()
    }

    /// Where a group goes on, for its owner.
    pub(super) fn position(&self, name: &str, generation: u64) -> Result<u64, Fenced> {
        let group = self.all.get(name).filter(|group| group.generation > 0);
        let group = group.ok_or(Fenced::Nobody)?;
        match group.given == generation {
            true => Ok(group.offset),
            false => Err(Fenced::By(group.consumer.clone())),
        }
    }

    /// Does what was stored.
    pub(super) fn apply(&mut self, note: &Note) {
        match note {
            Note::Take {
                group,
                consumer,
                generation,
            } => {
                self.highest = self.highest.max(*generation);
                let group = self.all.entry(group.clone()).or_default();
                group.generation = *generation;
                group.given = group.given.max(*generation);
                group.consumer.clone_from(consumer);
            }
            Note::Commit { group, offset } => {
                // Of two that were under way together, the later is not undone by the earlier.
                if let Some(group) = self.all.get_mut(group) {
                    group.offset = group.offset.max(*offset);
                }
            }
            Note::Forget { group } => {
                self.all.remove(group);
            }
            Note::Producer(..) => unreachable!("it is no group's"),
        }
    }

    /// A take was not stored: whoever owned the group still does, unless another take is under way.
    fn untake(&mut self, name: &str, generation: u64) {
        let Some(group) = self.all.get_mut(name).filter(|it| it.given == generation) else {
            return;
        };
        group.given = group.generation;
        if group.generation == 0 {
            self.all.remove(name);
        }
    }

    pub(super) fn kept(&self) -> Vec<KeptGroup> {
        let owned = self.all.iter().filter(|(_, group)| group.generation > 0);
        owned
            .map(|(name, group)| KeptGroup {
                name: name.clone(),
                offset: group.offset,
                generation: group.generation,
                consumer: group.consumer.clone(),
            })
            .collect()
    }

    /// A number for another ownership.
    pub(super) fn next_generation(&mut self) -> u64 {
        self.highest += 1;
        self.highest
    }

    /// Where a group is.
    pub(super) fn place(&self, name: &str) -> Option<u64> {
        self.all.get(name).map(|group| group.offset)
    }

    /// The highest number of an ownership that was ever given.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    pub(super) fn restore(&mut self, kept: Vec<KeptGroup>, highest: u64) {
        self.highest = highest;
        self.all = kept
            .into_iter()
            .map(|it| {
                let group = Group {
                    offset: it.offset,
                    generation: it.generation,
                    consumer: it.consumer,
                    given: it.generation,
                };
                (it.name, group)
            })
            .collect();
    }
}

/// Why somebody may not speak for a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fenced {
    /// Nobody took it.
    Nobody,
    /// Another did since.
    By(String),
}

impl Machine {
    fn fenced(&mut self, fenced: Fenced) -> Refused {
        match fenced {
            Fenced::Nobody => Refused::new(zn1::NOT_FOUND, "nobody has taken this group"),
            Fenced::By(consumer) => {
                self.counters.fenced += 1;
                let words = format!("the group was taken since, by `{consumer}`");
                Refused::new(zn1::CONFLICT, words)
            }
        }
    }

    /// Where a group's owner goes on.
    pub(super) fn position(&mut self, group: &str, generation: u64) -> Result<u64, Refused> {
        let position = self.groups.position(group, generation);
        position.map_err(|fenced| self.fenced(fenced))
    }

    fn may_change(&self) -> Result<(), Refused> {
        if self.is_draining {
            return Err(Refused::new(zn1::UNAVAILABLE, "the stream is ending"));
        }
        match self.is_busy() {
            true => Err(Refused::of(&StoreFault::Busy)),
            false => Ok(()),
        }
    }

    fn change(
        &mut self,
        caller: &Caller,
        id: Bytes,
        note: Note,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        self.may_change()?;
        let entry = Entry {
            note: note.encode(),
            records: Vec::new(),
        };
        let ticket = self.ticket(Pending::Change(Changing {
            caller: caller.clone(),
            id,
            note,
        }));
        actions.push(Action::Disk(Ask::Store { ticket, entry }));
        Ok(None)
    }

    pub(super) fn take(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let TakeParams { group, consumer } = params(request.params)?;
        let is_name = |it: &str| it.len() <= GROUP_BYTES_MAX;
        if group.is_empty() || !is_name(&group) || !is_name(&consumer) {
            let words = "`group` is 1 to 64 bytes long, `consumer` at most 64";
            return Err(Refused::new(zn1::BAD_REQUEST, words));
        }
        if self.groups.len() >= GROUPS_MAX && !self.groups.all.contains_key(&group) {
            let words = "there are too many groups";
            return Err(Refused::new(zn1::BACK_PRESSURE, words));
        }
        self.may_change()?;
        let start = self.start;
        let given = self.groups.next_generation();
        let known = self.groups.all.entry(group.clone());
        let known = known.or_insert_with(|| Group {
            offset: start,
            ..Group::default()
        });
        // Whoever had it is fenced while this is under way, too.
        known.given = given;
        let note = Note::Take {
            group,
            consumer,
            generation: known.given,
        };
        self.change(caller, request.id, note, actions)
    }

    pub(super) fn commit(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let asked: CommitParams = params(request.params)?;
        let position = self.position(&asked.group, asked.generation)?;
        if asked.offset > self.end || asked.offset < position {
            let words = format!(
                "`offset` is {position} to {}: where the group is, to the end",
                self.end
            );
            return Err(Refused::new(zn1::CONFLICT, words));
        }
        let note = Note::Commit {
            group: asked.group,
            offset: asked.offset,
        };
        self.change(caller, request.id, note, actions)
    }

    pub(super) fn forget(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let ForgetParams { group } = params(request.params)?;
        if !self.groups.all.contains_key(&group) {
            return Err(Refused::new(zn1::NOT_FOUND, "there is no such group"));
        }
        self.change(caller, request.id, Note::Forget { group }, actions)
    }

    /// What became of a change.
    pub(super) fn changed(
        &mut self,
        change: Changing,
        result: Result<Stored, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        let Changing { caller, id, note } = change;
        if let Err(fault) = result {
            if let Note::Take {
                group, generation, ..
            } = &note
            {
                self.groups.untake(group, *generation);
            }
            return self.answer(caller, id, Err(Refused::of(&fault)), actions);
        }
        self.groups.apply(&note);
        if let Note::Take { group, .. } | Note::Forget { group } = &note {
            self.send_fenced_away(group, actions);
        }
        let told = match note {
            Note::Take {
                group, generation, ..
            } => {
                let offset = self.groups.all.get(&group).map(|it| it.offset);
                json!({"generation": generation, "offset": offset})
            }
            Note::Commit { offset, .. } => json!({ "offset": offset }),
            Note::Forget { .. } | Note::Producer(..) => json!({}),
        };
        actions.push(caller.reply(&Reply::new(zn1::OK, id, told)));
    }
}
