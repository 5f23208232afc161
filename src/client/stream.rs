//! Talking to a stream: appending, reading from an offset or a time, consumer groups.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use zmqnet::client::stream::{From, StreamClient, StreamError};
//! # use zmqnet::wire::keyed::Keys;
//! # async fn example() -> Result<(), StreamError> {
//! let wait = Duration::from_secs(5);
//! let at = "tcp://127.0.0.1:5555".parse().expect("an endpoint");
//! let mut stream = StreamClient::new(at, Keys::Open);
//! let offset = stream.append(vec!["started".into()], wait).await?;
//! let page = stream.read(From::Offset(offset), 10, Duration::ZERO, wait).await?;
//! assert_eq!(page.events[0].data, "started");
//! # Ok(())
//! # }
//! ```
//!
//! What is appended again, since an answer was lost, has the same producer and number: it is in the
//! stream once.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::model::endpoint::Endpoint;
use crate::protocol::zn1::Reply;
use crate::wire::keyed::Keys;

use super::asking::{AskError, Asker};

/// Why a stream could not be talked to.
pub type StreamError = AskError;

/// An event that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEvent {
    /// Where it is.
    pub offset: u64,
    /// When it was appended, in nanoseconds since 1970.
    pub time_ns: u64,
    /// What it is.
    pub data: Bytes,
}

/// Events that were read, and what the stream has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events, in their order and without a gap.
    pub events: Vec<StreamEvent>,
    /// Where to go on.
    pub next: u64,
    /// The oldest offset there is.
    pub start: u64,
    /// The offset after the newest.
    pub end: u64,
}

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// At the oldest event there is.
    Oldest,
    /// At an offset.
    Offset(u64),
    /// At the first event that is not older, in nanoseconds since 1970.
    Time(u64),
    /// So many before the end.
    Last(u64),
    /// Where a group is, for its owner.
    Group(Ownership),
}

/// A group that is owned, until another takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The group.
    pub group: String,
    /// The number of the ownership.
    pub generation: u64,
    /// Where the group was when it was taken.
    pub offset: u64,
}

/// A connection to a stream's port `main`.
pub struct StreamClient {
    asker: Asker,
    /// How it is known to the stream, and what it has numbered.
    producer: String,
    sequence: u64,
}

impl StreamClient {
    /// A client that has not dialled yet.
    pub fn new(endpoint: Endpoint, keys: Keys) -> Self {
        let producer = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        Self {
            asker: Asker::new(endpoint, keys),
            producer,
            sequence: 0,
        }
    }

    /// One request, whose answer is waited for that long. While nobody is there it is asked again.
    pub async fn ask(
        &mut self,
        verb: &str,
        params: Value,
        body: Vec<Bytes>,
        wait: Duration,
    ) -> Result<Reply, StreamError> {
        self.asker.ask(verb, params, body, wait).await
    }

    /// What the stream knows of itself, as `status` shows it.
    pub async fn status(&mut self, wait: Duration) -> Result<Value, StreamError> {
        let reply = self.ask("status", Value::Null, Vec::new(), wait).await?;
        Ok(reply.result)
    }

    /// Appends events together. Gives the offset of the first.
    pub async fn append(&mut self, events: Vec<Bytes>, wait: Duration) -> Result<u64, StreamError> {
        self.append_at(events, None, wait).await
    }

    /// The same, for events of other times than now, in nanoseconds since 1970.
    pub async fn append_at(
        &mut self,
        events: Vec<Bytes>,
        times_ns: Option<Vec<u64>>,
        wait: Duration,
    ) -> Result<u64, StreamError> {
        self.sequence += 1;
        let mut params = json!({"producer": self.producer, "sequence": self.sequence});
        if let Some(times_ns) = times_ns {
            params["times_ns"] = times_ns.into();
        }
        let reply = self.ask("append", params, events, wait).await?;
        Ok(number(&reply, "offset"))
    }

    /// Has a stream that never had an event begin at an offset.
    pub async fn begin(&mut self, offset: u64, wait: Duration) -> Result<(), StreamError> {
        let params = json!({ "offset": offset });
        self.ask("begin", params, Vec::new(), wait).await.map(drop)
    }

    /// Reads events, at most so many. Where there is none, it waits for some that long.
    pub async fn read(
        &mut self,
        from: From,
        count: usize,
        patience: Duration,
        wait: Duration,
    ) -> Result<Page, StreamError> {
        let mut params = match from {
            From::Oldest => json!({}),
            From::Offset(offset) => json!({ "from": offset }),
            From::Time(time_ns) => json!({ "time_ns": time_ns }),
            From::Last(count) => json!({ "last": count }),
            From::Group(Ownership {
                group, generation, ..
            }) => json!({"group": group, "generation": generation}),
        };
        params["count"] = count.into();
        params["wait_ms"] = u64::try_from(patience.as_millis())
            .unwrap_or(u64::MAX)
            .into();
        // The stream answers in that time; more is for the way.
        let reply = self
            .ask("read", params, Vec::new(), patience + wait)
            .await?;
        let first = number(&reply, "offset");
        let times = reply.result["times_ns"].as_array().cloned();
        let times = times.unwrap_or_default().into_iter();
        let times = times.map(|it| it.as_u64().unwrap_or_default());
        let events = (first..).zip(times).zip(reply.body.iter().cloned());
        Ok(Page {
            events: events
                .map(|((offset, time_ns), data)| StreamEvent {
                    offset,
                    time_ns,
                    data,
                })
                .collect(),
            next: number(&reply, "next"),
            start: number(&reply, "start"),
            end: number(&reply, "end"),
        })
    }

    /// Takes a group: whoever had it can read and commit for it no longer.
    pub async fn take(
        &mut self,
        group: &str,
        consumer: &str,
        wait: Duration,
    ) -> Result<Ownership, StreamError> {
        let params = json!({"group": group, "consumer": consumer});
        let reply = self.ask("take", params, Vec::new(), wait).await?;
        Ok(Ownership {
            group: group.to_owned(),
            generation: number(&reply, "generation"),
            offset: number(&reply, "offset"),
        })
    }

    /// Stores where a group goes on.
    pub async fn commit(
        &mut self,
        owned: &Ownership,
        offset: u64,
        wait: Duration,
    ) -> Result<(), StreamError> {
        let params = json!({
            "group": owned.group,
            "generation": owned.generation,
            "offset": offset,
        });
        self.ask("commit", params, Vec::new(), wait).await.map(drop)
    }
}

fn number(reply: &Reply, key: &str) -> u64 {
    reply.result[key].as_u64().unwrap_or_default()
}
