//! ZN1: `get set cas del batch list watch`. Values are body frames, in the order of what they belong to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::limits::kv::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, KEY_BYTES_MAX, PAGE_BYTES_MAX, PAGE_MAX, TTL_MS_MAX,
    VALUE_BYTES_MAX, WATCH_MS_MAX,
};
use crate::protocol::clone::{HUGZ, KTHXBAI};
use crate::protocol::zn1::{self, ID_BYTES_MAX, Reply, Request};
use crate::roles::machine::{self, Action, Caller};

use super::Machine;
use super::staging::{Op, Wish};
use super::state::Key;
use super::watches::Watch;
use super::writes::Wanted;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    key: String,
    ttl_ms: Option<u64>,
    once: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cas {
    key: String,
    revision: u64,
    ttl_ms: Option<u64>,
    once: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Del {
    key: String,
    revision: Option<u64>,
    once: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    ops: Vec<BatchOp>,
    once: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "op", rename_all = "lowercase")]
enum BatchOp {
    Set {
        key: String,
        /// Text; else the next body frame.
        value: Option<String>,
        ttl_ms: Option<u64>,
        revision: Option<u64>,
    },
    Del {
        key: String,
        revision: Option<u64>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    values: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchParams {
    #[serde(default)]
    prefix: String,
    after: u64,
    #[serde(default)]
    wait_ms: u64,
    limit: Option<usize>,
}

/// Why a request is none: its status and a sentence.
type Fault = (u16, String);

fn bad(words: impl Into<String>) -> Fault {
    (zn1::BAD_REQUEST, words.into())
}

fn params<P: DeserializeOwned>(params: Value) -> Result<P, Fault> {
    let params = match params {
        Value::Null => json!({}),
        params => params,
    };
    let read = serde_json::from_value(params);
    read.map_err(|error| bad(format!("the params are not understood: {error}")))
}

/// A key, where a text may be one.
pub(super) fn key(text: &str) -> Result<Key, Fault> {
    if text.len() > KEY_BYTES_MAX {
        let words = format!("a key has at most {KEY_BYTES_MAX} bytes");
        return Err((zn1::TOO_LARGE, words));
    }
    // Mirrors would take these two for commands.
    if text.is_empty() || text == HUGZ || text == KTHXBAI || text.chars().any(char::is_control) {
        return Err(bad(
            "a key is text without control characters, and not `HUGZ` or `KTHXBAI`",
        ));
    }
    Ok(Arc::from(text))
}

/// Why a text and so many bytes may not be a key and its value; nothing where they may.
pub fn refused_key(text: &str, value_bytes: usize) -> Option<String> {
    let judged = key(text).map(drop).and_then(|()| size(value_bytes));
    judged.err().map(|(_, words)| words)
}

/// Whether a value may be one.
pub(super) fn value(value: &Bytes) -> Result<(), Fault> {
    size(value.len())
}

fn size(bytes: usize) -> Result<(), Fault> {
    match bytes > VALUE_BYTES_MAX {
        true => {
            let words = format!("a value has at most {VALUE_BYTES_MAX} bytes");
            Err((zn1::TOO_LARGE, words))
        }
        false => Ok(()),
    }
}

/// A value in memory of its own where it is small: it does not pin what it came with.
pub(super) fn compact(value: &Bytes) -> Bytes {
    /// Larger ones are most of what they came in.
    const COPIED_BYTES_MAX: usize = 16 * 1024;
    match value.len() {
        ..=COPIED_BYTES_MAX => Bytes::copy_from_slice(value),
        _ => value.clone(),
    }
}

fn one(body: &[Bytes]) -> Result<Bytes, Fault> {
    match body {
        [frame] => {
            value(frame)?;
            Ok(compact(frame))
        }
        _ => Err(bad("the value is one body frame")),
    }
}

fn none(body: &[Bytes]) -> Result<(), Fault> {
    match body {
        [] => Ok(()),
        _ => Err(bad("there is no body")),
    }
}

fn once(text: Option<String>) -> Result<Option<Bytes>, Fault> {
    match text {
        Some(text) if text.is_empty() || text.len() > ID_BYTES_MAX => {
            Err(bad(format!("`once` has 1 to {ID_BYTES_MAX} bytes")))
        }
        text => Ok(text.map(Bytes::from)),
    }
}

fn prefix(text: &str) -> Result<(), Fault> {
    match text.len() > KEY_BYTES_MAX {
        true => Err((
            zn1::TOO_LARGE,
            format!("a prefix has at most {KEY_BYTES_MAX} bytes"),
        )),
        false => Ok(()),
    }
}

fn limit(asked: Option<usize>) -> Result<usize, Fault> {
    match asked {
        Some(0) => Err(bad("`limit` is at least 1")),
        asked => Ok(asked.unwrap_or(PAGE_MAX).min(PAGE_MAX)),
    }
}

impl Machine {
    /// A request that only this role has.
    pub(super) fn request(&mut self, caller: Caller, request: Request, actions: &mut Vec<Action>) {
        let id = request.id.clone();
        let (params, body) = (request.params.clone(), &request.body);
        let wanted = match request.verb.as_str() {
            "set" => self.set(params, body),
            "cas" => self.cas(params, body),
            "del" => del(params, body),
            "batch" => self.batch(params, body),
            "get" | "list" => {
                let read = match request.verb.as_str() {
                    "get" => self.get(params, body, id.clone()),
                    _ => self.list(params, body, id.clone()),
                };
                let reply = read.unwrap_or_else(|fault| self.fault(id, fault));
                return actions.push(caller.reply(&reply));
            }
            "watch" => match self.watched((caller.clone(), id.clone()), params, body) {
                Ok(watch) => return self.watch(watch, actions),
                Err(fault) => Err(fault),
            },
            _ => {
                let reply = machine::no_such_verb(&request);
                return actions.push(caller.reply(&reply));
            }
        };
        match wanted {
            Ok(wanted) => self.write(caller, id, wanted, actions),
            Err(fault) => {
                let reply = self.fault(id, fault);
                actions.push(caller.reply(&reply));
            }
        }
    }

    fn fault(&mut self, id: Bytes, (status, words): Fault) -> Reply {
        match status {
            zn1::BAD_REQUEST => self.counters.malformed += 1,
            _ => self.counters.refused += 1,
        }
        Reply::failure(status, id, words)
    }

    /// When a time to live is over.
    fn until_ms(&self, ttl_ms: Option<u64>) -> Result<Option<u64>, Fault> {
        match ttl_ms {
            Some(ttl) if ttl == 0 || ttl > TTL_MS_MAX => {
                Err(bad(format!("`ttl_ms` is 1 to {TTL_MS_MAX}")))
            }
            ttl => Ok(ttl.map(|ttl| self.now_ms().saturating_add(ttl))),
        }
    }

    fn set(&self, asked: Value, body: &[Bytes]) -> Result<Wanted, Fault> {
        let asked: Set = params(asked)?;
        let wish = Wish::Set(one(body)?, self.until_ms(asked.ttl_ms)?);
        let op = Op {
            key: key(&asked.key)?,
            wish,
            revision: None,
        };
        Ok(Wanted {
            ops: vec![op],
            once: once(asked.once)?,
            is_of_one: true,
        })
    }

    fn cas(&self, asked: Value, body: &[Bytes]) -> Result<Wanted, Fault> {
        let asked: Cas = params(asked)?;
        let wish = Wish::Set(one(body)?, self.until_ms(asked.ttl_ms)?);
        let op = Op {
            key: key(&asked.key)?,
            wish,
            revision: Some(asked.revision),
        };
        Ok(Wanted {
            ops: vec![op],
            once: once(asked.once)?,
            is_of_one: true,
        })
    }

    fn batch(&self, asked: Value, body: &[Bytes]) -> Result<Wanted, Fault> {
        let asked: Batch = params(asked)?;
        if asked.ops.is_empty() || asked.ops.len() > BATCH_OPS_MAX {
            return Err(bad(format!("a batch has 1 to {BATCH_OPS_MAX} operations")));
        }
        let mut frames = body.iter();
        let mut ops = Vec::with_capacity(asked.ops.len());
        let mut bytes = 0;
        for op in asked.ops {
            let op = match op {
                BatchOp::Set {
                    key: text,
                    value: inline,
                    ttl_ms,
                    revision,
                } => {
                    let given = match inline {
                        Some(text) => Bytes::from(text),
                        None => compact(frames.next().ok_or_else(|| {
                            bad("a `set` of a batch has a `value`, or a body frame")
                        })?),
                    };
                    value(&given)?;
                    Op {
                        key: key(&text)?,
                        wish: Wish::Set(given, self.until_ms(ttl_ms)?),
                        revision,
                    }
                }
                BatchOp::Del {
                    key: text,
                    revision,
                } => Op {
                    key: key(&text)?,
                    wish: Wish::Delete,
                    revision,
                },
            };
            bytes += op.bytes();
            ops.push(op);
        }
        if frames.next().is_some() {
            return Err(bad("there are more body frames than values"));
        }
        if bytes > BATCH_BYTES_MAX {
            let words = format!("a batch has at most {BATCH_BYTES_MAX} bytes");
            return Err((zn1::TOO_LARGE, words));
        }
        Ok(Wanted {
            ops,
            once: once(asked.once)?,
            is_of_one: false,
        })
    }

    /// How long a key lives yet.
    fn left(&self, until_ms: Option<u64>) -> Option<u64> {
        until_ms.map(|at| at.saturating_sub(self.now_ms()))
    }

    fn get(&mut self, asked: Value, body: &[Bytes], id: Bytes) -> Result<Reply, Fault> {
        let asked: Get = params(asked)?;
        none(body)?;
        let key = key(&asked.key)?;
        self.counters.reads += 1;
        if let Some(why) = self.kept.unknown() {
            return Ok(Reply::failure(zn1::UNAVAILABLE, id, why));
        }
        let Some(item) = self.state.get(&key) else {
            self.counters.misses += 1;
            let words = format!("there is no key `{key}`");
            return Ok(Reply::failure(zn1::NOT_FOUND, id, words));
        };
        let mut told = json!({"revision": item.revision});
        if let Some(left) = self.left(item.until_ms) {
            told["ttl_ms"] = left.into();
        }
        let mut reply = Reply::new(zn1::OK, id, told);
        reply.body = vec![item.value.clone()];
        Ok(reply)
    }

    fn list(&mut self, asked: Value, body: &[Bytes], id: Bytes) -> Result<Reply, Fault> {
        let asked: List = params(asked)?;
        none(body)?;
        prefix(&asked.prefix)?;
        let limit = limit(asked.limit)?;
        if let Some(why) = self.kept.unknown() {
            return Ok(Reply::failure(zn1::UNAVAILABLE, id, why));
        }
        let mut found = self.state.list(&asked.prefix, asked.after.as_deref());
        let (mut keys, mut values, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut has_more = false;
        for (key, item) in found.by_ref() {
            let value_bytes = if asked.values { item.value.len() } else { 0 };
            // A key may be twice as long in JSON, where every character is escaped.
            bytes += 2 * key.len() + 128 + value_bytes;
            if keys.len() >= limit || (bytes > PAGE_BYTES_MAX && !keys.is_empty()) {
                has_more = true;
                break;
            }
            let mut told = json!({
                "key": **key,
                "revision": item.revision,
                "bytes": item.value.len(),
            });
            if let Some(left) = self.left(item.until_ms) {
                told["ttl_ms"] = left.into();
            }
            keys.push(told);
            if asked.values {
                values.push(item.value.clone());
            }
        }
        self.counters.reads += keys.len() as u64;
        let revision = self.state.revision();
        let told = json!({"keys": keys, "more": has_more, "revision": revision});
        let mut reply = Reply::new(zn1::OK, id, told);
        reply.body = values;
        Ok(reply)
    }

    fn watched(
        &self,
        (caller, id): (Caller, Bytes),
        asked: Value,
        body: &[Bytes],
    ) -> Result<Watch, Fault> {
        let asked: WatchParams = params(asked)?;
        none(body)?;
        prefix(&asked.prefix)?;
        let wait = Duration::from_millis(asked.wait_ms.min(WATCH_MS_MAX));
        Ok(Watch {
            caller,
            id,
            prefix: asked.prefix,
            after: asked.after,
            limit: limit(asked.limit)?,
            until: self.now + wait,
        })
    }
}

fn del(asked: Value, body: &[Bytes]) -> Result<Wanted, Fault> {
    let asked: Del = params(asked)?;
    none(body)?;
    let op = Op {
        key: key(&asked.key)?,
        wish: Wish::Delete,
        revision: asked.revision,
    };
    Ok(Wanted {
        ops: vec![op],
        once: once(asked.once)?,
        is_of_one: true,
    })
}
