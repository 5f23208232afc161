//! What a connection is given to send: gathered, and written at once where it is much.

use bytes::Bytes;

use crate::wire::hub::event::SendError;

use super::Peer;

/// With this many bytes gathered there is no sense in waiting for more.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

impl Peer {
    /// Sends a message: the first of a turn at once, those that follow it together. True where the
    /// turn begins, which the caller ends with [`Peer::write_gathered`].
    pub(in crate::wire::hub) fn send(&self, frames: Vec<Bytes>) -> Result<bool, SendError> {
        let mut state = self.state();
        if state.gathers && !state.session.fits(&frames) {
            // To the kernel first: what nobody tried to write yet is not the peer's fault.
            state.gathers = false;
            self.flush_soon(&mut state);
        }
        let was_behind = state.session.is_behind();
        state.session.send(frames)?;
        if !state.gathers && was_behind {
            // What waits for the kernel is written by the task, with all that gathers meanwhile.
            return Ok(false);
        }
        let is_first = !std::mem::replace(&mut state.is_in_turn, true);
        state.gathers = !is_first && state.session.queued_bytes() < GATHERED_BYTES_MAX;
        if !state.gathers {
            self.flush_soon(&mut state);
        }
        Ok(is_first)
    }

    /// Ends a turn: what follows the message that began it is written.
    pub(in crate::wire::hub) fn write_gathered(&self) {
        let mut state = self.state();
        state.is_in_turn = false;
        if std::mem::take(&mut state.gathers) {
            self.flush_soon(&mut state);
        }
    }

    pub(in crate::wire::hub) fn subscribe(
        &self,
        topic: Bytes,
        is_on: bool,
    ) -> Result<(), SendError> {
        let mut state = self.state();
        state.session.subscribe(topic, is_on)?;
        self.flush_soon(&mut state);
        Ok(())
    }
}
