//! One ZN1 request after the other, with patience: what the clients of queues and stores stand on.
//!
//! It dials again as long as it may wait. What is asked again, since an answer was lost, has the same
//! id; that nothing is done twice for that is the verbs' concern.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::model::endpoint::Endpoint;
use crate::protocol::zn1::{self, Malformed, Reply, Request};
use crate::wire::dial::DialError;
use crate::wire::keyed::{KeyedDialler, Keys};

/// The rest before somebody who is ending or starting is asked again.
const REST: Duration = Duration::from_millis(50);

/// Why somebody could not be asked.
#[derive(Debug, Clone, PartialEq)]
pub enum AskError {
    /// It could not be reached in time, or did not answer; what the last attempt met.
    Unreached(DialError),
    /// It answered with another status: its words, and all it said.
    Refused(u16, String, Value),
    /// What it answered is no ZN1.
    Malformed(Malformed),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreached(error) => error.fmt(f),
            Self::Refused(status, words, _) => write!(f, "{words} ({status})"),
            Self::Malformed(fault) => write!(f, "its answer is not understood: {fault}"),
        }
    }
}

impl std::error::Error for AskError {}

/// A connection to a port that speaks ZN1.
pub struct Asker {
    dialler: KeyedDialler,
}

impl Asker {
    /// One that has not dialled yet.
    pub fn new(endpoint: Endpoint, keys: Keys) -> Self {
        Self {
            dialler: KeyedDialler::new(endpoint, None, keys),
        }
    }

    /// One request, whose answer is waited for that long. While nobody is there it is asked again.
    pub async fn ask(
        &mut self,
        verb: &str,
        params: Value,
        body: Vec<Bytes>,
        wait: Duration,
    ) -> Result<Reply, AskError> {
        let mut request = Request::new(verb, format!("{:016x}", fastrand::u64(..)), params);
        request.body = body;
        self.patiently(request, |_, _| {}, wait).await
    }

    /// The same, with a last word before each time it is asked: how long that is after the beginning.
    pub(super) async fn patiently(
        &mut self,
        mut request: Request,
        last_word: impl Fn(&mut Value, Duration),
        wait: Duration,
    ) -> Result<Reply, AskError> {
        let begun = Instant::now();
        let deadline = begun + wait;
        loop {
            let asked = async {
                self.dialler.connect_patiently(deadline).await?;
                last_word(&mut request.params, begun.elapsed());
                self.dialler.request(request.encode(), deadline).await
            };
            let frames = match asked.await {
                // It was connected and is gone: the loop waits for whoever comes next.
                Err(DialError::NobodyListens | DialError::Refused | DialError::Closed)
                    if Instant::now() + REST < deadline =>
                {
                    sleep(REST).await;
                    continue;
                }
                asked => asked.map_err(AskError::Unreached)?,
            };
            let reply = Reply::decode(frames).map_err(AskError::Malformed)?;
            if reply.status == zn1::UNAVAILABLE && Instant::now() + REST < deadline {
                self.dialler.reset();
                sleep(REST).await;
                continue;
            }
            if reply.is_ok() {
                return Ok(reply);
            }
            let words = reply.result["error"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            return Err(AskError::Refused(reply.status, words, reply.result));
        }
    }
}
