//! A session whose messages are cut out of its bytes by somebody else, and one that finishes what
//! somebody else began to write.
//!
//! The engine makes the handshake and goes on with commands; between the two it never sees a byte of
//! a message, so that neither has to be put together from the other.

use bytes::Bytes;

use crate::wire::hub::event::{CloseReason, Violation};
use crate::wire::hub::fan::cut::{CutFault, CutRules};
use crate::wire::hub::refusal::Limit;

use super::inbound::reason_of;
use super::{Phase, Session};

impl Session {
    /// What follows the handshake is cut elsewhere; under CURVE it has to be opened first.
    pub(in crate::wire::hub) fn pass_raw(&mut self) {
        self.is_raw = !self.is_sealed();
    }

    /// Whether what comes now is for somebody else to cut.
    pub(in crate::wire::hub) fn is_raw(&self) -> bool {
        self.is_raw && self.phase == Phase::Open
    }

    /// What came behind the handshake, once.
    pub(in crate::wire::hub) fn take_raw(&mut self) -> Bytes {
        if !self.is_raw() {
            return Bytes::new();
        }
        std::mem::take(&mut self.unparsed)
    }

    /// What a publisher may send.
    pub(in crate::wire::hub) fn cut_rules(&self) -> CutRules {
        CutRules {
            message_bytes_max: self.scan.message_bytes_max(),
            parts_max: self.limits.parts_max,
            skips: false,
        }
    }

    /// Notes what was cut: so many messages in all, and so many bytes of the one under way.
    pub(in crate::wire::hub) fn note_raw(
        &mut self,
        (bytes, messages, unfinished): (usize, u64, usize),
        fed: Result<(), CutFault>,
    ) -> Result<(), CloseReason> {
        self.bytes_in += bytes as u64;
        self.messages_in = messages;
        let may_stay = self
            .share
            .as_mut()
            .is_none_or(|it| it.note(messages, unfinished));
        let fault = match fed {
            Ok(()) if may_stay => return Ok(()),
            Ok(()) => CloseReason::Limit(Limit::Unfinished),
            Err(CutFault::Limit(limit)) => CloseReason::Limit(limit),
            Err(CutFault::NoFrame) => {
                CloseReason::Protocol(Violation("these bytes begin no frame".into()))
            }
        };
        self.fail(&fault);
        Err(fault)
    }

    /// A command of a peer whose messages are cut elsewhere.
    pub(in crate::wire::hub) fn command(&mut self, frame: Vec<u8>) -> Result<(), CloseReason> {
        let fed = self.engine.handle_input(Bytes::from(frame));
        self.absorb(1)?;
        fed.map_err(reason_of)
    }

    /// What was begun to be written: it comes before all else.
    pub(in crate::wire::hub) fn commit(&mut self, bytes: Bytes) {
        assert!(self.outbox.is_empty(), "nothing else was under way");
        self.outbox.push(bytes);
    }

    /// Whether messages are encrypted for this peer alone.
    pub(in crate::wire::hub) fn is_encrypted(&self) -> bool {
        self.is_sealed()
    }
}
