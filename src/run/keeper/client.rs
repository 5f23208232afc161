//! Clients of a keeper: an async one with events for the supervisor, and a blocking one for
//! commands and for whoever starts keepers.
//!
//! Every request has a deadline. A keeper that does not answer by it counts as lost: it is never
//! asked twice, since a spawn that was late may still have happened; the list says.
//!
//! The async client is a task that owns the socket. It ends when every [`KeeperClient`] is dropped
//! or the keeper is gone; [`Events::next`] then gives nothing more.

mod task;

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::frame::{self, FrameError};
use super::protocol::{
    Answer, Ask, Child, Event, Frame, Hello, Refusal, Remain, Request, SendSignal, Spawn, Spawned,
    VERSION,
};
use crate::model::layout::Layout;
use crate::model::limits::runner::{KEEPER_ANSWER_MS, KEEPER_HELLO_MS, SUPERVISOR_QUEUE_MAX};
use crate::model::name::InstanceName;

/// Why a keeper did not do what it was asked.
#[derive(Debug)]
pub enum KeeperError {
    /// No keeper listens on the network's socket.
    NotRunning,
    /// The connection broke or was closed: the keeper is gone.
    Lost,
    /// No answer by the deadline.
    Silent,
    /// Its bytes are not the protocol.
    Garbled(FrameError),
    /// The keeper of another network listens there.
    Stranger {
        /// The state directory of that network.
        state: PathBuf,
    },
    /// It said no, and why.
    Refused(Refusal),
    /// The socket cannot be used.
    Socket(io::Error),
}

impl fmt::Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no keeper runs"),
            Self::Lost => f.write_str("the keeper is gone"),
            Self::Silent => write!(f, "the keeper did not answer within {KEEPER_ANSWER_MS} ms"),
            Self::Garbled(error) => write!(f, "the keeper's answer: {error}"),
            Self::Stranger { state } => {
                write!(f, "the keeper of `{}` listens there", state.display())
            }
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Socket(error) => write!(f, "the keeper's socket: {error}"),
        }
    }
}

impl std::error::Error for KeeperError {}

impl From<io::Error> for KeeperError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, TimedOut, UnexpectedEof,
            WouldBlock,
        };
        match error.kind() {
            NotFound | ConnectionRefused => Self::NotRunning,
            BrokenPipe | ConnectionReset | UnexpectedEof => Self::Lost,
            WouldBlock | TimedOut => Self::Silent,
            _ => Self::Socket(error),
        }
    }
}

/// How long a keeper may take to say who it is.
pub(super) const HELLO_WAIT: Duration = Duration::from_millis(KEEPER_HELLO_MS);
/// What most answers fit into, so that each is one read.
const READ_BYTES: usize = 1024;

/// A request on its way to the task that owns the socket.
struct Call {
    ask: Ask,
    reply: oneshot::Sender<Result<Answer, KeeperError>>,
}

/// The async client: cheap to clone, usable from every task.
#[derive(Debug, Clone)]
pub struct KeeperClient {
    calls: mpsc::Sender<Call>,
    hello: Hello,
}

/// The events of a keeper, in the order they happened.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    task: tokio::task::JoinHandle<()>,
}

impl Events {
    /// The next event; nothing when the keeper is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// One that is there already.
    pub fn ready(&mut self) -> Option<Event> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeeperClient {
    /// Speaks over a connection that `launch::ensure` or [`connect`] gave, and watches: the list of
    /// children is what ran before the first event.
    ///
    /// Needs a tokio runtime with io and time.
    pub async fn start(connection: Blocking) -> Result<(Self, Vec<Child>, Events), KeeperError> {
        let Blocking { stream, hello, .. } = connection;
        stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(stream)?;
        let (calls, waiting) = mpsc::channel(SUPERVISOR_QUEUE_MAX);
        let (sender, receiver) = mpsc::channel(SUPERVISOR_QUEUE_MAX);
        let task = tokio::spawn(task::run(stream, waiting, sender));
        let events = Events { receiver, task };
        let client = Self { calls, hello };
        match client.ask(Ask::Watch).await? {
            Answer::Children(children) => Ok((client, children, events)),
            other => Err(unexpected(&other)),
        }
    }

    /// Who the keeper is.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    async fn send(
        &self,
        ask: Ask,
    ) -> Result<oneshot::Receiver<Result<Answer, KeeperError>>, KeeperError> {
        let (reply, answer) = oneshot::channel();
        self.calls
            .send(Call { ask, reply })
            .await
            .map_err(|_| KeeperError::Lost)?;
        Ok(answer)
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, KeeperError> {
        answered(self.send(ask).await?).await
    }

    /// Starts a process.
    pub async fn spawn(&self, spawn: Spawn) -> Result<Spawned, KeeperError> {
        spawned(self.ask(Ask::Spawn(Box::new(spawn))).await?)
    }

    /// Starts many processes without waiting between them; the results are in the same order.
    pub async fn spawn_all(&self, spawns: Vec<Spawn>) -> Vec<Result<Spawned, KeeperError>> {
        let mut results = Vec::with_capacity(spawns.len());
        let mut waiting = Vec::with_capacity(spawns.len());
        for spawn in spawns {
            waiting.push(self.send(Ask::Spawn(Box::new(spawn))).await);
        }
        for answer in waiting {
            results.push(match answer {
                Ok(answer) => answered(answer).await.and_then(spawned),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Sends a signal; how many processes or groups got it.
    pub async fn signal(&self, send: SendSignal) -> Result<u32, KeeperError> {
        match self.ask(Ask::Signal(send)).await? {
            Answer::Signalled { count } => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// What runs, and what ended since it was last started.
    pub async fn list(&self) -> Result<Vec<Child>, KeeperError> {
        children(self.ask(Ask::List).await?)
    }

    /// Which processes of these instances live; of the whole network where none are named.
    pub async fn remains(
        &self,
        instances: Option<Vec<InstanceName>>,
    ) -> Result<Vec<Remain>, KeeperError> {
        remains(self.ask(Ask::Remains { instances }).await?)
    }

    /// Sets when an instance's log is rotated, and rotates it now where asked.
    pub async fn rotate(
        &self,
        instance: InstanceName,
        size_bytes: u64,
        keep: u32,
        now: bool,
    ) -> Result<(), KeeperError> {
        let ask = Ask::Rotate {
            instance,
            size_bytes,
            keep,
            now,
        };
        self.ask(ask).await.map(|_| ())
    }

    /// Ends the keeper. Refused while a process of the network lives; the supervisor is given two
    /// seconds to end by itself.
    pub async fn quit(&self) -> Result<(), KeeperError> {
        self.ask(Ask::Quit).await.map(|_| ())
    }
}

async fn answered(
    answer: oneshot::Receiver<Result<Answer, KeeperError>>,
) -> Result<Answer, KeeperError> {
    match tokio::time::timeout(Duration::from_millis(KEEPER_ANSWER_MS), answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(KeeperError::Lost),
        Err(_) => Err(KeeperError::Silent),
    }
}

/// The blocking client: one request after another.
#[derive(Debug)]
pub struct Blocking {
    stream: UnixStream,
    hello: Hello,
    next_id: u64,
}

/// Connects to the keeper of a network, if one runs; never starts one.
pub fn connect(layout: &Layout) -> Result<Blocking, KeeperError> {
    connect_within(layout, HELLO_WAIT)
}

/// The same, for who has something else to do where it does not answer so soon.
pub fn connect_within(layout: &Layout, patience: Duration) -> Result<Blocking, KeeperError> {
    let stream = UnixStream::connect(layout.keeper_socket())?;
    Blocking::greet(stream, layout, patience)
}

impl Blocking {
    /// Asks whoever listens who it is, and insists on the keeper of this network.
    pub(super) fn greet(
        stream: UnixStream,
        layout: &Layout,
        patience: Duration,
    ) -> Result<Self, KeeperError> {
        let deadline = Some(patience);
        stream.set_read_timeout(deadline)?;
        stream.set_write_timeout(deadline)?;
        let mut client = Self {
            stream,
            hello: Hello {
                version: VERSION,
                pid: 0,
                state: PathBuf::new(),
                boot_id: String::new(),
                supervisor: None,
            },
            next_id: 1,
        };
        match client.ask(Ask::Hello { version: VERSION })? {
            Answer::Hello(hello) if hello.state == layout.state => client.hello = hello,
            Answer::Hello(hello) => return Err(KeeperError::Stranger { state: hello.state }),
            other => return Err(unexpected(&other)),
        }
        let deadline = Some(Duration::from_millis(KEEPER_ANSWER_MS));
        client.stream.set_read_timeout(deadline)?;
        client.stream.set_write_timeout(deadline)?;
        Ok(client)
    }

    /// Who the keeper is.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Sends one request and waits for its answer; events in between are passed over.
    pub fn ask(&mut self, ask: Ask) -> Result<Answer, KeeperError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut bytes = Vec::new();
        frame::encode(&Request { id, ask }, &mut bytes).map_err(KeeperError::Garbled)?;
        self.stream.write_all(&bytes)?;
        loop {
            match self.read()? {
                Frame::Answer { id: of, answer } if of == id => return Ok(answer),
                Frame::Refused { id: of, refusal } if of == id || of == 0 => {
                    return Err(KeeperError::Refused(refusal));
                }
                Frame::Answer { .. } | Frame::Refused { .. } | Frame::Event(_) => {}
            }
        }
    }

    fn read(&mut self) -> Result<Frame, KeeperError> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let bytes = u32::from_le_bytes(head) as usize;
        let mut frame = Vec::with_capacity(READ_BYTES);
        frame.extend_from_slice(&head);
        // Grows as bytes arrive, so a wrong length costs no memory.
        let got = (&mut self.stream)
            .take(bytes as u64)
            .read_to_end(&mut frame)?;
        match frame::decode(&frame).map_err(KeeperError::Garbled)? {
            Some((_, frame)) => frame.map_err(KeeperError::Garbled),
            None if got < bytes => Err(KeeperError::Lost),
            None => Err(KeeperError::Garbled(FrameError::TooLong { bytes })),
        }
    }

    /// What runs, and what ended since it was last started.
    pub fn list(&mut self) -> Result<Vec<Child>, KeeperError> {
        children(self.ask(Ask::List)?)
    }

    /// Starts a process.
    pub fn spawn(&mut self, spawn: Spawn) -> Result<Spawned, KeeperError> {
        spawned(self.ask(Ask::Spawn(Box::new(spawn)))?)
    }

    /// Sends a signal; how many processes or groups got it.
    pub fn signal(&mut self, send: SendSignal) -> Result<u32, KeeperError> {
        match self.ask(Ask::Signal(send))? {
            Answer::Signalled { count } => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// Which processes of these instances live; of the whole network where none are named.
    pub fn remains(
        &mut self,
        instances: Option<Vec<InstanceName>>,
    ) -> Result<Vec<Remain>, KeeperError> {
        remains(self.ask(Ask::Remains { instances })?)
    }

    /// Lets the keeper end. Refused while a process of the network lives; the connection is good for
    /// more then.
    pub fn ask_to_quit(&mut self) -> Result<(), KeeperError> {
        self.ask(Ask::Quit).map(drop)
    }

    /// Has the network taken down, and waits at most so long until nothing of it lives but keeper and
    /// supervisor, which then end. One that is silent goes on with it.
    pub fn take_down(&mut self, wait: Duration) -> Result<(), KeeperError> {
        self.stream.set_read_timeout(Some(wait))?;
        self.ask(Ask::TakeDown)?;
        match self.read()? {
            Frame::Event(Event::Quitting) => Ok(()),
            Frame::Event(_) | Frame::Answer { .. } | Frame::Refused { .. } => {
                Err(KeeperError::Silent)
            }
        }
    }

    /// Waits until a keeper that was asked to quit closed the connection, the last thing it does.
    pub fn await_end(&mut self) -> Result<(), KeeperError> {
        let mut rest = Vec::new();
        match (&mut self.stream).take(1024 * 1024).read_to_end(&mut rest) {
            Ok(_) => Ok(()),
            Err(error) => match KeeperError::from(error) {
                KeeperError::Lost => Ok(()),
                other => Err(other),
            },
        }
    }
}

fn spawned(answer: Answer) -> Result<Spawned, KeeperError> {
    match answer {
        Answer::Spawned(spawned) => Ok(spawned),
        other => Err(unexpected(&other)),
    }
}

fn children(answer: Answer) -> Result<Vec<Child>, KeeperError> {
    match answer {
        Answer::Children(children) => Ok(children),
        other => Err(unexpected(&other)),
    }
}

fn remains(answer: Answer) -> Result<Vec<Remain>, KeeperError> {
    match answer {
        Answer::Remains(remains) => Ok(remains),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> KeeperError {
    KeeperError::Garbled(FrameError::Malformed {
        id: 0,
        message: format!("an answer to another verb: {answer:?}"),
    })
}
