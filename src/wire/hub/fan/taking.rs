//! What is cut out of a publisher's bytes goes to the fan, whole or put together, in its order.

use bytes::Bytes;

use super::cut::{CutSink, Place};
use super::{Origin, State};

/// Takes what is cut out of a publisher's bytes.
pub(super) struct Taking<'a> {
    pub(super) state: &'a mut State,
    /// Where they were published first.
    pub(super) origin: Origin,
    pub(super) command: Option<Vec<u8>>,
}

impl CutSink for Taking<'_> {
    fn message(&mut self, bytes: &[u8], place: Place) {
        self.state.note(bytes, place, self.origin);
    }

    fn assembled(&mut self, before: &[u8], message: Bytes, place: Place) {
        self.state.deliver(before, None, self.origin);
        self.state.note(&message, place, self.origin);
        let bytes = message.clone();
        self.state.deliver(&bytes, Some(message), self.origin);
    }

    fn command(&mut self, frame: &[u8]) {
        self.command = Some(frame.to_vec());
    }

    fn skipped(&mut self) {
        self.state.oversized += 1;
    }
}
