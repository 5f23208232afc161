//! The dialling side of a replica: one task and one connection a peer.
//!
//! It never blocks the start: a peer that is not up yet is dialled again with backoff, and at once
//! when a broadcast comes. It decides nothing and reports everything.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::model::endpoint::Endpoint;
use crate::model::key::PublicKey;
use crate::wire::dial::DialState;
use crate::wire::keyed::{KeyedDialler, Keys};

/// Bounces that wait for one peer; one more is lost at once.
const JOBS_MAX: usize = 1_024;
/// The first rest after a failed attempt to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest rest.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long an attempt may take that nobody waits for.
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// A frame for a peer.
pub(super) struct Job {
    pub(super) broadcast: u64,
    pub(super) frame: Bytes,
    pub(super) until: Instant,
}

/// What happened with a peer.
pub(super) enum News {
    State {
        peer: usize,
        state: DialState,
    },
    Answered {
        broadcast: u64,
        peer: usize,
        frames: Vec<Bytes>,
    },
    Lost {
        broadcast: u64,
        peer: usize,
        reason: &'static str,
    },
}

/// The task of a peer. It ends when this is dropped, whatever it waits for: what is still on its way
/// then was asked of somebody who is no longer a member.
pub(super) struct Bouncing {
    jobs: mpsc::Sender<Job>,
    keys: watch::Sender<(Keys, Vec<PublicKey>)>,
    task: JoinHandle<()>,
}

impl Bouncing {
    /// Whether a job was taken; one too many is not.
    pub(super) fn takes(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }

    /// Hands it other keys to dial with, and those of the peer by which a connection lives on.
    pub(super) fn rekey(&self, keys: Keys, retired: Vec<PublicKey>) {
        // Its task ends only when this is dropped.
        self.keys.send_replace((keys, retired));
    }
}

impl Drop for Bouncing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts the task of a peer.
pub(super) fn start(
    peer: usize,
    own_name: &str,
    (endpoint, keys): (&Endpoint, Keys),
    tell: mpsc::Sender<News>,
) -> Bouncing {
    let (jobs, queue) = mpsc::channel(JOBS_MAX);
    let dialler = KeyedDialler::new(endpoint.clone(), Some(own_name.to_owned()), keys.clone());
    let (keys, rekeyed) = watch::channel((keys, Vec::new()));
    let bouncer = Bouncer {
        peer,
        dialler,
        rekeyed,
        told: DialState::NeverDialled,
        tell,
    };
    let task = tokio::spawn(bouncer.run(queue));
    Bouncing { jobs, keys, task }
}

struct Bouncer {
    peer: usize,
    dialler: KeyedDialler,
    rekeyed: watch::Receiver<(Keys, Vec<PublicKey>)>,
    told: DialState,
    tell: mpsc::Sender<News>,
}

impl Bouncer {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut backoff = BACKOFF_MIN;
        let mut again = Instant::now();
        loop {
            if self.dialler.is_connected() {
                backoff = BACKOFF_MIN;
            }
            tokio::select! {
                biased;
                // Cancel safe: a job that is not handed out stays.
                job = queue.recv() => match job {
                    Some(job) => self.bounce(job).await,
                    None => return,
                },
                // Cancel safe: a change that is not seen stays.
                Ok(()) = self.rekeyed.changed() => {
                    let (keys, retired) = self.rekeyed.borrow_and_update().clone();
                    self.dialler.rekey(keys, &retired);
                    again = Instant::now();
                }
                // Cancel safe: what was read stays with the connection.
                () = self.dialler.lost() => again = Instant::now(),
                () = sleep_until(again), if !self.dialler.is_connected() => {
                    drop(self.dialler.connect(Instant::now() + CONNECT_WAIT).await);
                    again = Instant::now() + backoff.mul_f64(0.75 + fastrand::f64() / 2.0);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
            self.tell_state().await;
        }
    }

    async fn bounce(&mut self, job: Job) {
        let (peer, broadcast) = (self.peer, job.broadcast);
        let news = match self.dialler.request(vec![job.frame], job.until).await {
            Ok(frames) => News::Answered {
                broadcast,
                peer,
                frames,
            },
            Err(error) => News::Lost {
                broadcast,
                peer,
                reason: error.as_str(),
            },
        };
        // The node may be gone; then nobody asks.
        drop(self.tell.send(news).await);
    }

    async fn tell_state(&mut self) {
        let (peer, state) = (self.peer, self.dialler.state());
        if state != self.told {
            self.told = state;
            drop(self.tell.send(News::State { peer, state }).await);
        }
    }
}
