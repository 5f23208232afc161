//! Talking to a key-value store.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use zmqnet::client::kv::{KvClient, KvError, Swapped};
//! # use zmqnet::wire::keyed::Keys;
//! # async fn example() -> Result<(), KvError> {
//! let wait = Duration::from_secs(5);
//! let at = "tcp://127.0.0.1:5555".parse().expect("an endpoint");
//! let mut kv = KvClient::new(at, Keys::Open);
//! let revision = kv.set("colour", "red".into(), wait).await?;
//! let swapped = kv.cas("colour", revision, "blue".into(), wait).await?;
//! assert_eq!(swapped, Swapped::Done(revision + 1));
//! # Ok(())
//! # }
//! ```
//!
//! It dials again as long as it may wait. A write that is asked again, since an answer was lost, is
//! done once: it says so by an id of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::model::endpoint::Endpoint;
use crate::protocol::zn1;
use crate::wire::keyed::Keys;

use super::asking::{AskError, Asker};

/// Values of one answer: less than the parts of a message that a dialler takes.
const VALUES_MAX: usize = 48;
/// How often a snapshot is begun again, where more is written than is kept to be watched.
const SNAPSHOTS: usize = 5;

/// Why a store could not be talked to.
#[derive(Debug, Clone, PartialEq)]
pub enum KvError {
    /// It was not asked, or refused.
    Asked(AskError),
    /// More was written meanwhile than can be followed.
    Outrun,
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(error) => error.fmt(f),
            Self::Outrun => f.write_str("more is written than can be followed"),
        }
    }
}

impl std::error::Error for KvError {}

impl From<AskError> for KvError {
    fn from(error: AskError) -> Self {
        Self::Asked(error)
    }
}

/// What a key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its value.
    pub value: Bytes,
    /// The revision of the write that gave it.
    pub revision: u64,
    /// How long it lives yet.
    pub ttl: Option<Duration>,
}

/// What a key is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The value.
    pub value: Bytes,
    /// How long the key lives.
    pub ttl: Option<Duration>,
}

impl<V: Into<Bytes>> From<V> for Given {
    fn from(value: V) -> Self {
        let (value, ttl) = (value.into(), None);
        Self { value, ttl }
    }
}

/// What became of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// It was done, by this revision.
    Done(u64),
    /// The key has this revision; 0 is that there is none.
    Conflict(u64),
}

/// A key of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The revision of its last write.
    pub revision: u64,
    /// The bytes of its value.
    pub bytes: u64,
    /// How long it lives yet.
    pub ttl: Option<Duration>,
    /// Its value, where that was asked for.
    pub value: Bytes,
}

/// Keys in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The keys.
    pub keys: Vec<Listed>,
    /// There are more after the last.
    pub has_more: bool,
    /// The revision of the store.
    pub revision: u64,
}

/// A write that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its key.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// What became of the key.
    pub change: Change,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It has this value.
    Set(Bytes),
    /// Somebody took it away.
    Deleted,
    /// Its time was over.
    Expired,
}

/// What a watch saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// Writes in their order, and the revision to go on from.
    Writes(Vec<Seen>, u64),
    /// What was written then is no longer kept: a snapshot is to be taken.
    Gone,
    /// There is no such revision yet; the last one there is.
    Ahead(u64),
}

/// One of the writes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchOp {
    /// A key is to have this text.
    Set(String, String),
    /// A key is to go, if it is there.
    Delete(String),
}

/// All keys of a prefix: what they have, and the revision at which they had it.
pub type Snapshot = (BTreeMap<String, (Bytes, u64)>, u64);

/// A connection to a store's port `main`.
pub struct KvClient {
    asker: Asker,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An id that no other write has.
fn once() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn ttl(value: &Value) -> Option<Duration> {
    value["ttl_ms"].as_u64().map(Duration::from_millis)
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

impl KvClient {
    /// A client that has not dialled yet.
    pub fn new(endpoint: Endpoint, keys: Keys) -> Self {
        Self {
            asker: Asker::new(endpoint, keys),
        }
    }

    /// What a key has, if there is one.
    pub async fn get(&mut self, key: &str, wait: Duration) -> Result<Option<Item>, KvError> {
        let asked = self.asker.ask("get", json!({"key": key}), Vec::new(), wait);
        match asked.await {
            Ok(mut reply) => Ok(Some(Item {
                value: reply.body.pop().unwrap_or_default(),
                revision: number(&reply.result, "revision"),
                ttl: ttl(&reply.result),
            })),
            Err(AskError::Refused(zn1::NOT_FOUND, ..)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a key a value; gives the revision.
    pub async fn set(&mut self, key: &str, given: Given, wait: Duration) -> Result<u64, KvError> {
        let mut params = json!({"key": key, "once": once()});
        if let Some(ttl) = given.ttl {
            params["ttl_ms"] = millis(ttl).into();
        }
        let reply = self
            .asker
            .ask("set", params, vec![given.value], wait)
            .await?;
        Ok(number(&reply.result, "revision"))
    }

    /// Gives a key a value if it was last written by a revision; 0 is only if there is none.
    pub async fn cas(
        &mut self,
        key: &str,
        revision: u64,
        given: Given,
        wait: Duration,
    ) -> Result<Swapped, KvError> {
        let mut params = json!({"key": key, "revision": revision, "once": once()});
        if let Some(ttl) = given.ttl {
            params["ttl_ms"] = millis(ttl).into();
        }
        match self.asker.ask("cas", params, vec![given.value], wait).await {
            Ok(reply) => Ok(Swapped::Done(number(&reply.result, "revision"))),
            Err(AskError::Refused(zn1::CONFLICT, _, told)) => {
                Ok(Swapped::Conflict(number(&told, "revision")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a key away; gives the revision, and nothing where there was no key.
    pub async fn delete(&mut self, key: &str, wait: Duration) -> Result<Option<u64>, KvError> {
        let params = json!({"key": key, "once": once()});
        match self.asker.ask("del", params, Vec::new(), wait).await {
            Ok(reply) => Ok(Some(number(&reply.result, "revision"))),
            Err(AskError::Refused(zn1::NOT_FOUND, ..)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Does several writes at once: all of them or none. Gives the revision of the last.
    pub async fn batch(&mut self, ops: &[BatchOp], wait: Duration) -> Result<u64, KvError> {
        let told = |op: &BatchOp| match op {
            BatchOp::Set(key, value) => json!({"op": "set", "key": key, "value": value}),
            BatchOp::Delete(key) => json!({"op": "del", "key": key}),
        };
        let ops: Vec<Value> = ops.iter().map(told).collect();
        let params = json!({"ops": ops, "once": once()});
        let reply = self.asker.ask("batch", params, Vec::new(), wait).await?;
        Ok(number(&reply.result, "revision"))
    }

    /// Keys that begin with a prefix and come after another, in their order, as many as one answer has.
    pub async fn list(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        with_values: bool,
        wait: Duration,
    ) -> Result<Page, KvError> {
        let mut params = json!({"prefix": prefix, "values": with_values});
        if let Some(after) = after {
            params["after"] = after.into();
        }
        if with_values {
            params["limit"] = VALUES_MAX.into();
        }
        let reply = self.asker.ask("list", params, Vec::new(), wait).await?;
        let mut values = reply.body.into_iter();
        let listed = |told: &Value| Listed {
            key: text(told, "key"),
            revision: number(told, "revision"),
            bytes: number(told, "bytes"),
            ttl: ttl(told),
            value: values.next().unwrap_or_default(),
        };
        let keys = reply.result["keys"].as_array().into_iter().flatten();
        Ok(Page {
            keys: keys.map(listed).collect(),
            has_more: reply.result["more"] == true,
            revision: number(&reply.result, "revision"),
        })
    }

    /// The writes after a revision whose keys begin with a prefix; where there are none yet, they are
    /// waited for that long. The store answers in that time, `wait` more is for the way.
    pub async fn watch(
        &mut self,
        prefix: &str,
        after: u64,
        patience: Duration,
        wait: Duration,
    ) -> Result<Watched, KvError> {
        let params = json!({
            "prefix": prefix,
            "after": after,
            "wait_ms": millis(patience),
            "limit": VALUES_MAX,
        });
        let asked = self.asker.ask("watch", params, Vec::new(), patience + wait);
        let reply = match asked.await {
            Err(AskError::Refused(zn1::CONFLICT, _, told)) => {
                let revision = number(&told, "revision");
                return Ok(match after > revision {
                    true => Watched::Ahead(revision),
                    false => Watched::Gone,
                });
            }
            asked => asked?,
        };
        let mut values = reply.body.into_iter();
        let seen = |told: &Value| Seen {
            key: text(told, "key"),
            revision: number(told, "revision"),
            change: match told["op"].as_str() {
                Some("set") => Change::Set(values.next().unwrap_or_default()),
                Some("expire") => Change::Expired,
                Some(_) | None => Change::Deleted,
            },
        };
        let events = reply.result["events"].as_array().into_iter().flatten();
        let events = events.map(seen).collect();
        let revision = number(&reply.result, "revision");
        Ok(Watched::Writes(events, revision))
    }

    /// All keys that begin with a prefix, as they were at one revision: what was written while they
    /// were read is followed until nothing is left of it.
    pub async fn snapshot(&mut self, prefix: &str, wait: Duration) -> Result<Snapshot, KvError> {
        for _ in 0..SNAPSHOTS {
            let first = self.list(prefix, None, true, wait).await?;
            let began = first.revision;
            let mut found = BTreeMap::new();
            let mut page = first;
            loop {
                let last = page.keys.last().map(|listed| listed.key.clone());
                let each = page.keys.into_iter();
                found.extend(each.map(|it| (it.key, (it.value, it.revision))));
                if !page.has_more {
                    break;
                }
                page = self.list(prefix, last.as_deref(), true, wait).await?;
            }
            if let Some(revision) = self.follow(prefix, (&mut found, began), wait).await? {
                return Ok((found, revision));
            }
        }
        Err(KvError::Outrun)
    }

    /// Folds what was written since a revision, until there is no more. Nothing where it is no longer
    /// kept.
    async fn follow(
        &mut self,
        prefix: &str,
        (found, mut after): (&mut BTreeMap<String, (Bytes, u64)>, u64),
        wait: Duration,
    ) -> Result<Option<u64>, KvError> {
        loop {
            match self.watch(prefix, after, Duration::ZERO, wait).await? {
                Watched::Gone | Watched::Ahead(_) => return Ok(None),
                Watched::Writes(writes, revision) if writes.is_empty() => {
                    return Ok(Some(revision));
                }
                Watched::Writes(writes, revision) => {
                    after = revision;
                    for Seen {
                        key,
                        revision,
                        change,
                    } in writes
                    {
                        match change {
                            Change::Set(value) => found.insert(key, (value, revision)),
                            Change::Deleted | Change::Expired => found.remove(&key),
                        };
                    }
                }
            }
        }
    }
}
