//! Talking to a spool: what waits is read as often as one likes, and taken once it was used.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use zmqnet::client::spool::{SpoolClient, SpoolError};
//! # use zmqnet::wire::keyed::Keys;
//! # async fn example() -> Result<(), SpoolError> {
//! let wait = Duration::from_secs(5);
//! let at = "tcp://127.0.0.1:5555".parse().expect("an endpoint");
//! let mut spool = SpoolClient::new(at, Keys::Open);
//! while let Some(message) = spool.front(Duration::ZERO, wait).await? {
//!     assert!(!message.frames.is_empty());
//!     spool.pop(message.offset, wait).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything may be asked again: what is popped by its offset is gone once, and what is put has an id.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::model::endpoint::Endpoint;
use crate::protocol::zn1::{self, Reply};
use crate::wire::keyed::Keys;

use super::asking::{AskError, Asker};

/// Why a spool could not be talked to.
pub type SpoolError = AskError;

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolMessage {
    /// Where it is.
    pub offset: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub time_ns: u64,
    /// What it is, its topic first.
    pub frames: Vec<Bytes>,
    /// Where only the newest is kept: whether nobody was given it before.
    pub is_new: Option<bool>,
}

/// Messages that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolPage {
    /// The messages, in their order.
    pub messages: Vec<SpoolMessage>,
    /// Where to go on.
    pub next: u64,
}

/// How much waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolLength {
    /// Messages.
    pub length: u64,
    /// Their bytes, as they are kept.
    pub bytes: u64,
    /// The offset of the oldest.
    pub head: u64,
    /// The offset after the newest.
    pub end: u64,
}

/// Where to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek {
    /// At the oldest message that waits.
    Oldest,
    /// At an offset.
    Offset(u64),
    /// So many before the end.
    Last(u64),
}

/// A connection to a spool's port `main`.
pub struct SpoolClient {
    asker: Asker,
}

impl SpoolClient {
    /// A client that has not dialled yet.
    pub fn new(endpoint: Endpoint, keys: Keys) -> Self {
        Self {
            asker: Asker::new(endpoint, keys),
        }
    }

    /// The oldest message; nothing where none comes in time.
    pub async fn front(
        &mut self,
        patience: Duration,
        wait: Duration,
    ) -> Result<Option<SpoolMessage>, SpoolError> {
        let params = json!({ "wait_ms": millis(patience) });
        let asked = self.asker.ask("front", params, Vec::new(), patience + wait);
        match asked.await {
            Ok(reply) => Ok(page(reply)?.messages.into_iter().next()),
            Err(AskError::Refused(zn1::NOT_FOUND, ..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Messages that wait, from somewhere on, at most so many. Where there is none, it waits for some
    /// that long.
    pub async fn peek(
        &mut self,
        from: Peek,
        count: usize,
        patience: Duration,
        wait: Duration,
    ) -> Result<SpoolPage, SpoolError> {
        let mut params = json!({"count": count, "wait_ms": millis(patience)});
        match from {
            Peek::Oldest => {}
            Peek::Offset(offset) => params["from"] = offset.into(),
            Peek::Last(last) => params["last"] = last.into(),
        }
        let asked = self.asker.ask("peek", params, Vec::new(), patience + wait);
        page(asked.await?)
    }

    /// Takes a message, and all before it. Gives how many that were.
    pub async fn pop(&mut self, offset: u64, wait: Duration) -> Result<u64, SpoolError> {
        let params = json!({ "offset": offset });
        let reply = self.asker.ask("pop", params, Vec::new(), wait).await?;
        Ok(number(&reply.result, "removed"))
    }

    /// How much waits.
    pub async fn length(&mut self, wait: Duration) -> Result<SpoolLength, SpoolError> {
        let reply = self.asker.ask("len", json!({}), Vec::new(), wait).await?;
        let of = |key| number(&reply.result, key);
        Ok(SpoolLength {
            length: of("length"),
            bytes: of("bytes"),
            head: of("head"),
            end: of("end"),
        })
    }

    /// Stores messages as if they had been heard, past all filters. Gives the offset of the first.
    pub async fn put(
        &mut self,
        messages: Vec<Vec<Bytes>>,
        wait: Duration,
    ) -> Result<u64, SpoolError> {
        let once = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let parts: Vec<usize> = messages.iter().map(Vec::len).collect();
        let params = json!({"parts": parts, "once": once});
        let body = messages.into_iter().flatten().collect();
        let reply = self.asker.ask("put", params, body, wait).await?;
        Ok(number(&reply.result, "offset"))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn number(told: &Value, key: &str) -> u64 {
    told[key].as_u64().unwrap_or_default()
}

fn numbers(told: &Value) -> Vec<u64> {
    let told = told.as_array().into_iter().flatten();
    told.map(|it| it.as_u64().unwrap_or_default()).collect()
}

fn page(reply: Reply) -> Result<SpoolPage, SpoolError> {
    let told = &reply.result;
    let (parts, times) = (numbers(&told["parts"]), numbers(&told["times_ns"]));
    let mut body = reply.body.into_iter();
    let is_new = told["new"].as_bool();
    let places = (number(told, "offset")..).zip(times);
    let messages = places.zip(parts).map(|((offset, time_ns), count)| {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        SpoolMessage {
            offset,
            time_ns,
            frames: body.by_ref().take(count).collect(),
            is_new,
        }
    });
    Ok(SpoolPage {
        messages: messages.collect(),
        next: number(told, "next"),
    })
}
