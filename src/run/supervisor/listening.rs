//! Probes that are told: an instance that dials its prober, and a log in which a line is awaited.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use regex::bytes::Regex;

use super::acting::{Outcome, Supervisor};
use super::network::Life;
use super::prober::expected;
use crate::model::limits::runner::{LOG_PROBE_BYTES_MAX, LOG_PROBE_PAUSE_MS};
use crate::model::name::InstanceName;
use crate::model::policy::{Probe, ProbeHow, Secured};
use crate::model::socket::SocketType;
use crate::run::keys::{KeyDir, KeyDirError};
use crate::run::procfs;
use crate::wire::hub::{Admission, ConnId, Guard, Security};

/// What the hub calls the ports of probers: this, then the instance's name.
const PREFIX: &str = "prober:";

/// The private listeners of instances that dial their prober.
#[derive(Debug, Default)]
pub(super) struct Listening {
    probers: BTreeMap<String, Prober>,
    /// The keys of those that are encrypted.
    guards: BTreeMap<String, Arc<Guard>>,
    last_try: u64,
}

/// One of them.
#[derive(Debug, Default)]
struct Prober {
    /// The connection that its instance made last.
    conn: Option<ConnId>,
    asked: Option<Asked>,
}

/// A try that is under way.
#[derive(Debug)]
struct Asked {
    life: Life,
    number: u64,
    begun: Instant,
    expect: Option<String>,
}

impl Supervisor {
    /// Listens for an instance that dials its prober, before it is started.
    pub(super) fn expect_dialler(&mut self, name: &InstanceName) {
        let Some(member) = self.network.members.get(name) else {
            return;
        };
        let ProbeHow::Dialled {
            endpoint, secured, ..
        } = &member.process().probe.how
        else {
            return;
        };
        let port = format!("{PREFIX}{name}");
        let security = match admission(secured.as_deref()) {
            Ok(None) => Security::Open,
            Ok(Some(admission)) => {
                // The instance reads its keys when it starts, and so is it with its prober.
                let nobody = || Arc::new(Guard::new(Admission::default()));
                let guards = &mut self.listening.guards;
                let guard = guards.entry(port.clone()).or_insert_with(nobody);
                guard.replace(admission);
                Security::Curve(guard.clone())
            }
            Err(error) => {
                tracing::error!(%error, instance = %name, "its prober has no keys");
                return;
            }
        };
        if self.listening.probers.contains_key(&port) {
            return;
        }
        match self
            .hub
            .listen(&port, endpoint, SocketType::Dealer, security)
        {
            Ok(()) => {
                self.listening.probers.insert(port, Prober::default());
            }
            Err(error) => tracing::error!(%error, instance = %name, "its prober cannot listen"),
        }
    }

    pub(super) fn dialler_opened(&mut self, port: &str, conn: ConnId) {
        if let Some(prober) = self.listening.probers.get_mut(port) {
            prober.conn = Some(conn);
        }
    }

    pub(super) fn dialler_closed(&mut self, port: &str, conn: ConnId) {
        if let Some(prober) = self.listening.probers.get_mut(port)
            && prober.conn == Some(conn)
        {
            prober.conn = None;
        }
    }

    pub(super) fn dialler_answered(&mut self, port: &str, conn: ConnId, frames: &[Bytes]) {
        let Some(prober) = self.listening.probers.get_mut(port) else {
            return;
        };
        let Some(asked) = prober.asked.take_if(|_| prober.conn == Some(conn)) else {
            return;
        };
        let tried = expected(frames, asked.expect.as_deref()).map(|()| asked.begun.elapsed());
        let (name, generation) = asked.life;
        self.tried(self.clock.now(), &name, generation, tried);
    }

    /// Asks over the connection that the instance made. After a miss the connection is closed, so
    /// that the next try is over a fresh one.
    pub(super) fn ask_dialler(&mut self, life: Life, probe: &Probe) {
        let ProbeHow::Dialled { send, expect, .. } = &probe.how else {
            return;
        };
        let now = self.clock.now();
        let timeout = Duration::from_millis(probe.timeout_ms);
        self.listening.last_try += 1;
        let number = self.listening.last_try;
        let prober = self
            .listening
            .probers
            .get_mut(&format!("{PREFIX}{}", life.0));
        let Some((prober, conn)) = prober
            .and_then(|prober| Some((prober.conn?, prober)))
            .map(|(c, p)| (p, c))
        else {
            let why = "has not dialled its prober".to_owned();
            self.tried(now, &life.0, life.1, Err(why));
            return;
        };
        let frames = vec![Bytes::new(), Bytes::from(send.clone())];
        if self.hub.send(conn, frames).is_err() {
            prober.conn = None;
            self.tried(
                now,
                &life.0,
                life.1,
                Err("lost its connection to its prober".to_owned()),
            );
            return;
        }
        prober.asked = Some(Asked {
            life: life.clone(),
            number,
            begun: Instant::now(),
            expect: expect.clone(),
        });
        let outcomes = self.outcomes.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(timeout).await;
            drop(outcomes.send(Outcome::Unanswered(life.0, number)).await);
        });
    }

    /// A try's time is over; it was missed if it is still the one under way.
    pub(super) fn unanswered(&mut self, name: &InstanceName, number: u64) {
        let Some(prober) = self.listening.probers.get_mut(&format!("{PREFIX}{name}")) else {
            return;
        };
        let Some(asked) = prober.asked.take_if(|asked| asked.number == number) else {
            return;
        };
        if let Some(conn) = prober.conn.take() {
            self.hub.close(conn);
        }
        let why = "did not answer its prober in time".to_owned();
        self.tried(self.clock.now(), &asked.life.0, asked.life.1, Err(why));
    }

    /// Reads a log from where a life began until a line matches or its process is gone.
    pub(super) fn follow_log(&mut self, life: Life, pid: u32, regex: String, from: u64) {
        let path = self.layout.log_file(life.0.as_str());
        let outcomes = self.outcomes.clone();
        let Ok(regex) = Regex::new(&regex) else {
            tracing::error!(instance = %life.0, "its `log` probe is no regular expression");
            return;
        };
        self.tasks.spawn(async move {
            let mut reader = LineReader {
                path,
                at: from,
                rest: Vec::new(),
            };
            let start_time = procfs::stat(pid).map(|stat| stat.start_time);
            loop {
                if reader.matches(&regex) {
                    drop(outcomes.send(Outcome::LogTold(life)).await);
                    return;
                }
                if start_time.is_none()
                    || procfs::stat(pid).map(|stat| stat.start_time) != start_time
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(LOG_PROBE_PAUSE_MS)).await;
            }
        });
    }
}

/// Whom a prober that listens admits, where it is encrypted.
fn admission(secured: Option<&Secured>) -> Result<Option<Admission>, KeyDirError> {
    let Some(Secured::Listens(guarded)) = secured else {
        return Ok(None);
    };
    let ring = KeyDir::open(&guarded.keys)?.ring(guarded)?;
    Ok(Some(ring.into()))
}

/// Reads what was appended to a log, line by line.
struct LineReader {
    path: PathBuf,
    at: u64,
    /// A line that has no end yet.
    rest: Vec<u8>,
}

impl LineReader {
    /// Whether a line that was appended since the last look matches.
    fn matches(&mut self, regex: &Regex) -> bool {
        let Ok(bytes) = read_from(&self.path, self.at) else {
            return false;
        };
        self.at += bytes.len() as u64;
        self.rest.extend(bytes);
        let Some(last) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            if self.rest.len() > LOG_PROBE_BYTES_MAX {
                self.rest.clear();
            }
            return false;
        };
        let whole: Vec<u8> = self.rest.drain(..=last).collect();
        whole
            .split(|byte| *byte == b'\n')
            .any(|line| regex.is_match(line))
    }
}

fn read_from(path: &Path, at: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(LOG_PROBE_BYTES_MAX as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
