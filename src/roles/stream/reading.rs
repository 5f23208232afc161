//! `read`: records from an offset, from a time, the last ones, or from where a group is; at once, or
//! when there are some.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::model::limits::stream::{
    READ_BYTES, READ_BYTES_MAX, READ_RECORDS, READ_RECORDS_MAX, WAIT_MS_MAX, WAITING_MAX,
};
use crate::model::store::{Ask, Fetched, Start, StoreFault};
use crate::protocol::zn1::{self, Reply, Request};
use crate::roles::machine::{Action, Caller, Conn};
use crate::roles::refused::{Refused, params};

use super::{Machine, Pending};

/// The params of `read`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(default)]
    from: Option<u64>,
    #[serde(default)]
    time_ns: Option<u64>,
    #[serde(default)]
    last: Option<u64>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    generation: Option<u64>,
    #[serde(default)]
    count: Option<usize>,
    #[serde(default)]
    bytes: Option<usize>,
    #[serde(default)]
    wait_ms: u64,
}

/// A read that is under way.
#[derive(Debug, Clone)]
pub(super) struct Fetching {
    caller: Caller,
    id: Bytes,
    start: Start,
    count: usize,
    bytes: usize,
    /// Whether it goes on with the oldest record where its place is gone: it named none.
    follows: bool,
    /// Until when it waits for something.
    until: Duration,
    /// The group that it reads for, and the number of the ownership.
    owned: Option<(String, u64)>,
}

impl Fetching {
    /// Whether another connection asked it.
    pub(super) fn is_by_other_than(&self, conn: Conn) -> bool {
        self.caller.conn != conn
    }
}

impl Machine {
    fn start_of(&mut self, asked: &Params) -> Result<Start, Refused> {
        let bad = |words: &str| Err(Refused::new(zn1::BAD_REQUEST, words));
        let given = [asked.from, asked.time_ns, asked.last];
        if given.iter().flatten().count() > 1 {
            return bad("one of `from`, `time_ns` and `last`");
        }
        let position = match (&asked.group, asked.generation) {
            (Some(group), Some(generation)) => Some(self.position(group, generation)?),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return bad("`group` and `generation` go together");
            }
        };
        let start = match (asked.time_ns, asked.last) {
            (Some(time), _) => return Ok(Start::Time(time)),
            (None, Some(last)) => self.end.saturating_sub(last).max(self.start),
            (None, None) => asked.from.or(position).unwrap_or(self.start),
        };
        if start > self.end {
            let words = format!("{start} is past the end, which is {}", self.end);
            let more = json!({"start": self.start, "end": self.end});
            return Err(Refused(zn1::NOT_FOUND, words, more));
        }
        Ok(Start::Offset(start))
    }

    pub(super) fn read(
        &mut self,
        caller: &Caller,
        request: Request,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Reply>, Refused> {
        let asked: Params = params(request.params)?;
        let start = self.start_of(&asked)?;
        let wait = Duration::from_millis(asked.wait_ms.min(WAIT_MS_MAX));
        let fetching = Fetching {
            caller: caller.clone(),
            id: request.id,
            start,
            count: asked.count.unwrap_or(READ_RECORDS).min(READ_RECORDS_MAX),
            bytes: asked.bytes.unwrap_or(READ_BYTES).min(READ_BYTES_MAX),
            follows: asked.from.is_none() && asked.last.is_none(),
            until: self.now + wait,
            owned: asked.group.zip(asked.generation),
        };
        match start {
            Start::Offset(from) if from == self.end => self.nothing(fetching),
            Start::Offset(_) | Start::Time(_) => {
                self.fetch(fetching, actions);
                Ok(None)
            }
        }
    }

    /// There is nothing to read now: it waits, or hears that.
    fn nothing(&mut self, mut fetching: Fetching) -> Result<Option<Reply>, Refused> {
        if fetching.until <= self.now || self.is_draining || fetching.count == 0 {
            let (start, end) = (self.start, self.end);
            return Ok(Some(reply(fetching.id, (end, start, end), Vec::new())));
        }
        if self.waiting.len() >= WAITING_MAX {
            let words = "too many reads wait for records";
            return Err(Refused::new(zn1::BACK_PRESSURE, words));
        }
        // What comes is at the end, and not older than what was asked for.
        fetching.start = Start::Offset(self.end);
        self.waiting.add(fetching.until, fetching);
        Ok(None)
    }

    fn fetch(&mut self, fetching: Fetching, actions: &mut Vec<Action>) {
        let Fetching {
            start,
            count: records_max,
            bytes: bytes_max,
            ..
        } = fetching;
        let ticket = self.ticket(Pending::Fetch(fetching));
        actions.push(Action::Disk(Ask::Fetch {
            ticket,
            start,
            records_max,
            bytes_max,
        }));
    }

    /// There are records: nobody waits any longer.
    pub(super) fn wake(&mut self, actions: &mut Vec<Action>) {
        for fetching in self.waiting.take() {
            self.fetch(fetching, actions);
        }
        self.replay_all(actions);
    }

    /// Whoever waits for a group that another has since is told so, and waits no longer.
    pub(super) fn send_fenced_away(&mut self, group: &str, actions: &mut Vec<Action>) {
        let is_fenced = |it: &Fetching| match &it.owned {
            Some((name, generation)) => {
                name == group && self.groups.position(name, *generation).is_err()
            }
            None => false,
        };
        for fetching in self.waiting.those(is_fenced) {
            let owned = self.still_owned(&fetching).map(|()| None);
            self.answer(fetching.caller, fetching.id, owned, actions);
        }
    }

    /// Whether a read is of nobody's group, or of its owner's yet.
    fn still_owned(&mut self, fetching: &Fetching) -> Result<(), Refused> {
        match &fetching.owned {
            Some((group, generation)) => self.position(group, *generation).map(drop),
            None => Ok(()),
        }
    }

    /// Answers those whose time is over, or all of them.
    pub(super) fn send_away(&mut self, until: Option<Duration>, actions: &mut Vec<Action>) {
        while let Some(fetching) = self.waiting.pop(until) {
            let reply = reply(fetching.id, (self.end, self.start, self.end), Vec::new());
            actions.push(fetching.caller.reply(&reply));
        }
    }

    /// What came of a read.
    pub(super) fn fetched(
        &mut self,
        fetching: Fetching,
        result: Result<Fetched, StoreFault>,
        actions: &mut Vec<Action>,
    ) {
        let (caller, id) = (fetching.caller.clone(), fetching.id.clone());
        if let Err(refused) = self.still_owned(&fetching) {
            return self.answer(caller, id, Err(refused), actions);
        }
        let answered = match result {
            Ok(mut fetched) => {
                self.start = self.start.max(fetched.start);
                // The disk may be ahead of what was told of it: whoever goes on must not be past the end.
                let told = self.end.saturating_sub(fetched.first_offset);
                let told = usize::try_from(told).unwrap_or(usize::MAX);
                fetched.records.truncate(told);
                fetched.end = fetched.end.min(self.end);
                match fetched.records.is_empty() && fetching.count > 0 {
                    // By a time that is still to come.
                    true => self.nothing(fetching),
                    false => {
                        self.counters.read += fetched.records.len() as u64;
                        let range = (fetched.first_offset, self.start, fetched.end);
                        let body = fetched.records.into_iter();
                        Ok(Some(reply(
                            id.clone(),
                            range,
                            body.map(|it| (it.time_ns, it.data)).collect(),
                        )))
                    }
                }
            }
            Err(StoreFault::Gone(start)) => {
                self.start = self.start.max(start);
                if fetching.follows
                    && matches!(fetching.start, Start::Offset(at) if at < self.start)
                {
                    let start = Start::Offset(self.start);
                    return self.fetch(Fetching { start, ..fetching }, actions);
                }
                Err(Refused::of(&StoreFault::Gone(start)))
            }
            Err(fault) => Err(Refused::of(&fault)),
        };
        self.answer(caller, id, answered, actions);
    }
}

/// The answer to a read: where its first record is, from where to where there are any.
fn reply(id: Bytes, (first, start, end): (u64, u64, u64), records: Vec<(u64, Bytes)>) -> Reply {
    let (times, body): (Vec<u64>, Vec<Bytes>) = records.into_iter().unzip();
    let next = first + body.len() as u64;
    let told = json!({
        "offset": first,
        "next": next,
        "start": start,
        "end": end,
        "times_ns": times,
    });
    let mut reply = Reply::new(zn1::OK, id, told);
    reply.body = body;
    reply
}
