//! Who looks at messages that pass a role or a gate, by the health verb `tap`.
//!
//! Each looker asks again and again, a few times a second; who stops asking is forgotten, and with
//! the last one the ring is turned off. Filters and rate are applied to copies, beside the path of
//! the messages. It must never hold more for a looker than its bounds, and always say what it missed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use regex::bytes::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::hub::{Ring, Seen};

/// Lookers at a time.
const LOOKERS_MAX: usize = 8;
/// How long a looker is remembered after it asked.
const LEASE: Duration = Duration::from_secs(3);
/// Messages kept for one looker until it asks again.
const KEPT_MAX: usize = 4_096;
/// Bytes of frames in one answer: text in JSON grows, and an answer has a mebibyte.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The largest regular expression, compiled.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What a looker asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Who looks, by a name of its own choice.
    pub looker: String,
    /// Messages of this link.
    pub link: Option<String>,
    /// Of wires that start at this instance.
    pub from: Option<String>,
    /// Of wires that end at this instance.
    pub to: Option<String>,
    /// Whose first frame starts with this.
    pub topic: Option<String>,
    /// One of whose frames matches this.
    pub regex: Option<String>,
    /// Of wires that start at one of these, where it is known which those are.
    pub among: Option<Vec<String>>,
    /// At most so many in a second.
    pub rate: Option<u32>,
}

/// Where a message was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The link; empty where who saw it does not know links.
    pub link: String,
    /// Where its wire starts.
    pub from: String,
    /// Where its wire ends.
    pub to: String,
    /// Whether it goes from the wire's start to its end.
    pub is_forward: bool,
}

/// Why a wish cannot be met.
#[derive(Debug, PartialEq, Eq)]
pub enum LookError {
    /// The params are none.
    Params(String),
    /// The regular expression is none.
    Regex(String),
    /// Too many look already.
    Busy,
}

impl std::fmt::Display for LookError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Params(fault) => write!(f, "not what `tap` takes: {fault}"),
            Self::Regex(fault) => write!(f, "not a regular expression: {fault}"),
            Self::Busy => write!(f, "{LOOKERS_MAX} others look already"),
        }
    }
}

impl std::error::Error for LookError {}

struct Looker {
    wish: Wish,
    regex: Option<Regex>,
    until: Instant,
    kept: VecDeque<(Place, Seen)>,
    /// Matching messages that found no room, here or in the ring.
    missed: u64,
    /// Matching messages over the rate.
    over_rate: u64,
    second: Instant,
    in_second: u32,
}

/// All who look.
#[derive(Default)]
pub struct Looking {
    lookers: HashMap<String, Looker>,
}

impl Looking {
    /// Whether anybody looks.
    pub fn is_on(&self) -> bool {
        !self.lookers.is_empty()
    }

    /// Deals out what was seen, and forgets who no longer asks.
    pub fn turn(&mut self, ring: &Arc<Ring>, place: impl Fn(usize) -> Option<Place>) {
        let (seen, missed) = ring.take();
        let now = Instant::now();
        self.lookers.retain(|_, looker| looker.until > now);
        for looker in self.lookers.values_mut() {
            looker.missed += missed;
        }
        for seen in seen {
            let Some(place) = place(seen.place) else {
                continue;
            };
            for looker in self.lookers.values_mut() {
                looker.offer(now, &place, &seen);
            }
        }
        ring.turn(self.is_on());
    }

    /// Answers the verb `tap`: what was seen since the looker asked last.
    pub fn answer(&mut self, ring: &Arc<Ring>, params: Value) -> Result<Value, LookError> {
        let wish: Wish =
            serde_json::from_value(params).map_err(|fault| LookError::Params(fault.to_string()))?;
        let until = Instant::now() + LEASE;
        if let Some(looker) = self.lookers.get_mut(&wish.looker) {
            looker.until = until;
            return Ok(looker.take());
        }
        if self.lookers.len() >= LOOKERS_MAX {
            return Err(LookError::Busy);
        }
        let regex = wish.regex.as_deref().map(compile).transpose()?;
        let mut looker = Looker {
            wish: wish.clone(),
            regex,
            until,
            kept: VecDeque::new(),
            missed: 0,
            over_rate: 0,
            second: Instant::now(),
            in_second: 0,
        };
        let first = looker.take();
        self.lookers.insert(wish.looker, looker);
        ring.turn(true);
        Ok(first)
    }
}

/// Whether this is a regular expression that a looker may have.
pub fn check(regex: &str) -> Result<(), LookError> {
    compile(regex).map(drop)
}

fn compile(text: &str) -> Result<Regex, LookError> {
    regex::bytes::RegexBuilder::new(text)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|fault| {
            // Its words are several lines with the fault in the last, and a failure is one.
            let words = fault.to_string();
            let last = words.lines().last().unwrap_or_default();
            LookError::Regex(last.trim_start_matches("error: ").to_owned())
        })
}

/// The first frame of a message, behind the empty ones that a request begins with.
fn first(seen: &Seen) -> Option<&Bytes> {
    let told = seen.frames.iter().find(|frame| !frame.is_empty());
    told.or(seen.frames.first())
}

impl Looker {
    fn wants(&self, place: &Place, seen: &Seen) -> bool {
        let is = |wanted: &Option<String>, it: &str| wanted.as_deref().is_none_or(|w| w == it);
        let topic = self.wish.topic.as_deref().unwrap_or_default().as_bytes();
        (place.link.is_empty() || is(&self.wish.link, &place.link))
            && self
                .wish
                .among
                .as_ref()
                .is_none_or(|among| among.contains(&place.from))
            && is(&self.wish.from, &place.from)
            && is(&self.wish.to, &place.to)
            && first(seen).is_some_and(|it| it.starts_with(topic))
            && self
                .regex
                .as_ref()
                .is_none_or(|regex| seen.frames.iter().any(|frame| regex.is_match(frame)))
    }

    fn offer(&mut self, now: Instant, place: &Place, seen: &Seen) {
        if !self.wants(place, seen) {
            return;
        }
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.in_second) = (now, 0);
        }
        if self.wish.rate.is_some_and(|rate| self.in_second >= rate) {
            self.over_rate += 1;
        } else if self.kept.len() >= KEPT_MAX {
            self.missed += 1;
        } else {
            self.in_second += 1;
            let mut place = place.clone();
            if place.link.is_empty() {
                place.link = self.wish.link.clone().unwrap_or_default();
            }
            self.kept.push_back((place, seen.clone()));
        }
    }

    fn take(&mut self) -> Value {
        let mut messages = Vec::new();
        let mut bytes = 0;
        while let Some((place, seen)) = self.kept.front() {
            bytes += seen
                .frames
                .iter()
                .map(|frame| frame.len() + 128)
                .sum::<usize>();
            if !messages.is_empty() && bytes > ANSWER_BYTES_MAX {
                break;
            }
            messages.push(message(place, seen));
            self.kept.pop_front();
        }
        json!({
            "messages": messages,
            "missed": std::mem::take(&mut self.missed),
            "over_rate": std::mem::take(&mut self.over_rate),
        })
    }
}

fn message(place: &Place, seen: &Seen) -> Value {
    let since = seen.at.duration_since(SystemTime::UNIX_EPOCH);
    let ms = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    let frames = seen.frames.iter().zip(&seen.sizes);
    let frames: Vec<Value> = frames.map(|(frame, size)| shown(frame, *size)).collect();
    json!({
        "time_ms": ms,
        "link": place.link,
        "from": place.from,
        "to": place.to,
        "direction": if place.is_forward { "forward" } else { "back" },
        "frames": frames,
    })
}

/// A whole frame as text where it is some, else in base64, with its size.
pub fn frame(frame: &Bytes) -> Value {
    shown(frame, frame.len())
}

/// A frame as text where it is some, else in base64, with its whole size.
fn shown(frame: &Bytes, size: usize) -> Value {
    let is_plain = |text: &&str| {
        !text
            .chars()
            .any(|c| c.is_control() && !"\n\t\r".contains(c))
    };
    let mut shown = match std::str::from_utf8(frame).ok().filter(is_plain) {
        Some(text) => json!({ "text": text }),
        None => json!({ "base64": base64(frame) }),
    };
    shown["bytes"] = size.into();
    if frame.len() < size {
        shown["is_cut"] = true.into();
    }
    shown
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..4 {
            text.push(if digit <= group.len() {
                let index = (bits >> (18 - 6 * digit)) & 63;
                char::from(DIGITS[index as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }

    fn seen(frames: &[&'static [u8]]) -> Seen {
        Seen {
            at: SystemTime::UNIX_EPOCH,
            place: 0,
            frames: frames
                .iter()
                .map(|frame| Bytes::from_static(frame))
                .collect(),
            sizes: frames.iter().map(|frame| frame.len()).collect(),
        }
    }

    fn looker(params: Value) -> Looker {
        let mut looking = Looking::default();
        looking.answer(&Arc::default(), params).unwrap();
        looking.lookers.drain().next().unwrap().1
    }

    fn place() -> Place {
        Place {
            link: "pings".to_owned(),
            from: "ping".to_owned(),
            to: "east-0".to_owned(),
            is_forward: true,
        }
    }

    #[test]
    fn a_looker_gets_what_it_asked_for_and_is_told_what_it_did_not_get() {
        let mut looker =
            looker(json!({"looker": "a", "topic": "a.", "regex": "x[0-9]", "rate": 2}));
        let now = Instant::now();
        for frames in [
            [b"a.b" as &[u8], b"x1"],
            [b"b.b", b"x1"],
            [b"a.b", b"xx"],
            [b"a.c", b"\xffx2"],
        ] {
            looker.offer(now, &place(), &seen(&frames));
        }
        looker.offer(now, &place(), &seen(&[b"", b"a.x3"]));
        let answer = looker.take();
        assert_eq!(answer["messages"].as_array().unwrap().len(), 2);
        assert_eq!(answer["messages"][0]["frames"][1]["text"], "x1");
        assert_eq!(answer["messages"][1]["frames"][1]["base64"], "/3gy");
        assert_eq!(
            (&answer["over_rate"], &answer["missed"]),
            (&json!(1), &json!(0))
        );
        assert_eq!(looker.take()["messages"], json!([]), "each is told once");
        looker.offer(now + Duration::from_secs(2), &place(), &seen(&[b"a.x4"]));
        assert_eq!(looker.kept.len(), 1, "the next second has its own");
    }

    #[test]
    fn what_nobody_fetches_is_bounded_and_counted() {
        let mut looker = looker(json!({"looker": "a"}));
        for _ in 0..KEPT_MAX + 5 {
            looker.offer(Instant::now(), &place(), &seen(&[b"x"]));
        }
        assert_eq!((looker.kept.len(), looker.missed), (KEPT_MAX, 5));
    }

    #[test]
    fn a_wish_that_is_none_is_refused() {
        let mut looking = Looking::default();
        let ring = Arc::default();
        let refused = looking.answer(&ring, json!({"looker": "a", "regex": "("}));
        assert!(matches!(refused, Err(LookError::Regex(_))));
        let refused = looking.answer(&ring, json!({"colour": "red"}));
        assert!(matches!(refused, Err(LookError::Params(_))));
        for n in 0..LOOKERS_MAX {
            looking
                .answer(&ring, json!({"looker": n.to_string()}))
                .unwrap();
        }
        assert_eq!(
            looking.answer(&ring, json!({"looker": "more"})),
            Err(LookError::Busy)
        );
    }
}
