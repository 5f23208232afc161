//! The dialling side: one request on a fresh socket, or a dialler that keeps its connection and is
//! rebuilt when it falls silent. NULL goes by the `zeromq` crate as a rule, CURVE by our own sessions.
//!
//! The library has no deadline on a reply, retries a refused connection until its own timeout and
//! cannot cancel what was sent, so everything here is bounded from outside, and the way in which a
//! peer cannot be reached is found out by a plain connection beside the library's. A send that was
//! cut may still arrive: whoever must not be handled twice puts an id in the request.

mod fault;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use zeromq::{
    ReqSocket, Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend, ZmqError, ZmqMessage,
};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::socket::SocketType;

use super::curve::CurveClient;
use super::hub::{CloseReason, SessionConfig, Side};
use super::link::Link;
use super::watch::Watch;
pub use fault::{DialError, DialState};

/// A handshake on one machine takes a third of a millisecond; one that takes longer than this is
/// looked into with a plain connection.
const HEDGE: Duration = Duration::from_millis(5);
/// How long a patient dialler first rests between attempts while nobody listens, and at most. A
/// supervisor that is being started listens after some ten milliseconds.
const PATIENCE_MIN: Duration = Duration::from_millis(1);
const PATIENCE_MAX: Duration = Duration::from_millis(20);
/// How long a dialler is idle before its connection is watched.
const WATCH_AFTER: Duration = Duration::from_millis(200);

/// One request on a fresh socket, answered within `timeout` or not at all.
pub async fn request(
    endpoint: &Endpoint,
    frames: Vec<Bytes>,
    timeout: Duration,
) -> Result<Vec<Bytes>, DialError> {
    Dialler::new(endpoint.clone(), None, None)
        .request(frames, Instant::now() + timeout)
        .await
}

/// A REQ connection to one endpoint, one request at a time.
pub struct Dialler {
    endpoint: Endpoint,
    name: Option<String>,
    security: Option<Arc<CurveClient>>,
    /// Whether our own session speaks NULL too.
    is_own: bool,
    link: Option<Line>,
    state: DialState,
}

/// A connection whose handshake is done.
enum Line {
    /// NULL, by the library.
    Plain {
        /// It goes before the socket does, which it would keep open.
        watch: Option<Watch>,
        socket: ReqSocket,
        announced: Bytes,
    },
    /// By our own session.
    Own(Box<Link>),
}

impl Line {
    async fn exchange(&mut self, frames: Vec<Bytes>) -> Result<Vec<Bytes>, DialError> {
        match self {
            Self::Plain { socket, .. } => {
                let message = ZmqMessage::try_from(frames).expect("a request has a frame");
                let exchange = async {
                    socket.send(message).await?;
                    socket.recv().await
                };
                let reply: Result<_, ZmqError> = exchange.await;
                reply
                    .map(ZmqMessage::into_vec)
                    .map_err(|_| DialError::Closed)
            }
            Self::Own(link) => {
                let mut request = Vec::with_capacity(frames.len() + 1);
                request.push(Bytes::new());
                request.extend(frames);
                let closed = |_| DialError::Closed;
                link.send(request).await.map_err(closed)?;
                // A REQ drops what has no envelope of its own.
                loop {
                    let mut reply = link.recv().await.map_err(closed)?;
                    if reply.len() > 1 && reply[0].is_empty() {
                        reply.remove(0);
                        return Ok(reply);
                    }
                }
            }
        }
    }
}

impl Dialler {
    /// A dialler that has not dialled. With a name it calls itself `NAME#PID.N`, another N for each
    /// connection: a listener that refuses an identity it still holds never refuses us.
    /// With keys it speaks CURVE, without NULL.
    pub fn new(endpoint: Endpoint, name: Option<String>, security: Option<CurveClient>) -> Self {
        Self {
            endpoint,
            name,
            security: security.map(Arc::new),
            is_own: false,
            link: None,
            state: DialState::NeverDialled,
        }
    }

    /// A dialler that speaks NULL by our own session. The library's first connection costs a process
    /// half a millisecond, which whoever takes a small network down feels.
    pub fn soon(endpoint: Endpoint) -> Self {
        Self {
            is_own: true,
            ..Self::new(endpoint, None, None)
        }
    }

    /// Uses these keys from the next connection on.
    pub fn use_keys(&mut self, keys: CurveClient) {
        self.security = Some(Arc::new(keys));
    }

    /// What was last found at the other end. A loss while nothing is asked is found by
    /// [`Dialler::lost`], or at the next request.
    pub fn state(&self) -> DialState {
        self.state
    }

    /// Whether there is a connection to use.
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// What the other end calls itself, once connected; empty where it does not.
    pub fn announced(&self) -> &[u8] {
        match &self.link {
            Some(Line::Plain { announced, .. }) => announced,
            Some(Line::Own(link)) => link.announced(),
            None => &[],
        }
    }

    /// Drops the connection; the next request dials anew.
    pub fn reset(&mut self) {
        self.link = None;
    }

    /// Waits until the connection is lost while nothing is asked, for ever where there is none.
    /// Cancel safe.
    pub async fn lost(&mut self) {
        match &mut self.link {
            Some(Line::Own(link)) => drop(link.lost().await),
            Some(Line::Plain { watch, .. }) => {
                if watch.is_none() {
                    // Who asks again at once needs no watch.
                    sleep(WATCH_AFTER).await;
                    *watch = Watch::find(&self.endpoint);
                }
                match watch {
                    Some(watch) => watch.lost().await,
                    None => std::future::pending().await,
                }
            }
            None => std::future::pending().await,
        }
        self.link = None;
        self.state = DialState::Lost;
    }

    /// Connects, unless there is a connection.
    pub async fn connect(&mut self, deadline: Instant) -> Result<(), DialError> {
        if self.link.is_some() {
            return Ok(());
        }
        // Who was out of reach before is looked at first, so that a broadcast does not wait for it.
        let hedge = match self.state {
            DialState::NeverDialled | DialState::Connected => HEDGE,
            _ => Duration::ZERO,
        };
        let opened = match &self.security {
            None if !self.is_own => {
                match open(&self.endpoint, self.identity(), hedge, deadline).await {
                    Err(DialError::Refused) => {
                        let config = self.session(None);
                        Err(look(&self.endpoint, config, deadline).await)
                    }
                    opened => opened,
                }
            }
            keys => {
                let config = self.session(keys.clone());
                let link = Link::open(&self.endpoint, config, deadline).await;
                link.map(|link| Line::Own(Box::new(link)))
            }
        };
        match opened {
            Ok(link) => {
                self.link = Some(link);
                self.state = DialState::Connected;
                Ok(())
            }
            Err(error) => {
                self.state = DialState::from(&error);
                Err(error)
            }
        }
    }

    /// Connects, and waits for somebody to listen as long as the deadline allows.
    pub async fn connect_patiently(&mut self, deadline: Instant) -> Result<(), DialError> {
        let mut known = None;
        let mut pause = PATIENCE_MIN;
        loop {
            // A plain connection says at once that nobody listens, the library only in time.
            let reached = match (&self.link, &self.security) {
                (None, None) => timeout_at(deadline, reach(&self.endpoint)).await,
                (Some(_), _) | (_, Some(_)) => Ok(Ok(())),
            };
            let connected = match reached {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) | Err(_) => self.connect(deadline).await,
            };
            match connected {
                Err(error @ (DialError::NobodyListens | DialError::Refused))
                    if Instant::now() + pause < deadline =>
                {
                    known = Some(error);
                    sleep(pause).await;
                    pause = (pause * 5 / 4).min(PATIENCE_MAX);
                }
                // The last attempt may have been too short to find out what the others did.
                Err(DialError::Unreachable(io::ErrorKind::TimedOut)) if known.is_some() => {
                    let error = known.expect("checked in the pattern");
                    self.state = DialState::from(&error);
                    return Err(error);
                }
                Err(error) => {
                    self.state = DialState::from(&error);
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// One request and its reply, by the deadline. A connection that turns out to be lost is
    /// replaced once; after silence it is dropped, so a late reply meets nobody.
    pub async fn request(
        &mut self,
        frames: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, DialError> {
        let was_open = self.link.is_some();
        self.connect(deadline).await?;
        match self.exchange(frames.clone(), deadline).await {
            Err(DialError::Closed) if was_open => {
                self.connect(deadline).await?;
                self.exchange(frames, deadline).await
            }
            result => result,
        }
    }

    async fn exchange(
        &mut self,
        frames: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, DialError> {
        let link = self.link.as_mut().expect("connected two lines above");
        let result = match timeout_at(deadline, link.exchange(frames)).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => error,
            Err(_) => DialError::Silent,
        };
        self.link = None;
        self.state = DialState::from(&result);
        Err(result)
    }

    fn session(&self, keys: Option<Arc<CurveClient>>) -> SessionConfig {
        SessionConfig {
            socket_type: SocketType::Req,
            announce: self.identity().unwrap_or_default().into(),
            // Answers come by roles of ours.
            limits: Arc::new(WireLimits::default().with_room()),
            side: Side::Dialling(keys),
            is_near: false,
        }
    }

    fn identity(&self) -> Option<String> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let name = self.name.as_ref()?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Some(format!("{name}#{}.{count}", std::process::id()))
    }
}

/// Opens a socket and finishes the handshake, or says in which way it could not.
async fn open(
    endpoint: &Endpoint,
    identity: Option<String>,
    hedge: Duration,
    deadline: Instant,
) -> Result<Line, DialError> {
    let mut options = SocketOptions::default();
    options.connect_timeout(deadline.saturating_duration_since(Instant::now()));
    if let Some(identity) = identity.and_then(|name| name.parse().ok()) {
        options.peer_identity(identity);
    }
    let mut socket = ReqSocket::with_options(options);
    let mut monitor = socket.monitor();
    let text = endpoint.to_string();
    let looked = {
        let connecting = socket.connect(&text);
        let looking = async {
            sleep(hedge).await;
            reach(endpoint).await
        };
        tokio::pin!(connecting, looking);
        let mut is_reached = false;
        loop {
            tokio::select! {
                biased;
                // Cancel safe: what is dropped unfinished is a connection nobody has used.
                done = &mut connecting => break done.map_err(|error| fault(&error, is_reached)),
                reached = &mut looking, if !is_reached => match reached {
                    Ok(()) => is_reached = true,
                    Err(error) => break Err(error),
                },
                () = sleep_until(deadline) => break Err(late(is_reached)),
            }
        }
    };
    looked?;
    let announced = match monitor.try_recv() {
        Ok(SocketEvent::Connected(_, id)) => Bytes::copy_from_slice(id.as_ref()),
        _ => Bytes::new(),
    };
    Ok(Line::Plain {
        watch: None,
        socket,
        announced,
    })
}

/// Why somebody broke off a handshake of the library, which does not say: asked for once more, by
/// our own session, for the reason alone.
async fn look(endpoint: &Endpoint, config: SessionConfig, deadline: Instant) -> DialError {
    match Link::open(endpoint, config, deadline).await {
        Err(error @ (DialError::Speaks(_) | DialError::NotZmtp)) => error,
        Ok(_) | Err(_) => DialError::Refused,
    }
}

fn late(is_reached: bool) -> DialError {
    if is_reached {
        DialError::NoHandshake
    } else {
        DialError::Unreachable(io::ErrorKind::TimedOut)
    }
}

fn fault(error: &ZmqError, is_reached: bool) -> DialError {
    match error {
        ZmqError::ConnectTimeout(_) => late(is_reached),
        ZmqError::Network(error) => DialError::from(error),
        ZmqError::Endpoint(_) => DialError::Unreachable(io::ErrorKind::InvalidInput),
        _ => DialError::Refused,
    }
}

impl From<&io::Error> for DialError {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::NobodyListens,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Refused,
            kind => Self::Unreachable(kind),
        }
    }
}

/// What the end of a connection says of whom we dialled, before its handshake was done.
impl From<&CloseReason> for DialError {
    fn from(reason: &CloseReason) -> Self {
        match reason {
            CloseReason::Io(kind) => Self::from(&io::Error::from(*kind)),
            CloseReason::HandshakeTimeout => Self::NoHandshake,
            CloseReason::NotZmtp => Self::NotZmtp,
            CloseReason::Mechanism { theirs, .. } => Self::Speaks(*theirs),
            CloseReason::WrongServerKey => Self::WrongServerKey,
            CloseReason::KeyRefused => Self::KeyRefused,
            CloseReason::Peer
            | CloseReason::OtherEnd
            | CloseReason::Key { .. }
            | CloseReason::Protocol(_)
            | CloseReason::Limit(_)
            | CloseReason::Vanished
            | CloseReason::Kicked => Self::Refused,
        }
    }
}

/// A plain connection, closed at once: the library retries what is refused and says only that it
/// timed out.
async fn reach(endpoint: &Endpoint) -> Result<(), DialError> {
    match endpoint {
        Endpoint::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map(drop),
        Endpoint::Ipc { path } => UnixStream::connect(path).await.map(drop),
    }
    .map_err(|error| DialError::from(&error))
}
