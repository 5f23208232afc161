//! The tries of probes: a fresh socket each, within their timeout, so many at a time.
//!
//! A try always comes back, once, as an [`Outcome`]; it never decides what a miss means.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::model::endpoint::Endpoint;
use crate::model::policy::{Probe, ProbeHow};
use crate::plan::Process;
use crate::protocol::zn1;
use crate::wire::dial;
use crate::wire::keyed::KeyedDialler;

use super::asked::Asked;
use super::keys;

/// How a try went: its round trip, or why it was missed.
pub(super) type Tried = Result<Duration, String>;

/// Makes one try. `Alive`, `Notify` and `Log` are never asked, and `Dialled` is asked over the
/// connection that its instance made.
pub(super) async fn attempt(process: Process) -> Tried {
    let begun = Instant::now();
    let timeout = Duration::from_millis(process.probe.timeout_ms);
    let tried = match tokio::time::timeout(timeout, ask(&process, timeout)).await {
        Ok(tried) => tried,
        Err(_) => Err(format!("no answer within {} ms", process.probe.timeout_ms)),
    };
    tried.map(|()| begun.elapsed())
}

async fn ask(process: &Process, timeout: Duration) -> Result<(), String> {
    let Probe {
        how, timeout_ms, ..
    } = &process.probe;
    match how {
        ProbeHow::Health { endpoint } => {
            let frames = zn1::Request::new("ping", Bytes::new(), Value::Null).encode();
            let reply = dialled(endpoint, frames, timeout).await?;
            match zn1::Reply::decode(reply) {
                Ok(reply) if reply.is_ok() => Ok(()),
                Ok(reply) => Err(format!("answered {} to a ping", reply.status)),
                Err(fault) => Err(format!("its answer to a ping: {fault}")),
            }
        }
        ProbeHow::Request {
            endpoint,
            send,
            expect,
            secured,
        } => {
            let keys = keys::to_probe(secured.as_deref()).map_err(|error| error.to_string())?;
            let mut dialler = KeyedDialler::new(endpoint.clone(), None, keys);
            let until = tokio::time::Instant::now() + timeout;
            let frames = vec![Bytes::from(send.clone())];
            let reply = dialler.request(frames, until).await;
            let reply = reply.map_err(|error| format!("{endpoint}: {error}"))?;
            expected(&reply, expect.as_deref())
        }
        ProbeHow::Tcp { endpoint } => connect(endpoint).await.map(drop),
        ProbeHow::Http { url } => http(url).await,
        ProbeHow::Exec { command } => {
            exec(process, command, Duration::from_millis(*timeout_ms)).await
        }
        ProbeHow::Alive | ProbeHow::Notify | ProbeHow::Log { .. } | ProbeHow::Dialled { .. } => {
            Err("this probe is not asked".to_owned())
        }
    }
}

async fn dialled(
    endpoint: &Endpoint,
    frames: Vec<Bytes>,
    timeout: Duration,
) -> Result<Vec<Bytes>, String> {
    dial::request(endpoint, frames, timeout)
        .await
        .map_err(|error| format!("{endpoint}: {error}"))
}

/// Whether a reply is what was expected; any is where nothing was.
pub(super) fn expected(reply: &[Bytes], expect: Option<&str>) -> Result<(), String> {
    let Some(expect) = expect else { return Ok(()) };
    let got = reply.iter().rev().find(|frame| !frame.is_empty());
    match got {
        Some(got) if got == expect.as_bytes() => Ok(()),
        Some(got) => Err(format!(
            "answered `{}` instead of `{expect}`",
            String::from_utf8_lossy(&got[..got.len().min(80)])
        )),
        None => Err(format!("answered nothing instead of `{expect}`")),
    }
}

async fn connect(endpoint: &Endpoint) -> Result<TcpStream, String> {
    let Endpoint::Tcp { host, port } = endpoint else {
        return Err(format!("{endpoint} is no tcp port"));
    };
    TcpStream::connect((host.as_str(), *port))
        .await
        .map_err(|error| format!("{endpoint}: {error}"))
}

/// A GET by hand: what is asked is only the status line.
async fn http(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("`{url}` is not http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let failed = |error: std::io::Error| format!("{url}: {error}");
    let mut stream = TcpStream::connect(address.as_str()).await.map_err(failed)?;
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = [0_u8; 64];
    let mut filled = 0;
    while filled < 12 {
        match stream.read(&mut head[filled..]).await.map_err(failed)? {
            0 => break,
            count => filled += count,
        }
    }
    let line = String::from_utf8_lossy(&head[..filled]).into_owned();
    let status = line
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|code| code.parse::<u16>().ok());
    match status {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("{url}: status {status}")),
        None => Err(format!("{url}: no HTTP answer")),
    }
}

/// A command that must exit 0. It is killed at its timeout.
async fn exec(process: &Process, command: &[String], timeout: Duration) -> Result<(), String> {
    let Some((program, args)) = command.split_first() else {
        return Err("the probe has no command".to_owned());
    };
    let child = Command::new(program)
        .args(args)
        .current_dir(&process.cwd)
        .envs(&process.env)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("`{program}`: {error}"))?;
    let mut child = Asked(child);
    let deadline = Instant::now() + timeout.mul_f64(0.95);
    match child.ended(deadline).await {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("`{program}`: {status}")),
        Ok(None) => Err(format!(
            "`{program}` did not end within {} ms",
            timeout.as_millis()
        )),
        Err(error) => Err(format!("`{program}`: {error}")),
    }
}
