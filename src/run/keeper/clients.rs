//! The connections of a keeper: at most a bounded number, each with a bounded backlog.
//!
//! Nothing here waits: a client that does not read what it asked for is dropped, and a supervisor
//! that was dropped connects again and lists.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use super::frame::{self, FrameError};
use super::note;
use super::protocol::{Event, Frame, Refusal, RefusalKind, Request};
use crate::model::limits::runner::{KEEPER_CLIENT_BYTES_MAX, KEEPER_CLIENTS_MAX};

/// Bytes read from a client at a time. Each page of it is a fault the first time, and the first
/// clients wait for it.
const READ_BYTES: usize = 16 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Whether it gets events.
    pub(super) is_watching: bool,
    /// Whether it wanted the network taken down.
    pub(super) wants_end: bool,
    is_gone: bool,
}

impl Client {
    /// What is polled.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether something waits to be written to it.
    pub(super) fn is_behind(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The process at the other end.
    pub(super) fn pid(&self) -> Option<u32> {
        let credentials = rustix::net::sockopt::socket_peercred(&self.stream).ok()?;
        u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
    }

    /// Reads what is there and gives the whole requests in it.
    pub(super) fn read(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut chunk = [0; READ_BYTES];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.is_gone = true,
            Ok(count) => {
                self.incoming.extend_from_slice(&chunk[..count]);
                self.split(&mut requests);
            }
            Err(error) if is_later(&error) => {}
            Err(_) => self.is_gone = true,
        }
        requests
    }

    fn split(&mut self, requests: &mut Vec<Request>) {
        let mut used = 0;
        loop {
            match frame::decode::<Request>(&self.incoming[used..]) {
                Ok(Some((bytes, request))) => {
                    used += bytes;
                    match request {
                        Ok(request) => requests.push(request),
                        Err(error) => self.refuse_frame(&error),
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.refuse_frame(&error);
                    self.flush();
                    self.is_gone = true;
                    break;
                }
            }
        }
        self.incoming.drain(..used);
        if self.incoming.is_empty() {
            // A large request must not cost its memory for ever.
            self.incoming.shrink_to(READ_BYTES);
        }
    }

    fn refuse_frame(&mut self, error: &FrameError) {
        let id = match error {
            FrameError::Malformed { id, .. } => *id,
            FrameError::TooLong { .. } => 0,
        };
        let refusal = Refusal {
            kind: RefusalKind::Malformed,
            message: error.to_string(),
            errno: None,
        };
        self.send(&Frame::Refused { id, refusal });
    }

    /// Queues a frame; a client whose queue is full is dropped.
    pub(super) fn send(&mut self, frame: &Frame) {
        let is_sent = frame::encode(frame, &mut self.outgoing).is_ok();
        if !is_sent || self.outgoing.len() > KEEPER_CLIENT_BYTES_MAX {
            self.outgoing.clear();
            self.is_gone = true;
        }
    }

    /// Writes what the socket takes now.
    pub(super) fn flush(&mut self) {
        while !self.outgoing.is_empty() && !self.is_gone {
            match self.stream.write(&self.outgoing) {
                Ok(0) => self.is_gone = true,
                Ok(count) => {
                    self.outgoing.drain(..count);
                }
                Err(error) if is_later(&error) => return,
                Err(_) => self.is_gone = true,
            }
        }
        self.outgoing.shrink_to(READ_BYTES);
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Takes every connection that waits; those over the bound, and those of other users, are closed.
pub(super) fn accept(listener: &UnixListener, clients: &mut Vec<Client>) {
    let own = rustix::process::geteuid();
    while let Ok((stream, _)) = listener.accept() {
        let is_ours = rustix::net::sockopt::socket_peercred(&stream)
            .is_ok_and(|peer| peer.uid == own || peer.uid.is_root());
        if !is_ours || clients.len() >= KEEPER_CLIENTS_MAX || stream.set_nonblocking(true).is_err()
        {
            note("turned a client away");
            continue;
        }
        clients.push(Client {
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            is_watching: false,
            wants_end: false,
            is_gone: false,
        });
    }
}

/// Tells whoever watches, and writes all that can be written.
pub(super) fn publish(clients: &mut Vec<Client>, events: &mut Vec<Event>) {
    for event in events.drain(..) {
        let is_end = event == Event::Quitting;
        let frame = Frame::Event(event);
        for client in clients.iter_mut() {
            let hears = match is_end {
                true => client.wants_end,
                false => client.is_watching,
            };
            if hears {
                client.send(&frame);
            }
        }
    }
    for client in clients.iter_mut() {
        client.flush();
    }
    clients.retain(|client| !client.is_gone);
}
