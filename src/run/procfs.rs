//! What the kernel says about processes and sockets, read from `/proc`.
//!
//! A process is known by its pid *and* its start time: a pid alone may be somebody else's by now.
//! Everything here is a reading of one moment; a process that ends meanwhile is simply absent.

mod sockets;

pub use sockets::{
    Connection, Listening, Local, Remote, accepted_unix, connections_tcp, established, holder,
    holders, listening_tcp, listening_unix, sockets_of,
};

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::tag::{TAG_ENV, Tag};

/// What most files of a process fit into.
const FILE_BYTES: usize = 4 * 1024;
/// More than the kernel lets arguments and environment be together.
const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often a family that grows while it is looked at is looked at again.
const DESCENT_ROUNDS_MAX: usize = 8;
/// Room for a page of a list of children, the most that the kernel gives at once.
const CHILDREN_BYTES: usize = 8 * 1024;

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: u32,
    /// The name of its program, at most 15 bytes.
    pub name: String,
    /// `R`, `S`, `D`, `T`, `Z` and so on.
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// How many threads it has.
    pub threads: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

impl Stat {
    /// Whether it still does anything: a zombie has ended and only waits to be asked about.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// A process seen by a scan, with its tag where it carries one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What the kernel says of it.
    pub stat: Stat,
    /// The tag in its environment; absent too where the environment is not ours to read.
    pub tag: Option<Tag>,
}

/// Reads `/proc/PID/stat`; absent when there is no such process.
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&read(&format!("/proc/{pid}/stat"))?)
}

/// Reads a file of the kernel, which has no size to be asked for: one read as a rule, since what
/// fills less than it may is the end. A scan reads files of each process of the machine, and
/// crashes wait for scans.
fn read(path: &str) -> Option<Vec<u8>> {
    let mut file = fs::File::open(path).ok()?;
    let mut bytes = vec![0; FILE_BYTES];
    let mut filled = 0;
    loop {
        filled += file.read(&mut bytes[filled..]).ok()?;
        if filled < bytes.len() || filled >= FILE_BYTES_MAX {
            bytes.truncate(filled);
            return Some(bytes);
        }
        bytes.resize(filled * 2, 0);
    }
}

/// The name in a stat line may hold anything, parentheses and newlines too, so it ends at the last
/// closing one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(bytes);
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let pid = text[..open].trim().parse().ok()?;
    let name = text[open + 1..close].to_owned();
    let mut fields = text[close + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut number = |skip: usize| fields.nth(skip)?.parse::<u64>().ok();
    let (parent, group, session) = (number(0)? as u32, number(0)? as u32, number(0)? as u32);
    // Fields 20 and 22 of the line, and three after the state are read.
    let (threads, start_time) = (number(13)? as u32, number(1)?);
    Some(Stat {
        pid,
        name,
        state,
        parent,
        group,
        session,
        threads,
        start_time,
    })
}

/// The tag in a process's environment.
pub fn tag(pid: u32) -> Option<Tag> {
    let environ = read(&format!("/proc/{pid}/environ"))?;
    environ
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(TAG_ENV.as_bytes())?.strip_prefix(b"="))
        .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
}

/// The name and pid numbers of every process: one pass.
fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Every process of this machine with its tag, in one pass, by pid.
pub fn scan() -> BTreeMap<u32, Seen> {
    pids()
        .into_iter()
        .filter_map(|pid| {
            let stat = stat(pid)?;
            // A zombie has no environment left.
            let tag = if stat.is_alive() { tag(pid) } else { None };
            Some((pid, Seen { stat, tag }))
        })
        .collect()
}

/// Every process of this machine that carries a tag, and those of the pids that are asked for, in
/// one pass. What is neither, most of a machine, costs one file and not two.
pub fn scan_tagged(asked: &BTreeSet<u32>) -> BTreeMap<u32, Seen> {
    pids()
        .into_iter()
        .filter_map(|pid| {
            let tag = tag(pid);
            if tag.is_none() && !asked.contains(&pid) {
                return None;
            }
            let stat = stat(pid)?;
            let tag = tag.filter(|_| stat.is_alive());
            Some((pid, Seen { stat, tag }))
        })
        .collect()
}

/// This process and all that descends from it, by pid; absent where the kernel keeps no lists of
/// children, or where they change faster than they are read. It costs what the family has, and not
/// what the machine has. Tags are read where they are asked for.
///
/// Only for a subreaper: what loses its parent while it is looked for is found among our children.
pub fn descendants(needs_tag: impl Fn(u32) -> bool) -> Option<BTreeMap<u32, Seen>> {
    let own = std::process::id();
    let mut found = BTreeMap::new();
    let mut waiting = vec![own];
    for _ in 0..DESCENT_ROUNDS_MAX {
        while let Some(pid) = waiting.pop() {
            let Some(stat) = stat(pid) else {
                continue;
            };
            let is_alive = stat.is_alive();
            if is_alive && stat.threads == 1 {
                waiting.extend(children_of_thread(pid, pid).unwrap_or_default());
            } else if is_alive {
                waiting.extend(children(pid));
            }
            let tag = (is_alive && needs_tag(pid)).then(|| tag(pid)).flatten();
            found.insert(pid, Seen { stat, tag });
        }
        waiting = own_children()?;
        waiting.retain(|pid| !found.contains_key(pid));
        if waiting.is_empty() {
            return Some(found);
        }
    }
    None
}

/// The direct children of a process. Cheap: the kernel keeps this list.
pub fn children(pid: u32) -> Vec<u32> {
    listed_children(pid).unwrap_or_default()
}

/// The direct children of this process, zombies included; absent where the kernel keeps no such
/// list. Complete while nobody waits for children meanwhile, so only for a process of one thread.
pub fn own_children() -> Option<Vec<u32>> {
    listed_children(std::process::id())
}

fn listed_children(pid: u32) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let thread = task.file_name().to_str()?.parse().ok()?;
        found.extend(children_of_thread(pid, thread)?);
    }
    Some(found)
}

fn children_of_thread(pid: u32, thread: u32) -> Option<Vec<u32>> {
    // For each read the kernel goes through the list from its beginning, so few large ones: a file
    // that tells no length is otherwise read by 32 bytes, 64, and so on.
    let mut text = Vec::with_capacity(CHILDREN_BYTES);
    let mut file = fs::File::open(format!("/proc/{pid}/task/{thread}/children")).ok()?;
    file.read_to_end(&mut text).ok()?;
    let words = str::from_utf8(&text).ok()?.split_ascii_whitespace();
    Some(words.filter_map(|word| word.parse().ok()).collect())
}

/// A text that changes with each boot: start times of different boots do not compare.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// The memory of a process that it does not share, in bytes, shared pages by their share (PSS).
pub fn pss_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// A handle on one process: signals through it reach that process or nobody.
#[derive(Debug)]
pub struct Handle {
    pid: u32,
    fd: OwnedFd,
}

impl Handle {
    /// Opens a process, if it is still the one that started at `start_time` and has not ended.
    ///
    /// The handle is opened first and the start time read after it: had the pid changed hands
    /// between, the start time would differ.
    pub fn open(pid: u32, start_time: u64) -> Option<Self> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let fd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        let now = stat(pid)?;
        (now.start_time == start_time && now.is_alive()).then_some(Self { pid, fd })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that becomes readable when the process ends.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Waits until the process has ended, at most as long as is said, and says whether it has.
    pub fn await_end(&self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut files = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut files, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                // Whoever waits in vain looks anew.
                ended => return ended.is_ok_and(|count| count > 0),
            }
        }
    }

    /// Sends a signal; an error where the process ended or is not ours to signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.fd, signal)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_hostile_name_is_read() {
        let line = b"12 (a) b (c\n) S 3 4 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987 0 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.pid, stat.name.as_str()), (12, "a) b (c\n"));
        assert_eq!((stat.parent, stat.group, stat.session), (3, 4, 5));
        assert_eq!((stat.threads, stat.start_time), (1, 987));
        assert!(stat.is_alive());
        assert_eq!(parse_stat(b"12 (x) S 3"), None);
    }

    #[test]
    fn this_process_is_found_and_has_no_namesake_of_another_start() {
        let own = stat(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(scan().contains_key(&own.pid));
        assert!(Handle::open(own.pid, own.start_time).is_some());
        assert!(Handle::open(own.pid, own.start_time + 1).is_none());
        assert!(stat(u32::MAX).is_none());
        assert!(children(own.parent).contains(&own.pid) || own.parent == 0);
        assert!(pss_bytes(own.pid).unwrap() > 100_000);
        assert_eq!(boot_id().len(), 36);
    }
}
