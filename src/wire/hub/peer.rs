//! One connection: its session, its socket, and the task that reads it.
//!
//! Two hold a [`Peer`]: the hub, which sends and takes what came, and the task, which reads and
//! writes on when the kernel takes more. Neither awaits while it holds the lock. The task tells the
//! hub by the connection's number that there is news, once until the hub has taken all of it.

mod ends;
pub(super) mod fanning;
mod name;
mod reading;
mod sending;
mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::key::PublicKey;
use crate::model::limits::WireLimits;

use super::forward::{Forward, LINGER};
use super::heart::{Heart, Next};
use super::inbox::Received;
use super::pace::STRETCH;
use super::pings::Pings;
use super::refusal::Limit;
use super::session::{Claim, Session};
use super::stream::{Reading, Stream, Writing};
use super::told::Told;
use super::unfinished::{Share, Unfinished};
use super::{CloseReason, ConnId, ConnectionFacts};
use fanning::{Fanning, Part};
use reading::Read;

/// How long the second part of our greeting waits for the peer's first.
const GREETING_HOLD: Duration = Duration::from_millis(100);

/// How much longer a subscriber rests than it worked, where it has more to ask for than fits into a
/// turn: what it costs to say is nothing beside what it costs to be answered, with all that is retained.
const GREEDY_RESTS: u32 = 3;

/// Who is at the other end, and who hears of it.
pub(super) struct Wiring {
    pub(super) conn: ConnId,
    /// `ADDRESS:PORT`; empty on ipc.
    pub(super) address: String,
    /// `ADDRESS:PORT` of our end; empty on ipc.
    pub(super) local: String,
    pub(super) ip: Option<IpAddr>,
    /// It is one end of a wire, and what it reads is for the other end.
    pub(super) forwards: bool,
    /// It is a part of a fan-out.
    pub(super) part: Option<Part>,
    pub(super) unfinished: Arc<Unfinished>,
    /// Both ends of a tcp connection.
    pub(super) ends: Option<(SocketAddr, SocketAddr)>,
    pub(super) told: Arc<Told>,
}

/// What the hub takes from a connection.
pub(super) enum News {
    /// It says who it is, and waits to be admitted.
    Claim(Claim),
    /// There is room for messages again.
    Writable,
    /// Something came.
    Received(Received),
    /// It ended, and everything before was taken.
    Closed(CloseReason),
}

/// One connection.
pub(super) struct Peer {
    wiring: Wiring,
    since: SystemTime,
    handshake: Duration,
    /// It came through the door: its handshake waits for nothing but a name.
    is_claimant: bool,
    writing: Writing,
    heart: Heart,
    /// Wakes the task: something is to be written, or there is room for what was read.
    wake: Arc<Notify>,
    state: Mutex<State>,
    /// Its part in a wire, where it is one end of one.
    forward: Option<Forward>,
    /// Its part in a fan-out, where it has one.
    fanning: Option<Fanning>,
}

struct State {
    session: Session,
    /// What came is for the other end of its wire or for a fan, and no news to the hub.
    forwards: bool,
    /// The hub knows that there is news.
    is_told: bool,
    /// Messages were sent that nobody tried to write.
    gathers: bool,
    /// Its fan-out ends: what waits is written, and nothing is read any more.
    is_ending: bool,
    /// Something was sent in this turn of the hub's owner.
    is_in_turn: bool,
    is_paused: bool,
    /// Who has the name it claims.
    waits_for: Option<Weak<Peer>>,
    ended: Option<CloseReason>,
    pings: Pings,
}

impl State {
    fn has_news(&self) -> bool {
        self.session.has_claim()
            || self.session.is_writable_due()
            || !self.is_paused
                && (!self.forwards && self.session.has_received() || self.ended.is_some())
    }
}

impl Peer {
    pub(super) fn new(
        mut session: Session,
        limits: &WireLimits,
        mut wiring: Wiring,
        stream: Stream,
    ) -> (Arc<Self>, Reading) {
        let (reading, writing) = stream.split();
        let pings = Pings::new(limits);
        let wake = Arc::<Notify>::default();
        session.share(Share::new(wiring.unfinished.clone(), wake.clone()));
        let (forwards, ends) = (wiring.forwards, wiring.ends);
        let fanning = wiring.part.take();
        let fanning = fanning.map(|part| Fanning::new(part, wiring.conn, &mut session));
        let peer = Self {
            wiring,
            since: SystemTime::now(),
            handshake: Duration::from_millis(limits.handshake_ms),
            is_claimant: session.has_claim(),
            writing,
            heart: Heart::new(ends),
            wake,
            state: Mutex::new(State {
                session,
                forwards: forwards || fanning.is_some(),
                is_told: false,
                gathers: false,
                is_ending: false,
                is_in_turn: false,
                is_paused: false,
                waits_for: None,
                ended: None,
                pings,
            }),
            forward: (forwards && fanning.is_none()).then(Forward::default),
            fanning,
        };
        (Arc::new(peer), reading)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counters behind, nothing that could be unsound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of the peer without its port; none on ipc.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.wiring.ip
    }

    /// The key that the peer showed us.
    pub(super) fn key(&self) -> Option<PublicKey> {
        self.state().session.key
    }

    pub(super) fn facts(&self, port: &str) -> ConnectionFacts {
        let state = self.state();
        let session = &state.session;
        let since = self.since.duration_since(SystemTime::UNIX_EPOCH);
        ConnectionFacts {
            conn: self.wiring.conn,
            port: port.to_owned(),
            peer_address: self.wiring.address.clone(),
            socket_type: session.socket_type.map(str::to_owned),
            identity: String::from_utf8_lossy(&session.identity).into_owned(),
            mechanism: session.mechanism,
            key: session.key,
            who: session.who.clone(),
            zmtp_minor: session.zmtp_minor,
            handshake_done: session.is_ready(),
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            messages_in: session.messages_in,
            messages_out: session.messages_out,
            queued_bytes: session.queued_bytes()
                + self.fanning.as_ref().map_or(0, Fanning::queued_bytes),
            unread_bytes: session.unread_bytes(),
            is_paused: state.is_paused,
            subscriptions: session.subscriptions(),
            dropped: session.dropped,
            stalled_ms: self.heart.stalled_ms(),
            since_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        let waits = self.fanning.as_ref().is_some_and(|it| it.waits().0);
        waits || self.state().session.is_behind()
    }

    /// Stops or goes on reading the peer and handing over what it sent.
    pub(super) fn pause(&self, is_paused: bool) {
        let mut state = self.state();
        state.is_paused = is_paused;
        self.tell(&mut state);
        self.wake.notify_one();
    }

    /// The next news, and whether there is more.
    pub(super) fn take(&self) -> (Option<News>, bool) {
        let mut state = self.state();
        let state = &mut *state;
        let session = &mut state.session;
        let news = if let Some(claim) = session.take_claim() {
            Some(News::Claim(claim))
        } else if session.take_writable() {
            Some(News::Writable)
        } else if state.is_paused {
            None
        } else if !state.forwards
            && let Some(received) = session.take()
        {
            if !session.has_received() {
                self.wake.notify_one();
            }
            Some(News::Received(received))
        } else {
            state.ended.take().map(News::Closed)
        };
        let has_more = state.has_news();
        state.is_told = has_more;
        (news, has_more)
    }

    /// Lets the peer in. What is wrong with what it sent meanwhile is its end.
    pub(super) fn admit(&self) -> Result<(), CloseReason> {
        let mut state = self.state();
        state.waits_for = None;
        let admitted = state.session.admit();
        self.flush_soon(&mut state);
        self.tell(&mut state);
        self.wake.notify_one();
        admitted
    }

    /// Tells the peer why it may not stay: one try, whoever does not read it is closed all the same.
    pub(super) fn refuse(&self, limit: Limit) {
        let mut state = self.state();
        state.session.refuse(limit);
        drop(self.flush(&mut state));
    }

    fn tell(&self, state: &mut State) {
        if !state.is_told && state.has_news() {
            state.is_told = true;
            self.wiring.told.tell(self.wiring.conn);
        }
    }

    /// Writes what the kernel takes now and has the task do the rest. An error here is the
    /// connection's end, which the task meets and reports.
    fn flush_soon(&self, state: &mut State) {
        if !matches!(self.flush(state), Ok(false)) {
            self.wake.notify_one();
        }
    }

    /// Writes what the kernel takes now; says whether anything is left.
    fn flush(&self, state: &mut State) -> io::Result<bool> {
        self.write(&mut state.session)
    }

    fn write(&self, session: &mut Session) -> io::Result<bool> {
        while session.is_behind() {
            let slices = session.outgoing();
            let result = self.writing.try_write(&slices);
            drop(slices);
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    session.wrote(written);
                    if self.heart.wrote() {
                        self.wake.notify_one();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.heart.blocked();
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Takes bytes, or goes on with those that waited, and writes what came of it.
    fn progress(&self, bytes: Option<Bytes>) -> Result<(), CloseReason> {
        let mut state = self.state();
        let state = &mut *state;
        if bytes.is_some() {
            self.heart.heard();
        }
        let parsed = match bytes {
            Some(bytes) => state.session.receive_lent(bytes),
            None => state.session.parse(),
        };
        // An ERROR command that explains a refusal is worth one try.
        let flushed = self.flush_lane(state);
        self.tell(state);
        parsed?;
        flushed.map_err(|error| CloseReason::Io(error.kind()))?;
        if state.pings.are_too_many(state.session.pings_in) {
            return Err(CloseReason::Limit(Limit::PingRate));
        }
        Ok(())
    }

    /// Shows the whole greeting, if it was held back so far.
    fn release(&self) -> Result<(), CloseReason> {
        let mut state = self.state();
        if state.session.release() {
            self.flush(&mut state)
                .map_err(|error| CloseReason::Io(error.kind()))?;
        }
        Ok(())
    }

    /// What the task does next.
    fn wants(&self) -> Wants {
        let state = self.state();
        let session = &state.session;
        let (waits, is_cut) = match &self.fanning {
            None => (false, false),
            Some(fanning) => fanning.waits(),
        };
        let writes = waits || session.is_behind();
        let wire = self.forward.as_ref().map(Forward::stage);
        let (is_ending, is_over) = match wire {
            None => (state.is_ending, is_cut || state.is_ending && !writes),
            Some(stage) => (stage.is_ending, stage.is_done(writes)),
        };
        Wants {
            reads: session.takes_input() && !state.is_paused && !is_ending,
            writes,
            is_ready: session.is_ready(),
            is_ending,
            is_over,
        }
    }

    /// What the peer's silence asks for now. Gives when to look again; never where nothing is owed.
    fn beat(&self) -> Result<Option<Instant>, CloseReason> {
        let mut state = self.state();
        let minor = state.session.zmtp_minor.unwrap_or_default();
        loop {
            match self.heart.beat(minor, state.session.is_behind())? {
                Next::Ping => {
                    state.session.ping();
                    self.flush_soon(&mut state);
                }
                Next::At(until) => return Ok(Some(until)),
                Next::Rest => return Ok(None),
            }
        }
    }

    fn end(&self, reason: CloseReason) {
        let mut state = self.state();
        state.ended = Some(state.session.ended(reason));
        self.tell(&mut state);
    }
}

/// What the task of a connection does next.
struct Wants {
    reads: bool,
    writes: bool,
    is_ready: bool,
    /// The other end of its wire is gone: what waits is written.
    is_ending: bool,
    /// And that is done.
    is_over: bool,
}

/// Reads one connection to its end and tells the hub.
pub(super) async fn run(peer: Arc<Peer>, reading: Reading) {
    let reason = match drive(&peer, reading).await {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    peer.leave(&peer.wake).await;
    peer.end(reason);
}

async fn drive(peer: &Peer, mut reading: Reading) -> Result<std::convert::Infallible, CloseReason> {
    let last = Instant::now() + peer.handshake;
    let mut deadline = peer.deadline(last);
    let timer = tokio::time::sleep(GREETING_HOLD.min(peer.handshake));
    let mut is_ending = false;
    // How long this connection has had the thread since the others had it.
    let mut worked = Duration::ZERO;
    tokio::pin!(timer);
    // When the timer is to look at a silence, if it is.
    let mut beat = None;
    loop {
        let wants = peer.wants();
        if wants.is_over {
            return Err(CloseReason::OtherEnd);
        }
        if wants.is_ending && !is_ending {
            is_ending = true;
            timer.as_mut().reset(Instant::now() + LINGER);
        } else if wants.is_ready && !is_ending && beat.is_none() {
            beat = peer.beat()?;
            timer.as_mut().reset(beat.unwrap_or(deadline));
        }
        let (mut bytes, mut cut, mut is_flood) = (None, Ok(()), false);
        tokio::select! {
            // Cancel safe: a read that is dropped has taken nothing.
            read = peer.read(&mut reading), if wants.reads => {
                match read.map_err(|error| CloseReason::Io(error.kind()))? {
                    Read::Nothing => return Err(CloseReason::Peer),
                    Read::Bytes(read) => bytes = Some(read),
                    Read::Cut { result, fills } => (cut, is_flood) = (result, fills),
                }
            }
            // Cancel safe: it only waits for readiness.
            ready = peer.writing.writable(), if wants.writes => {
                ready.map_err(|error| CloseReason::Io(error.kind()))?;
            }
            // Cancel safe: a permit that is not taken stays.
            () = peer.wake.notified() => {}
            () = &mut timer, if beat.is_some() || !wants.is_ready || is_ending => {
                if is_ending {
                    return Err(CloseReason::OtherEnd);
                }
                if beat.take().is_none() {
                    let now = Instant::now();
                    let is_late = now >= last || now >= deadline && !peer.may_get_its_name();
                    if is_late && let Some(reason) = peer.late() {
                        return Err(reason);
                    }
                    if now >= deadline {
                        deadline = last;
                    }
                    peer.release()?;
                    timer.as_mut().reset(deadline);
                }
            }
        }
        let began = Instant::now();
        let progress = peer.progress(bytes);
        let handed_on = peer.hand_on();
        let is_greedy = cut.and(progress).and(handed_on)?;
        worked += began.elapsed();
        if is_greedy {
            tokio::time::sleep(std::mem::take(&mut worked) * GREEDY_RESTS).await;
        } else if is_flood || worked >= STRETCH {
            // The kernel is asked which subscribers take more before any is taken for a slow one; and
            // a peer that floods us with boxes to open would keep the thread for seconds.
            worked = Duration::ZERO;
            tokio::task::yield_now().await;
        }
    }
}
