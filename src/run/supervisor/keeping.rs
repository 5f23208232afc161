//! The connection to the keeper: made, lost, made again. What it says is for `hearing`.

use std::fmt;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::recovery::Records;
use crate::model::layout::Layout;
use crate::run::keeper::client::{self, Blocking, Events, KeeperClient, KeeperError};
use crate::run::keeper::launch::{self, Supervision};
use crate::run::keeper::protocol::{Child, Event as KeeperEvent, Refusal, RefusalKind};

/// The first pause before a lost keeper is looked for, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(5);

type Connected = (KeeperClient, Vec<Child>, Events);

/// Where the connection stands.
enum Link {
    /// None; the next is tried at a time.
    Lost { retry_at: Instant },
    /// One is being made.
    Connecting(JoinHandle<Result<Connected, ConnectError>>),
    /// It is there.
    Live {
        client: KeeperClient,
        events: Events,
    },
}

/// Why there is no connection.
#[derive(Debug)]
enum ConnectError {
    Keeper(KeeperError),
    Launch(launch::LaunchError),
    Stopped,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keeper(error) => write!(f, "{error}"),
            Self::Launch(error) => write!(f, "{error}"),
            Self::Stopped => f.write_str("the task that connects was stopped"),
        }
    }
}

/// What the connection has to say.
pub(super) enum News {
    /// It is there, and this is what runs.
    Live(Vec<Child>),
    /// A child ended, or said something.
    Event(KeeperEvent),
    /// It is gone; what runs, runs on.
    Lost,
}

/// The connection to the keeper.
pub(super) struct Keeping {
    link: Link,
    pause: Duration,
    /// What an earlier supervisor left, until the first list is compared with it.
    records: Option<Records>,
}

impl Keeping {
    /// Greets the keeper, which has just started us as a rule and answers at once: until it is
    /// known what runs there is nothing else to do. Needs a tokio runtime.
    pub(super) fn new(records: Records, layout: &Layout) -> Self {
        let link = match client::connect(layout) {
            Ok(connection) => Link::Connecting(tokio::spawn(watch(connection))),
            Err(_) => Link::Lost {
                retry_at: Instant::now(),
            },
        };
        Self {
            link,
            pause: PAUSE_MIN,
            records: Some(records),
        }
    }

    /// The keeper, while it is there.
    pub(super) fn client(&self) -> Option<KeeperClient> {
        match &self.link {
            Link::Live { client, .. } => Some(client.clone()),
            Link::Lost { .. } | Link::Connecting(_) => None,
        }
    }

    /// Whether the keeper is there.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.link, Link::Live { .. })
    }

    /// Whether it is known what runs.
    pub(super) fn has_list(&self) -> bool {
        self.records.is_none()
    }

    /// The boot that its start times are of.
    pub(super) fn boot_id(&self) -> String {
        self.client()
            .map(|client| client.hello().boot_id.clone())
            .unwrap_or_default()
    }

    /// Its process, while it is there.
    pub(super) fn pid(&self) -> u32 {
        self.client().map_or(0, |client| client.hello().pid)
    }

    /// What an earlier supervisor left, once: when the first list is there to compare it with.
    pub(super) fn take_records(&mut self) -> Option<Records> {
        self.records.take()
    }

    /// Gives up a connection that does not answer.
    pub(super) fn lost(&mut self) {
        if let Link::Live { .. } = self.link {
            self.link = Link::Lost {
                retry_at: Instant::now(),
            };
        }
    }

    /// What else has happened already.
    pub(super) fn ready_event(&mut self) -> Option<KeeperEvent> {
        match &mut self.link {
            Link::Live { events, .. } => events.ready(),
            Link::Lost { .. } | Link::Connecting(_) => None,
        }
    }

    /// The next news. Cancel safe: what is under way is kept.
    pub(super) async fn next(&mut self, layout: &Layout) -> News {
        loop {
            match &mut self.link {
                Link::Live { events, .. } => match events.next().await {
                    Some(event) => return News::Event(event),
                    None => {
                        self.link = Link::Lost {
                            retry_at: Instant::now(),
                        };
                        return News::Lost;
                    }
                },
                Link::Lost { retry_at } => {
                    // A sleep counts whole milliseconds, also one that is over already.
                    if *retry_at > Instant::now() {
                        tokio::time::sleep_until(*retry_at).await;
                    }
                    self.link = Link::Connecting(tokio::spawn(connect(layout.clone())));
                }
                Link::Connecting(task) => {
                    let connected = task.await.unwrap_or(Err(ConnectError::Stopped));
                    match connected {
                        Ok((client, children, events)) => {
                            self.pause = PAUSE_MIN;
                            self.link = Link::Live { client, events };
                            return News::Live(children);
                        }
                        Err(error) => {
                            tracing::warn!(%error, "no keeper");
                            self.link = Link::Lost {
                                retry_at: Instant::now() + self.pause,
                            };
                            self.pause = (self.pause * 2).min(PAUSE_MAX);
                        }
                    }
                }
            }
        }
    }
}

/// Connects to the keeper that lives, else starts one.
async fn connect(layout: Layout) -> Result<Connected, ConnectError> {
    let found = tokio::task::spawn_blocking(move || match client::connect(&layout) {
        Ok(connection) => Ok(connection),
        Err(KeeperError::NotRunning | KeeperError::Lost) => {
            launch::ensure(&layout, Supervision::Supervised).map_err(ConnectError::Launch)
        }
        Err(error) => Err(ConnectError::Keeper(error)),
    });
    let connection = found.await.unwrap_or(Err(ConnectError::Stopped))?;
    watch(connection).await
}

async fn watch(connection: Blocking) -> Result<Connected, ConnectError> {
    KeeperClient::start(connection)
        .await
        .map_err(ConnectError::Keeper)
}

/// What cannot be asked of the keeper, as if it had refused it.
pub(super) fn refusal(fault: &impl fmt::Display) -> Refusal {
    Refusal {
        kind: RefusalKind::Invalid,
        message: fault.to_string(),
        errno: None,
    }
}
