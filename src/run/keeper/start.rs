//! Starting one process: its files, its limits, its exec.
//!
//! The standard library's fast path is kept on purpose: an absolute program, a whole environment and
//! a process group cost 70 microseconds; a bare program name or anything that needs code between
//! fork and exec costs a copy of our memory. Limits are therefore set by this binary, started in
//! between, only where the manifest asks for any.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::note;
use super::protocol::{Refusal, RefusalKind, Spawn, Spawned};
use crate::model::layout::Layout;
use crate::model::policy::{LogTarget, ProcessLimits};
use crate::run::procfs;
use crate::run::tag::{TAG_ENV, Tag};

/// The hidden entry point that sets limits and becomes a program: `__limited JSON PROGRAM ARG0 ARGS`.
pub const LIMITED_ENTRY: &str = "__limited";

/// The exit code of a program that could not be started after its limits were set, as shells have it.
const CANNOT_EXEC: u8 = 126;

/// What was started, and the pipe it writes to where it was asked for one.
pub(super) struct Started {
    pub(super) spawned: Spawned,
    pub(super) fifo: Option<super::fifo::Fifo>,
}

/// Starts a process.
pub(super) fn start(spawn: &Spawn, tag: &Tag, layout: &Layout) -> Result<Started, Refusal> {
    check(spawn)?;
    let mut fifo = None;
    let (stdout, stderr) = match spawn.logs.to {
        LogTarget::None => (Stdio::null(), Stdio::null()),
        LogTarget::File => both(open_log(&layout.log_file(spawn.instance.as_str())))?,
        LogTarget::Fifo => {
            let made = super::fifo::Fifo::open(layout, spawn.instance.as_str());
            let made = made.map_err(|error| no_file("the log's pipe", &error))?;
            let ends = both(made.writer())?;
            fifo = Some(made);
            ends
        }
    };
    let mut command = command(spawn);
    command
        .env_clear()
        .envs(&spawn.env)
        .env(TAG_ENV, tag.to_string())
        .current_dir(&spawn.cwd)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    let started_at_ms = super::now_ms();
    // The handle is dropped: the keeper waits for all its children at once.
    let pid = command
        .spawn()
        .map_err(|error| explain(spawn, &error))?
        .id();
    // It may be a zombie already, but only we can make its pid free.
    let start_time = procfs::stat(pid).map_or(0, |stat| stat.start_time);
    Ok(Started {
        spawned: Spawned {
            pid,
            start_time,
            started_at_ms,
        },
        fifo,
    })
}

fn check(spawn: &Spawn) -> Result<(), Refusal> {
    let invalid = |message: String| Refusal {
        kind: RefusalKind::Invalid,
        message,
        errno: None,
    };
    let name = spawn.instance.as_str();
    if name.is_empty() || name.starts_with(['@', '.']) || name.contains('/') || name.len() > 128 {
        return Err(invalid(format!("`{name}` cannot be an instance")));
    }
    if !spawn.program.is_absolute() || !spawn.cwd.is_absolute() {
        let (program, cwd) = (spawn.program.display(), spawn.cwd.display());
        return Err(invalid(format!(
            "program `{program}` and directory `{cwd}` must be absolute"
        )));
    }
    Ok(())
}

fn command(spawn: &Spawn) -> Command {
    let own_name = OsString::from(&spawn.program);
    let (name, args) = match spawn.args.split_first() {
        Some((name, args)) => (OsString::from(name), args),
        None => (own_name, &[][..]),
    };
    if spawn.limits == ProcessLimits::default() {
        let mut command = Command::new(&spawn.program);
        command.arg0(name).args(args);
        return command;
    }
    let limits = serde_json::to_string(&spawn.limits).expect("limits have only text keys");
    let mut command = Command::new("/proc/self/exe");
    command
        .args([LIMITED_ENTRY, &limits])
        .arg(&spawn.program)
        .arg(name)
        .args(args);
    command
}

/// Opens a log as its writers need it: each write goes to the end, whoever else writes.
pub(super) fn open_log(path: &Path) -> io::Result<OwnedFd> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    Ok(options.open(path)?.into())
}

fn both(opened: io::Result<OwnedFd>) -> Result<(Stdio, Stdio), Refusal> {
    let twice = opened.and_then(|file| Ok((file.try_clone()?, file)));
    let (stdout, stderr) = twice.map_err(|error| no_file("the log", &error))?;
    Ok((stdout.into(), stderr.into()))
}

fn no_file(what: &str, error: &io::Error) -> Refusal {
    Refusal {
        kind: RefusalKind::Spawn,
        message: format!("cannot open {what}: {error}"),
        errno: error.raw_os_error(),
    }
}

/// The system says only "not found"; people want to know what.
fn explain(spawn: &Spawn, error: &io::Error) -> Refusal {
    let message = if !spawn.cwd.is_dir() {
        format!("no directory `{}`: {error}", spawn.cwd.display())
    } else {
        format!("cannot execute `{}`: {error}", spawn.program.display())
    };
    Refusal {
        kind: RefusalKind::Spawn,
        message,
        errno: error.raw_os_error(),
    }
}

/// Sets limits on itself and becomes the program.
pub fn limited(args: &[OsString]) -> ExitCode {
    let mut args = args.iter();
    let (Some(limits), Some(program), Some(name)) = (args.next(), args.next(), args.next()) else {
        note(format_args!(
            "{LIMITED_ENTRY} needs limits, a program and its name"
        ));
        return ExitCode::from(CANNOT_EXEC);
    };
    let set = limits
        .to_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or(io::ErrorKind::InvalidInput.into())
        .and_then(|limits: ProcessLimits| set_limits(&limits));
    let error = match set {
        Ok(()) => Command::new(program).arg0(name).args(args).exec(),
        Err(error) => error,
    };
    note(format_args!(
        "cannot execute `{}` within its limits: {error}",
        program.display()
    ));
    ExitCode::from(CANNOT_EXEC)
}

fn set_limits(limits: &ProcessLimits) -> io::Result<()> {
    let wanted = [
        (Resource::As, limits.memory_bytes),
        (Resource::Cpu, limits.cpu_s),
        (Resource::Nofile, limits.files),
        (Resource::Nproc, limits.processes),
    ];
    for (resource, limit) in wanted {
        if let Some(limit) = limit {
            let both = Rlimit {
                current: Some(limit),
                maximum: Some(limit),
            };
            setrlimit(resource, both)?;
        }
    }
    Ok(())
}
