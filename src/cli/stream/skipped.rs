//! Messages that the other side does not take: what it takes is asked once, what is more is left out,
//! counted by its reason, and said at the end. Nothing else ends for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::cli::exit::{Exit, Failure};
use crate::cli::members::Target;
use crate::cli::ui;
use crate::model::limits::WireLimits;
use crate::wire::keyed::Keys;

/// Frames of a request before its body.
const HEAD_PARTS: usize = 4;
/// Bytes of them, and more than those of an envelope.
const HEAD_BYTES: usize = 1_024;

/// What a request to somebody may have as its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Its frames.
    pub(super) parts: usize,
    /// Their bytes.
    pub(super) bytes: usize,
}

impl Room {
    /// By the limits that `status` tells, for us.
    pub(super) fn of(status: &Value, target: &Target) -> Self {
        let limits = serde_json::from_value(status["limits"].clone());
        let limits: WireLimits = limits.unwrap_or_default();
        let is_near = target.endpoint.is_local() || matches!(target.keys, Keys::Curve(_));
        let bytes = match is_near {
            true => limits.message_bytes_max,
            false => limits.message_far_bytes_max,
        };
        Self {
            parts: limits.parts_max.saturating_sub(HEAD_PARTS).max(1),
            bytes: bytes.saturating_sub(HEAD_BYTES),
        }
    }

    /// Why frames are more than there is room for.
    pub(super) fn refusal(self, frames: &[Bytes]) -> Option<String> {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        if bytes > self.bytes {
            return Some(format!("more than {} bytes", self.bytes));
        }
        (frames.len() > self.parts).then(|| format!("more than {} frames", self.parts))
    }
}

/// Those that were left out, by why.
#[derive(Debug, Default)]
pub(super) struct Skipped(BTreeMap<String, u64>);

impl Skipped {
    pub(super) fn add(&mut self, why: String) {
        *self.0.entry(why).or_default() += 1;
    }

    /// How many they are.
    pub(super) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// Says them. All was done where there are none.
    pub(super) fn outcome(self, what: &str) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        for (why, count) in &self.0 {
            ui::talk(format_args!("{count} {what} left out: {why}"));
        }
        let all = self.count();
        let words = format!("{all} {what} could not be taken and were left out");
        Err(Failure::new(Exit::Failed, words))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(endpoint: &str) -> Target {
        Target {
            name: "events".to_owned(),
            endpoint: endpoint.parse().unwrap(),
            keys: Keys::Open,
        }
    }

    #[test]
    fn there_is_room_for_what_the_limits_leave_at_them_and_one_over() {
        let limits = WireLimits {
            message_bytes_max: 3_024,
            message_far_bytes_max: 2_024,
            parts_max: 6,
            ..WireLimits::default()
        };
        let status = json!({ "limits": limits });
        let room = Room::of(&status, &target("tcp://127.0.0.1:1"));
        assert_eq!((room.parts, room.bytes), (2, 2_000));
        let far = Room::of(&status, &target("tcp://10.0.0.4:1"));
        assert_eq!(far.bytes, 1_000);
        let frame = |bytes: usize| Bytes::from(vec![0; bytes]);
        assert_eq!(room.refusal(&[frame(1_999), frame(1)]), None);
        let large = room.refusal(&[frame(2_001)]);
        assert_eq!(large.as_deref(), Some("more than 2000 bytes"));
        let many = room.refusal(&[frame(1), frame(1), frame(1)]);
        assert_eq!(many.as_deref(), Some("more than 2 frames"));
        assert!(Skipped::default().outcome("messages").is_ok());
        let mut skipped = Skipped::default();
        skipped.add(large.unwrap());
        assert!(skipped.outcome("messages").is_err());
    }
}
