//! What commands say to a supervisor over its control socket: ZN1 verbs, their params and results.
//!
//! Plans and reports travel as bodies, since they may be larger than params are allowed to be. The
//! client here waits with a deadline always, and starts nothing: that is `keeper::launch`'s job.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::status::Status;
use super::supervisor::Transition;
use crate::model::endpoint::Endpoint;
use crate::model::layout::Layout;
use crate::model::name::{InstanceName, NodeName};
use crate::plan::Plan;
use crate::plan::change::Change;
use crate::protocol::zn1;
use crate::wire::dial::{DialError, Dialler};

/// How long a supervisor may take to answer what needs no waiting.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Between two looks for a supervisor that is being started; a look takes a few microseconds.
const START_PAUSE: Duration = Duration::from_micros(200);

/// Follows a plan: the body is the Plan; answered with [`Applied`].
pub const APPLY: &str = "apply";
/// What [`APPLY`] would do, which is not done: the body is the Plan; answered with [`Applied`].
pub const FORESEE: &str = "foresee";
/// Waits for transitions or for everything to be settled: [`Wait`], answered with [`Waited`].
pub const WAIT: &str = "wait";
/// Reports: [`Look`]; the answer's body is the Status.
pub const STATUS: &str = "status";
/// Starts instances: [`Names`].
pub const START: &str = "start";
/// Stops instances: [`Names`].
pub const STOP: &str = "stop";
/// Stops instances and starts them again: [`Names`].
pub const RESTART: &str = "restart";
/// Scales a node: [`Scale`]; answered when that is done.
pub const SCALE: &str = "scale";
/// Stops everything, the last rank first; answered at once.
pub const DOWN: &str = "down";

/// Params of [`APPLY`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Apply {
    /// PATH HOME USER LANG TZ TMPDIR of whoever applies. Nothing where only counts change: then these
    /// stay as they are, and so does whoever was stopped by hand or has failed.
    pub base_env: Option<BTreeMap<String, String>>,
}

/// Result of [`APPLY`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Applied {
    /// The difference that is being carried out.
    pub changes: Vec<Change>,
    /// Instances that had failed or were stopped by hand, and are started again.
    pub again: Vec<InstanceName>,
    /// The number of the last transition before it.
    pub version: u64,
}

/// Params of [`WAIT`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Wait {
    /// Only transitions after this one are told.
    pub after: u64,
    /// How long to wait for everything to be settled, in milliseconds.
    pub for_ms: u64,
    /// The instances waited for; empty is all.
    #[serde(default)]
    pub names: Vec<InstanceName>,
}

/// Result of [`WAIT`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Waited {
    /// The number of the last transition.
    pub version: u64,
    /// The transitions since, as far as they are remembered.
    pub transitions: Vec<Transition>,
    /// How many instances stand as the plan says.
    pub reached: usize,
    /// How many do not yet.
    pub pending: usize,
    /// How many do not, and nothing is under way that could change it.
    pub missed: usize,
    /// Whether all of it is being taken down.
    #[serde(default)]
    pub is_going_down: bool,
}

impl Waited {
    /// Whether nothing is under way any more.
    pub fn is_settled(&self) -> bool {
        self.pending == 0
    }
}

/// Params of [`STATUS`].
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Look {
    /// Also ask every role and the kernel about the wires.
    pub wires: bool,
}

/// Params of [`START`], [`STOP`] and [`RESTART`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Names {
    /// The instances.
    pub names: Vec<InstanceName>,
}

/// Params of [`SCALE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scale {
    /// The node.
    pub node: NodeName,
    /// How many instances it is to have.
    pub count: u32,
}

/// Why a supervisor did not do what it was asked.
#[derive(Debug)]
pub enum ControlError {
    /// It cannot be reached, or does not answer.
    Dial(DialError),
    /// It said no: a ZN1 status and why.
    Refused {
        /// The status.
        status: u16,
        /// Why.
        message: String,
    },
    /// Its answer is not what this version expects.
    Garbled(String),
    /// No event loop.
    Runtime(std::io::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => write!(f, "the supervisor does not answer: {error}"),
            Self::Refused { message, .. } => f.write_str(message),
            Self::Garbled(what) => write!(f, "the supervisor's answer is not understood: {what}"),
            Self::Runtime(error) => write!(f, "no event loop: {error}"),
        }
    }
}

impl std::error::Error for ControlError {}

/// A connection of a command to a supervisor, one request after another.
pub struct Control {
    runtime: tokio::runtime::Runtime,
    dialler: Dialler,
    last: u64,
}

/// Waits until a socket is there that is about to be. A plain look now and again finds it sooner than
/// the dialler's own patience, and costs who is starting nothing; whether somebody listens already,
/// and is who is meant, the dialler finds out.
fn await_listener(path: &Path, patience: Duration) {
    let deadline = std::time::Instant::now() + patience;
    while !path.exists() && std::time::Instant::now() < deadline {
        std::thread::sleep(START_PAUSE);
    }
}

impl Control {
    /// Dials the supervisor of a network, and waits for one that is being started.
    pub fn connect(layout: &Layout, patience: Duration) -> Result<Self, ControlError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ControlError::Runtime)?;
        let deadline = Instant::now() + patience;
        await_listener(&layout.control_socket(), patience);
        let mut dialler = Dialler::soon(Endpoint::ipc(layout.control_socket()));
        runtime
            .block_on(async {
                match dialler.connect(deadline).await {
                    // Whoever listened is gone meanwhile; a successor is waited for.
                    Err(DialError::NobodyListens | DialError::Refused) => {
                        dialler.connect_patiently(deadline).await
                    }
                    done => done,
                }
            })
            .map_err(ControlError::Dial)?;
        Ok(Self {
            runtime,
            dialler,
            last: 0,
        })
    }

    /// Sends one request and waits for its answer, and beyond it as long as it is to wait itself.
    fn ask(
        &mut self,
        verb: &str,
        params: &impl Serialize,
        body: Vec<Bytes>,
        extra: Duration,
    ) -> Result<zn1::Reply, ControlError> {
        self.last += 1;
        let params = serde_json::to_value(params).expect("our params have only text keys");
        let mut request = zn1::Request::new(verb, self.last.to_string(), params);
        request.body = body;
        let dialler = &mut self.dialler;
        let frames = self
            .runtime
            .block_on(async {
                dialler
                    .request(request.encode(), Instant::now() + ANSWER_WAIT + extra)
                    .await
            })
            .map_err(ControlError::Dial)?;
        let reply =
            zn1::Reply::decode(frames).map_err(|fault| ControlError::Garbled(fault.to_string()))?;
        if reply.is_ok() {
            return Ok(reply);
        }
        let message = reply.result["error"]
            .as_str()
            .unwrap_or("it said no")
            .to_owned();
        Err(ControlError::Refused {
            status: reply.status,
            message,
        })
    }

    fn result<T: DeserializeOwned>(reply: zn1::Reply) -> Result<T, ControlError> {
        serde_json::from_value(reply.result)
            .map_err(|error| ControlError::Garbled(error.to_string()))
    }

    /// Lets it follow a plan.
    pub fn apply(
        &mut self,
        plan: &Plan,
        base_env: Option<BTreeMap<String, String>>,
    ) -> Result<Applied, ControlError> {
        let plan = serde_json::to_vec(plan).expect("plans have only text keys");
        let reply = self.ask(
            APPLY,
            &Apply { base_env },
            vec![plan.into()],
            Duration::ZERO,
        )?;
        Self::result(reply)
    }

    /// What it would do to follow a plan. Nothing is done.
    pub fn foresee(&mut self, plan: &Plan) -> Result<Applied, ControlError> {
        let plan = serde_json::to_vec(plan).expect("plans have only text keys");
        let reply = self.ask(FORESEE, &Value::Null, vec![plan.into()], Duration::ZERO)?;
        Self::result(reply)
    }

    /// Waits until everything is settled, at most as long as `wait` says.
    pub fn wait(&mut self, wait: &Wait) -> Result<Waited, ControlError> {
        let reply = self.ask(WAIT, wait, Vec::new(), Duration::from_millis(wait.for_ms))?;
        Self::result(reply)
    }

    /// What stands how.
    pub fn status(&mut self, look: Look) -> Result<Status, ControlError> {
        let reply = self.ask(STATUS, &look, Vec::new(), Duration::ZERO)?;
        let body = reply.body.first().cloned().unwrap_or_default();
        serde_json::from_slice(&body).map_err(|error| ControlError::Garbled(error.to_string()))
    }

    /// Starts, stops or restarts instances; returns the number of the last transition before it.
    pub fn hands(&mut self, verb: &str, names: Vec<InstanceName>) -> Result<u64, ControlError> {
        let reply = self.ask(verb, &Names { names }, Vec::new(), Duration::ZERO)?;
        Ok(reply.result["version"].as_u64().unwrap_or(0))
    }

    /// Begins to stop everything.
    pub fn down(&mut self) -> Result<(), ControlError> {
        self.ask(DOWN, &Value::Null, Vec::new(), Duration::ZERO)
            .map(drop)
    }
}
