//! What a self test checks of each kind: real traffic by the clients that the commands use.
//!
//! One row a kind. A check says in one line what it saw; it must never say more than it saw.

mod stores;

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cli::attach::Interrupts;
use crate::client::asking::AskError;
use crate::client::bus::{BusError, Publisher, Subscriber};
use crate::client::courier::{Ask, Courier};
use crate::client::kv::KvError;
use crate::client::queue::{QueueClient, Submission, Submitted};
use crate::model::endpoint::Endpoint;
use crate::plan::Plan;
use crate::protocol::lazy_pirate::Schedule;
use crate::protocol::zn1::{Reply, Request};
use crate::roles::Kind;
use crate::run::control::ControlError;
use crate::wire::dial::DialError;
use crate::wire::keyed::{KeyedDialler, Keys};

/// A check of one kind.
type Check = fn(&Network) -> Result<String, Fault>;

/// One row a kind, in the order in which they are checked.
pub(super) const CHECKS: [(Kind, Check); 10] = [
    (Kind::Replica, |network| network.run(replica(network))),
    (Kind::Echo, |network| network.run(echo(network))),
    (Kind::Proxy, |network| network.run(proxy(network))),
    (Kind::Cache, |network| network.run(cache(network))),
    (Kind::Bus, |network| network.run(bus(network))),
    (Kind::Queue, |network| network.run(queue(network))),
    (Kind::Feedback, |network| network.run(feedback(network))),
    (Kind::Kv, |network| network.run(stores::kv(network))),
    (Kind::Stream, |network| network.run(stores::stream(network))),
    (Kind::Spool, |network| network.run(stores::spool(network))),
];

/// Requests, messages or tasks of a check.
const COUNT: usize = 100;
/// Tasks that are let wait for the feedback: twice its target in `network.yaml`.
const WAITING: u64 = 8;
/// Between two looks at a value that is to change.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Why something is not as it should be.
#[derive(Debug)]
pub(super) enum Fault {
    /// A command of ours could not be run, or its files not be written.
    Command(io::Error),
    /// A command of ours failed.
    Ended {
        /// Which.
        verb: &'static str,
        /// How.
        ended: ExitStatus,
        /// In its words.
        said: String,
    },
    /// Nothing came in time.
    Silent,
    /// Nobody is there.
    Dial(DialError),
    /// What the bus's client met.
    Bus(BusError),
    /// What the client of the queue, the stream or the spool met.
    Asked(AskError),
    /// What the client of a key-value store met.
    Kv(KvError),
    /// What the supervisor said.
    Control(ControlError),
    /// It works, but not as it should.
    Wrong(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::Ended { verb, ended, said } => write!(f, "`{verb}` failed ({ended}): {said}"),
            Self::Silent => f.write_str("nothing in time"),
            Self::Dial(error) => error.fmt(f),
            Self::Bus(error) => error.fmt(f),
            Self::Asked(error) => error.fmt(f),
            Self::Kv(error) => error.fmt(f),
            Self::Control(error) => error.fmt(f),
            Self::Wrong(words) => f.write_str(words),
        }
    }
}

impl From<DialError> for Fault {
    fn from(error: DialError) -> Self {
        Self::Dial(error)
    }
}

impl From<BusError> for Fault {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Self {
        Self::Asked(error)
    }
}

impl From<KvError> for Fault {
    fn from(error: KvError) -> Self {
        Self::Kv(error)
    }
}

impl From<ControlError> for Fault {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

/// The network that is checked.
pub(super) struct Network<'a> {
    plan: &'a Plan,
    /// How long each check may take.
    timeout: Duration,
    interrupts: &'a Interrupts,
}

impl<'a> Network<'a> {
    pub(super) fn new(plan: &'a Plan, timeout: Duration, interrupts: &'a Interrupts) -> Self {
        Self {
            plan,
            timeout,
            interrupts,
        }
    }

    /// Runs a check to its end, the end of its time, or an interruption.
    fn run(&self, check: impl Future<Output = Result<String, Fault>>) -> Result<String, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Fault::Command)?;
        let deadline = Instant::now() + self.timeout;
        let interrupted = async {
            while self.interrupts.exit().is_none() {
                sleep(LOOK_PAUSE).await;
            }
        };
        runtime.block_on(async {
            tokio::select! {
                // Neither is looked at again once the other is done.
                checked = timeout_at(deadline, check) => checked.unwrap_or(Err(Fault::Silent)),
                () = interrupted => Err(Fault::Silent),
            }
        })
    }

    /// Where an instance's port of a name is reached by tcp.
    fn endpoint(&self, instance: &str, port: &str) -> Result<Endpoint, Fault> {
        let planned = self.plan.instance(instance);
        let ports = planned.iter().flat_map(|it| &it.ports);
        let mut addresses = ports.filter(|it| it.port == port).map(|it| &it.address);
        let found = addresses.find(|address| address.port().is_some());
        let missing = || Fault::Wrong(format!("`{instance}` has no port `{port}`"));
        found.cloned().ok_or_else(missing)
    }

    fn dialler(&self, instance: &str, port: &str) -> Result<KeyedDialler, Fault> {
        let endpoint = self.endpoint(instance, port)?;
        Ok(KeyedDialler::new(endpoint, None, Keys::Open))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// What a role says of itself at its port.
    async fn facts(&self, dialler: &mut KeyedDialler) -> Result<Value, Fault> {
        let request = Request::new("status", Bytes::from_static(b"facts"), Value::Null);
        let deadline = self.deadline();
        dialler.connect_patiently(deadline).await?;
        let frames = dialler.request(request.encode(), deadline).await?;
        let reply = Reply::decode(frames).map_err(|fault| Fault::Wrong(fault.to_string()))?;
        match reply.is_ok() {
            true => Ok(reply.result["facts"].clone()),
            false => Err(Fault::Wrong(reply.result.to_string())),
        }
    }
}

/// What matters of what a command said: its own lines, or what a diagnostic says is wrong.
pub(super) fn gist(said: &str) -> String {
    let marks = ["zmqnet: ", "  x "];
    let matters = |line| marks.iter().find_map(|mark| str::strip_prefix(line, mark));
    let lines: Vec<&str> = said.lines().filter_map(matters).collect();
    match lines.is_empty() {
        true => said.trim().replace('\n', "; "),
        false => lines.join("; "),
    }
}

fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), Fault> {
    match is_so {
        true => Ok(()),
        false => Err(Fault::Wrong(otherwise())),
    }
}

/// A message to one replica is bounced to all others.
async fn replica(network: &Network<'_>) -> Result<String, Fault> {
    let schedule = Schedule {
        timeout: network.timeout,
        attempts: std::num::NonZeroU32::MIN,
    };
    let mut courier = Courier::new(network.endpoint("alpha", "main")?, Keys::Open, schedule);
    let ask = Ask::Message {
        sender: "alpha".to_owned(),
        text: "selftest".to_owned(),
    };
    let delivered = courier.deliver(&ask, &mut |_| ()).await;
    let delivery = delivered.map_err(|dropped| Fault::Dial(dropped.reason))?;
    let peers = delivery.peers.unwrap_or_default();
    let acked: Vec<&str> = peers
        .iter()
        .filter(|peer| peer.acked)
        .map(|peer| peer.name.as_str())
        .collect();
    expect(acked.len() == 2, || {
        format!("alpha took a message, and only {acked:?} acknowledged it of bravo and charlie")
    })?;
    Ok("alpha took a message, bravo and charlie acknowledged it".to_owned())
}

/// Sends requests one by one, each of which must come back as it is.
async fn ask(network: &Network<'_>, dialler: &mut KeyedDialler) -> Result<Duration, Fault> {
    let deadline = network.deadline();
    dialler.connect_patiently(deadline).await?;
    let start = Instant::now();
    for number in 0..COUNT {
        let sent = vec![Bytes::from(format!("request {number}")), Bytes::new()];
        let got = dialler.request(sent.clone(), deadline).await?;
        expect(got == sent, || format!("{sent:?} came back as {got:?}"))?;
    }
    Ok(start.elapsed())
}

async fn echo(network: &Network<'_>) -> Result<String, Fault> {
    let took = ask(network, &mut network.dialler("echo", "main")?).await?;
    let each = took.as_micros() / COUNT as u128;
    Ok(format!(
        "{COUNT} requests came back as they were, {each} us each"
    ))
}

/// Of a proxy is asked what the echo behind it has to answer, and both must have counted it.
async fn proxy(network: &Network<'_>) -> Result<String, Fault> {
    let mut behind = network.dialler("echo", "main")?;
    let mut front = network.dialler("proxy", "main")?;
    let count = |facts: &Value| facts["answered"].as_u64().unwrap_or_default();
    let before = count(&network.facts(&mut behind).await?);
    ask(network, &mut front).await?;
    let after = count(&network.facts(&mut behind).await?);
    expect(after - before == COUNT as u64, || {
        format!(
            "{COUNT} answers, and {} requests at the backend",
            after - before
        )
    })?;
    Ok(format!(
        "{COUNT} requests were answered by the echo behind it"
    ))
}

/// What is asked again is answered from memory.
async fn cache(network: &Network<'_>) -> Result<String, Fault> {
    let mut front = network.dialler("cache", "main")?;
    ask(network, &mut front).await?;
    ask(network, &mut front).await?;
    let facts = network.facts(&mut front).await?;
    let count = |key: &str| facts["cache"][key].as_u64().unwrap_or_default();
    let (hits, misses) = (count("hits"), count("misses"));
    expect((hits, misses) == (COUNT as u64, COUNT as u64), || {
        format!("{COUNT} requests, twice each, were {hits} hits and {misses} misses")
    })?;
    Ok(format!(
        "{COUNT} requests twice: {misses} misses, {hits} hits"
    ))
}

/// Two subscribers, one of which wants something else, and messages that are acknowledged.
async fn bus(network: &Network<'_>) -> Result<String, Fault> {
    let (out, acked) = (
        network.endpoint("bus", "out")?,
        network.endpoint("bus", "acked")?,
    );
    let wait = network.timeout;
    let mut wants = Subscriber::new(&out, &Keys::Open, vec!["selftest.".into()]);
    let mut other = Subscriber::new(&out, &Keys::Open, vec!["elsewhere".into()]);
    wants.ready(wait).await?;
    other.ready(wait).await?;
    let mut publisher = Publisher::new(acked, Keys::Open);
    for number in 0..COUNT {
        let body = vec![Bytes::from(number.to_string())];
        let got = publisher.publish("selftest.a".into(), body, wait).await?;
        expect((got.matched, got.queued) == (1, 1), || {
            format!("a message for one subscriber was taken for {}", got.matched)
        })?;
    }
    let last = publisher.publish("elsewhere".into(), Vec::new(), wait);
    last.await?;
    for number in 0..COUNT {
        let frames = wants.next(wait).await?;
        let is_next = frames[1..] == [Bytes::from(number.to_string())];
        expect(is_next, || format!("message {number} came as {frames:?}"))?;
    }
    let frames = other.next(wait).await?;
    expect(frames == ["elsewhere"], || {
        format!("{frames:?} came to who did not subscribe to it")
    })?;
    let fan = publisher.status(wait).await?["fan"].clone();
    let passed = |key: &str| fan["passed"][key].as_u64().unwrap_or_default();
    let (matched, sent) = (passed("matched"), passed("sent"));
    expect(matched == sent && matched > COUNT as u64, || {
        format!("{matched} matched and {sent} sent, though nothing is left to send")
    })?;
    Ok(format!(
        "{COUNT} acknowledged messages came in order to who subscribed, none to who did not; \
         {matched} matched, {sent} sent"
    ))
}

/// A worker takes a task and squares it for who waits.
async fn queue(network: &Network<'_>) -> Result<String, Fault> {
    let front = network.endpoint("queue", "front")?;
    let wait = network.timeout;
    let mut client = QueueClient::new(front.clone(), Keys::Open);
    let mut worker = QueueClient::new(front, Keys::Open);
    let answers = async {
        for number in 0..COUNT {
            let task = Submission::new("squares", vec![number.to_string().into()]).waiting();
            let square = Bytes::from((number * number).to_string());
            match client.submit(&task, wait).await? {
                Submitted::Done { body, attempts, .. } => {
                    expect(body == [&square[..]] && attempts == 1, || {
                        format!("{number} squared was {body:?} after {attempts} attempts")
                    })?;
                }
                Submitted::Accepted { .. } => {
                    return Err(Fault::Wrong("an answer was not waited for".to_owned()));
                }
            }
        }
        Ok(())
    };
    let work = async {
        for _ in 0..COUNT {
            let taken = worker.take("squares", wait, wait).await?;
            let taken = taken.ok_or(Fault::Silent)?;
            let text = taken.body.first().cloned().unwrap_or_default();
            let number: usize = std::str::from_utf8(&text)
                .ok()
                .and_then(|it| it.parse().ok())
                .ok_or_else(|| Fault::Wrong(format!("a task came as {text:?}")))?;
            let square = Bytes::from((number * number).to_string());
            worker.done(&taken, vec![square], wait).await?;
        }
        Ok::<(), Fault>(())
    };
    tokio::try_join!(answers, work)?;
    Ok(format!(
        "{COUNT} tasks were done by a worker, each once, and their answers came back"
    ))
}

/// Tasks that wait have it start a second instance, and none have it let that go.
async fn feedback(network: &Network<'_>) -> Result<String, Fault> {
    let wait = network.timeout;
    let mut queue = QueueClient::new(network.endpoint("queue", "front")?, Keys::Open);
    for _ in 0..WAITING {
        let task = Submission::new("waiting", vec!["".into()]);
        queue.submit(&task, wait).await?;
    }
    let start = Instant::now();
    let mut dialler = network.dialler("feedback", "main")?;
    counted(network, &mut dialler, 2).await?;
    let up = start.elapsed().as_millis();
    for _ in 0..WAITING {
        let taken = queue.take("waiting", wait, wait).await?;
        let taken = taken.ok_or(Fault::Silent)?;
        queue.done(&taken, vec!["".into()], wait).await?;
    }
    let start = Instant::now();
    counted(network, &mut dialler, 1).await?;
    let down = start.elapsed().as_millis();
    Ok(format!(
        "{WAITING} waiting tasks had it scale 1 to 2 after {up} ms, and none back to 1 after {down} ms"
    ))
}

/// Waits until the feedback has so many instances.
async fn counted(
    network: &Network<'_>,
    dialler: &mut KeyedDialler,
    count: u64,
) -> Result<(), Fault> {
    loop {
        let facts = network.facts(dialler).await?;
        if facts["count"] == count {
            return Ok(());
        }
        if let Some(refusal) = facts["refusal"].as_str() {
            let words = format!("it cannot scale to {count}: {}", gist(refusal));
            return Err(Fault::Wrong(words));
        }
        sleep(LOOK_PAUSE).await;
    }
}
