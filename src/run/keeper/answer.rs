//! What a keeper does for each verb.

use super::children::{Kid, RotateRule};
use super::clients::Client;
use super::kin::{Family, Relative};
use super::protocol::{
    Answer, Ask, Event, Frame, Refusal, RefusalKind, Remain, Request, Scope, SendSignal, Spawn,
    VERSION,
};
use super::serve::Keeper;
use super::signal_of;
use super::start::{Started, start};
use crate::model::limits::source::INSTANCES_MAX;
use crate::model::name::InstanceName;
use crate::run::procfs;
use crate::run::tag::Tag;

use rustix::process::Signal;

/// Does what a client asks, and queues the answer.
pub(super) fn answer(keeper: &mut Keeper, client: &mut Client, request: Request) {
    let id = request.id;
    let frame = match keeper.done(client, request.ask) {
        Ok(answer) => Frame::Answer { id, answer },
        Err(refusal) => Frame::Refused { id, refusal },
    };
    client.send(&frame);
    // The first of a batch learns its answer while the rest is worked on.
    client.flush();
}

fn refused(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal {
        kind,
        message: message.into(),
        errno: None,
    }
}

impl Keeper {
    fn done(&mut self, client: &mut Client, ask: Ask) -> Result<Answer, Refusal> {
        match ask {
            Ask::Hello { version: VERSION } => Ok(Answer::Hello(self.hello())),
            Ask::Hello { version } => Err(refused(
                RefusalKind::Version,
                format!("version {version} is not spoken, only {VERSION}"),
            )),
            Ask::Spawn(spawn) => self.spawn(&spawn),
            Ask::Signal(send) => self.signal(&send),
            Ask::List => Ok(Answer::Children(self.children.list())),
            Ask::Remains { instances } => Ok(Answer::Remains(self.remains(instances.as_deref()))),
            Ask::Rotate {
                instance,
                size_bytes,
                keep,
                now,
            } => self.rotate(&instance, RotateRule { size_bytes, keep }, now),
            Ask::Watch => {
                client.is_watching = true;
                Ok(Answer::Children(self.children.list()))
            }
            Ask::Quit => self.quit(client),
            Ask::TakeDown => self.take_down(client),
        }
    }

    fn spawn(&mut self, spawn: &Spawn) -> Result<Answer, Refusal> {
        if let Some(kid) = self.children.get(spawn.instance.as_str()) {
            if kid.is_alive() {
                let (name, pid) = (&spawn.instance, kid.spawned.pid);
                let message = format!("`{name}` runs, pid {pid}");
                return Err(refused(RefusalKind::Running, message));
            }
        } else if self.children.len() >= INSTANCES_MAX {
            let message = format!("{INSTANCES_MAX} instances are kept already");
            return Err(refused(RefusalKind::Full, message));
        }
        if self.supervisor.is_quitting() {
            return Err(refused(RefusalKind::Busy, "the keeper is ending"));
        }
        let tag = Tag {
            network: self.network.clone(),
            instance: spawn.instance.clone(),
            generation: spawn.generation,
        };
        let Started { spawned, fifo } = start(spawn, &tag, &self.layout)?;
        let earlier = self.children.get(spawn.instance.as_str());
        let kid = Kid {
            generation: spawn.generation,
            spawned: spawned.clone(),
            adopted: None,
            notice: None,
            ended: None,
            rotate: RotateRule {
                size_bytes: spawn.logs.size_bytes,
                keep: spawn.logs.keep,
            },
            fifo,
            kin: earlier.map(Kid::living_kin).unwrap_or_default(),
        };
        self.children.insert(spawn.instance.clone(), kid);
        Ok(Answer::Spawned(spawned))
    }

    fn signal(&mut self, send: &SendSignal) -> Result<Answer, Refusal> {
        let signal = signal_of(&send.signal).ok_or_else(|| {
            let message = format!("`{}` is no signal", send.signal);
            refused(RefusalKind::Invalid, message)
        })?;
        let mut count = match send.scope {
            Scope::Leader | Scope::Group => 0,
            Scope::All => self.signal_kin(send, signal),
        };
        for target in &send.targets {
            let Some(kid) = self.children.get_mut(target.instance.as_str()) else {
                continue;
            };
            if !kid.is_alive() || target.generation.is_some_and(|g| g != kid.generation) {
                continue;
            }
            match send.scope {
                Scope::All => continue,
                Scope::Group if signal != Signal::KILL => kid.remember_kin(),
                Scope::Leader | Scope::Group => {}
            }
            count += u32::from(kid.signal(signal, send.scope));
            if send.resume {
                kid.signal(Signal::CONT, send.scope);
            }
        }
        Ok(Answer::Signalled { count })
    }

    /// Signals one by one all that belongs to the targets, each proven to be the process it was.
    fn signal_kin(&self, send: &SendSignal, signal: Signal) -> u32 {
        let relatives = self.relatives();
        let meant = relatives.iter().filter(|relative| {
            send.targets
                .iter()
                .any(|target| relative.is_of(&target.instance, target.generation))
        });
        let mut count = 0;
        for relative in meant {
            count += u32::from(relative.signal(signal, send.resume));
        }
        count
    }

    /// Where all of the network descends from us, only what descends from us is looked at; else,
    /// and where in doubt, every process of the machine.
    fn relatives(&self) -> Vec<Relative> {
        let own = match self.has_heirs {
            false => procfs::descendants(|pid| self.children.by_pid(pid).is_none()),
            true => None,
        };
        let family = Family {
            network: &self.network,
            keeper: std::process::id(),
            supervisor: self.supervisor.pid(),
            children: &self.children,
            seen: &own.unwrap_or_else(procfs::scan),
        };
        family.relatives()
    }

    fn remains(&self, instances: Option<&[InstanceName]>) -> Vec<Remain> {
        if instances.is_some_and(|names| self.is_nothing_left(names)) {
            return Vec::new();
        }
        self.relatives()
            .into_iter()
            .filter(|relative| {
                instances.is_none_or(|names| names.iter().any(|name| relative.is_of(name, None)))
            })
            .map(|relative| relative.remain)
            .collect()
    }

    /// Whether it is proven without a look at every process that nothing of these instances lives.
    ///
    /// We are the subreaper: what a dead leader left behind has an ancestor that is our child now,
    /// whatever it cast off. So where every child of ours is known, nothing can be left. That holds
    /// only while all of the network descends from us; else, and where in doubt, all is looked at.
    fn is_nothing_left(&self, names: &[InstanceName]) -> bool {
        let is_alive = |name: &InstanceName| {
            let kid = self.children.get(name.as_str());
            kid.is_some_and(Kid::is_alive)
        };
        if self.has_heirs || names.iter().any(is_alive) {
            return false;
        }
        let is_known = |pid: &u32| {
            self.children.by_pid(*pid).is_some()
                || self.supervisor.pid() == Some(*pid)
                || self.rotating.is_running(*pid)
        };
        procfs::own_children().is_some_and(|pids| pids.iter().all(is_known))
    }

    fn rotate(
        &mut self,
        instance: &InstanceName,
        rule: RotateRule,
        is_now: bool,
    ) -> Result<Answer, Refusal> {
        let Some(kid) = self.children.get_mut(instance.as_str()) else {
            let message = format!("`{instance}` was never started here");
            return Err(refused(RefusalKind::Invalid, message));
        };
        kid.rotate = rule;
        if is_now {
            self.rotating.start(
                &self.layout,
                instance.as_str(),
                RotateRule {
                    size_bytes: 0,
                    ..rule
                },
            );
        }
        Ok(Answer::Rotating)
    }

    fn quit(&mut self, client: &Client) -> Result<Answer, Refusal> {
        let remains = self.remains(None);
        if !remains.is_empty() {
            let names: Vec<String> = remains
                .iter()
                .take(10)
                .map(|remain| format!("{} (pid {})", remain.name, remain.pid))
                .collect();
            let message = format!("{} processes live: {}", remains.len(), names.join(", "));
            return Err(refused(RefusalKind::Busy, message));
        }
        self.supervisor.quit(client.pid());
        self.events.push(Event::Quitting);
        Ok(Answer::Quitting)
    }

    fn take_down(&mut self, client: &mut Client) -> Result<Answer, Refusal> {
        let event = match (self.supervisor.is_quitting(), self.is_watched) {
            (true, _) => Event::Quitting,
            (false, true) => Event::TakeDown,
            (false, false) => {
                let message = "no supervisor listens";
                return Err(refused(RefusalKind::Busy, message));
            }
        };
        client.wants_end = true;
        self.events.push(event);
        Ok(Answer::TakingDown)
    }
}
