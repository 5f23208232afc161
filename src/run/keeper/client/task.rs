//! The task that owns the async client's socket: writes requests, matches answers, hands on events.
//!
//! It never waits for the receiver of events while answers could be read, so a supervisor that
//! spawns and is slow to take events cannot block itself.

use std::collections::{HashMap, VecDeque};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};

use super::{Call, KeeperError};
use crate::model::limits::runner::KEEPER_EVENTS_MAX;
use crate::run::keeper::frame::{self, FrameError};
use crate::run::keeper::protocol::{Answer, Event, Frame, Request};

type Waiting = HashMap<u64, oneshot::Sender<Result<Answer, KeeperError>>>;

/// Runs until all clients are dropped or the keeper is gone. Whoever still waits is told `Lost` by
/// the drop of its sender.
pub(super) async fn run(
    stream: UnixStream,
    mut calls: mpsc::Receiver<Call>,
    events: mpsc::Sender<Event>,
) {
    let (mut reader, mut writer) = stream.into_split();
    let mut incoming = Incoming::default();
    let mut waiting = Waiting::new();
    let mut next_id = 1;
    let mut outgoing: VecDeque<u8> = VecDeque::new();
    loop {
        tokio::select! {
            // Cancel safe: a call stays in the channel.
            call = calls.recv(), if outgoing.is_empty() => {
                let Some(call) = call else { return };
                take(call, &mut next_id, &mut waiting, &mut outgoing);
                // What else is ready goes out in the same write.
                while let Ok(call) = calls.try_recv() {
                    take(call, &mut next_id, &mut waiting, &mut outgoing);
                }
            }
            // Cancel safe: `write` reports what it wrote or wrote nothing.
            wrote = writer.write(outgoing.as_slices().0), if !outgoing.is_empty() => {
                let Ok(count @ 1..) = wrote else { return };
                outgoing.drain(..count);
            }
            // Cancel safe: `read_buf` adds whole reads to a buffer that outlives the arm.
            read = incoming.read(&mut reader) => {
                if read.is_err() || incoming.sort(&mut waiting).is_err() {
                    return;
                }
            }
            // Cancel safe: a permit that is not used is given back.
            permit = events.reserve(), if !incoming.events.is_empty() => {
                let Ok(permit) = permit else { return };
                if let Some(event) = incoming.events.pop_front() {
                    permit.send(event);
                }
            }
        }
    }
}

fn take(call: Call, next_id: &mut u64, waiting: &mut Waiting, outgoing: &mut VecDeque<u8>) {
    let id = *next_id;
    *next_id += 1;
    let mut bytes = Vec::new();
    match frame::encode(&Request { id, ask: call.ask }, &mut bytes) {
        Ok(()) => {
            outgoing.extend(bytes);
            waiting.insert(id, call.reply);
        }
        // The receiver may have given up; then nobody is to be told.
        Err(error) => drop(call.reply.send(Err(KeeperError::Garbled(error)))),
    }
}

/// What has been read: bytes of frames not whole yet, and events not handed on yet.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    events: VecDeque<Event>,
}

/// The connection is of no more use.
struct Broken;

impl Incoming {
    async fn read(&mut self, reader: &mut OwnedReadHalf) -> Result<(), Broken> {
        self.bytes.reserve(16 * 1024);
        match reader.read_buf(&mut self.bytes).await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(Broken),
        }
    }

    /// Gives every whole frame to whom it is for.
    fn sort(&mut self, waiting: &mut Waiting) -> Result<(), Broken> {
        let mut used = 0;
        while let Some((bytes, frame)) =
            frame::decode::<Frame>(&self.bytes[used..]).map_err(|_| Broken)?
        {
            used += bytes;
            match frame {
                Ok(Frame::Answer { id, answer }) => tell(waiting, id, Ok(answer)),
                Ok(Frame::Refused { id, refusal }) => {
                    tell(waiting, id, Err(KeeperError::Refused(refusal)));
                }
                Ok(Frame::Event(event)) => self.events.push_back(event),
                // An event or an answer of a later version: its asker, if any, learns that.
                Err(error) => {
                    let id = match &error {
                        FrameError::Malformed { id, .. } => *id,
                        FrameError::TooLong { .. } => 0,
                    };
                    tell(waiting, id, Err(KeeperError::Garbled(error)));
                }
            }
        }
        self.bytes.drain(..used);
        if self.events.len() > KEEPER_EVENTS_MAX {
            return Err(Broken);
        }
        Ok(())
    }
}

fn tell(waiting: &mut Waiting, id: u64, answer: Result<Answer, KeeperError>) {
    if let Some(reply) = waiting.remove(&id) {
        // The asker may have given up at its deadline.
        drop(reply.send(answer));
    }
}
