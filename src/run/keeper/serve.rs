//! The keeper's process: one loop that waits for frames, ends of children, notices and time, and
//! does each at once. It has no threads, and blocks nowhere but in `poll`.
//!
//! It ends by `quit`, which is refused while a process of the network lives, or by a signal, which
//! loses nothing: the next keeper adopts what lives.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP};

use super::adopt::{Adopted, adopt};
use super::answer;
use super::children::{Adoption, Children};
use super::clients::{self, Client};
use super::launch::{self, Handed, Supervision};
use super::note;
use super::notices;
use super::protocol::{Event, Hello, Status, VERSION};
use super::rotating::Rotating;
use super::supervise::Supervisor;
use crate::model::layout::Layout;
use crate::run::procfs;
use crate::run::tag::NetworkId;

/// Between two looks at adopted processes that nothing watches.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// All that a keeper holds.
pub(super) struct Keeper {
    pub(super) layout: Layout,
    pub(super) network: NetworkId,
    pub(super) boot_id: String,
    pub(super) children: Children,
    pub(super) supervisor: Supervisor,
    pub(super) rotating: Rotating,
    pub(super) events: Vec<Event>,
    /// Whether somebody hears them.
    pub(super) is_watched: bool,
    /// Whether something of the network may live that does not descend from this keeper.
    pub(super) has_heirs: bool,
    /// Whether nothing of the network lived when it started.
    is_first: bool,
    /// When adopted processes were last looked at.
    last_look: Instant,
}

impl Keeper {
    pub(super) fn hello(&self) -> Hello {
        Hello {
            version: VERSION,
            pid: std::process::id(),
            state: self.layout.state.clone(),
            boot_id: self.boot_id.clone(),
            supervisor: self.supervisor.pid(),
        }
    }
}

/// What a keeper listens to.
struct Ears {
    handed: Handed,
    notices: UnixDatagram,
    ends: UnixStream,
    clients: Vec<Client>,
}

/// Runs a keeper until it is told to quit.
pub(super) fn run(layout: Layout, supervision: Supervision, handed: Handed) -> io::Result<()> {
    std::env::set_current_dir("/")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut ears = Ears {
        notices: notices::listen(&layout.notify_socket())?,
        ends: child_signals()?,
        handed,
        clients: Vec::new(),
    };
    let network = NetworkId::of(&layout);
    let mut supervisor = Supervisor::new(supervision);
    // Every supervisor opens the ledger: where there is none yet, there is none to take over as a
    // rule, and ours starts while we look around.
    if !layout.ledger_file().exists() {
        supervisor.tick(&layout, &network);
    }
    let Adopted {
        kids,
        supervisor: living,
        has_heirs,
        is_first,
    } = adopt(&layout, &network, supervisor.pid());
    if let Some(living) = living {
        supervisor.take_over(living);
    }
    note(format_args!(
        "a keeper starts, pid {}, adopts {}",
        std::process::id(),
        kids.len()
    ));
    let mut keeper = Keeper {
        supervisor,
        rotating: Rotating::new(),
        children: Children::default(),
        events: Vec::new(),
        is_watched: false,
        has_heirs,
        is_first,
        last_look: Instant::now(),
        boot_id: procfs::boot_id(),
        network,
        layout,
    };
    for (instance, kid) in kids {
        keeper.children.insert(instance, kid);
    }
    while !keeper.supervisor.is_over() {
        keeper.turn(&mut ears)?;
    }
    keeper.leave(&mut ears);
    Ok(())
}

/// A stream that becomes readable when a child ends. A handler and not a blocked mask, which
/// children would inherit.
fn child_signals() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, write.try_clone()?)?;
    // A terminal that closes is none of our business.
    signal_hook::low_level::pipe::register(SIGHUP, write)?;
    Ok(read)
}

/// Which of the polled files are ready.
struct Ready {
    listener: bool,
    notices: bool,
    adopted: bool,
    clients: Vec<bool>,
}

impl Keeper {
    /// Waits for something to do, and does all of it.
    fn turn(&mut self, ears: &mut Ears) -> io::Result<()> {
        let ready = self.wait(ears)?;
        // Emptied before children are waited for, so that an end in between is not missed.
        while ears.ends.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        self.reap();
        if ready.adopted {
            self.reap_adopted(|_| true);
        } else if self.look_due().is_some_and(|due| due <= Instant::now()) {
            self.reap_adopted(|adoption| matches!(adoption, Adoption::Unwatched));
        }
        if ready.notices {
            let heard = notices::receive(&ears.notices, &self.network, &mut self.children);
            self.events.extend(heard);
        }
        self.copy_fifos();
        self.is_watched = ears.clients.iter().any(|client| client.is_watching);
        for (client, is_ready) in ears.clients.iter_mut().zip(ready.clients) {
            if is_ready {
                for request in client.read() {
                    answer::answer(self, client, request);
                }
            }
        }
        if ready.listener {
            clients::accept(&ears.handed.listener, &mut ears.clients);
        }
        self.supervisor.tick(&self.layout, &self.network);
        self.rotating.tick(&self.layout, &mut self.children);
        clients::publish(&mut ears.clients, &mut self.events);
        Ok(())
    }

    fn wait(&self, ears: &Ears) -> io::Result<Ready> {
        let mut files = vec![
            readable(ears.ends.as_fd()),
            readable(ears.handed.listener.as_fd()),
            readable(ears.notices.as_fd()),
        ];
        let first_client = files.len();
        for client in &ears.clients {
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, client.is_behind());
            files.push(PollFd::from_borrowed_fd(client.stream().as_fd(), events));
        }
        let first_adopted = files.len();
        for (_, kid) in self.children.iter() {
            if let Some(Adoption::Watched(handle)) = &kid.adopted {
                files.push(readable(handle.fd().as_fd()));
            }
        }
        files.extend(
            self.supervisor
                .handle()
                .map(|handle| readable(handle.fd().as_fd())),
        );
        let first_fifo = files.len();
        for (_, kid) in self.children.iter() {
            files.extend(kid.fifo.iter().map(|fifo| readable(fifo.reader().as_fd())));
        }
        let timeout = self.timeout();
        match poll(&mut files, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |file: &PollFd<'_>| !file.revents().is_empty();
        Ok(Ready {
            listener: is_ready(&files[1]),
            notices: is_ready(&files[2]),
            clients: files[first_client..first_adopted]
                .iter()
                .map(is_ready)
                .collect(),
            adopted: files[first_adopted..first_fifo].iter().any(is_ready),
        })
    }

    /// Until the next thing that time alone brings.
    fn timeout(&self) -> Option<Timespec> {
        let dues = [
            self.supervisor.due(),
            self.rotating.due(&self.children),
            self.look_due(),
        ];
        let due = dues.into_iter().flatten().min()?;
        let wait = due.saturating_duration_since(Instant::now());
        // Rounded up, so that it is not woken just before.
        let wait = wait + Duration::from_micros(500);
        Some(Timespec {
            tv_sec: wait.as_secs().cast_signed(),
            tv_nsec: wait.subsec_nanos().into(),
        })
    }

    /// When adopted processes that nothing watches are looked at.
    fn look_due(&self) -> Option<Instant> {
        let is_needed = self.children.has_unwatched();
        is_needed.then(|| self.last_look + LOOK_PAUSE)
    }

    /// Takes the exit status of every child that ended, and of orphans that became ours.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Ok(pid) = u32::try_from(pid.as_raw_nonzero().get()) {
                self.ended(pid, status_of(status));
            }
        }
    }

    /// The kernel tells only their parent how the others ended.
    fn reap_adopted(&mut self, is_asked_for: impl Fn(&Adoption) -> bool) {
        self.last_look = Instant::now();
        for pid in self.children.gone(is_asked_for) {
            self.ended(pid, Status::Unknown);
        }
        if let Some(handle) = self.supervisor.handle() {
            let pid = handle.pid();
            if procfs::stat(pid).is_none_or(|stat| !stat.is_alive()) {
                self.supervisor.ended(pid, Status::Unknown);
            }
        }
    }

    fn ended(&mut self, pid: u32, status: Status) {
        self.events.extend(self.children.ended(pid, status));
        self.supervisor.ended(pid, status);
        self.rotating.ended(pid);
    }

    fn copy_fifos(&mut self) {
        for (_, kid) in self.children.iter_mut() {
            if let Some(fifo) = &mut kid.fifo {
                fifo.copy();
            }
        }
    }

    /// Removes every socket of a network in which nothing lives, then tells the clients by ending.
    fn leave(&self, ears: &mut Ears) {
        note("the keeper ends");
        clients::publish(&mut ears.clients, &mut Vec::new());
        let entries = fs::read_dir(&self.layout.runtime).into_iter().flatten();
        for entry in entries.flatten() {
            if Layout::is_transient(&entry.path()) {
                drop(fs::remove_file(entry.path()));
            }
        }
        // Only when it is empty; a file of somebody else's is left where it is.
        drop(fs::remove_dir(&self.layout.runtime));
        if self.leaves_nothing() {
            // Who is not told looks for itself.
            drop(launch::tell_proof(&mut ears.handed));
        }
    }

    /// Whether it is proven that no process of the network lives. All of it descends from us, and we
    /// are the subreaper: whatever lives, however it came about and whatever it cast off, has one of
    /// our children above it or is one. So where there is no child left, there is nothing.
    fn leaves_nothing(&self) -> bool {
        let is_childless = matches!(
            rustix::process::wait(WaitOptions::NOHANG),
            Err(rustix::io::Errno::CHILD)
        );
        self.is_first && !self.has_heirs && is_childless
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

fn status_of(status: WaitStatus) -> Status {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Status::Code(code),
        (None, Some(signal)) => Status::Signal(signal),
        (None, None) => Status::Unknown,
    }
}
