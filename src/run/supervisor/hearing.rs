//! What the keeper says, and what it means for the members: its list, the ends of processes, what
//! they tell by the notification protocol.
//!
//! The first list decides who is adopted and who begins; the list of a new keeper, who ended unseen.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::acting::Supervisor;
use super::keeping::News;
use super::member::Wish;
use super::recovery::{Records, Rest};
use crate::lifecycle::{End, Event, Phase};
use crate::model::name::InstanceName;
use crate::model::policy::ProbeHow;
use crate::plan::digest;
use crate::plan::{Exec, Instance, Plan, Port};
use crate::run::keeper::protocol::{Child, Ended, Event as KeeperEvent, Notice, Status};
use crate::run::ledger::Record;
use crate::run::node::{BIND_EXIT, STORE_EXIT};
use crate::run::procfs;
use crate::run::tag::NetworkId;

/// A port that somebody has who does not listen on it: bound only, or the near end of a connection. The
/// kernel names the holder of the latter.
fn held_in_silence(instance: &Instance) -> Option<(&Port, Option<(u32, String)>)> {
    instance.ports.iter().find_map(|port| {
        let text = port.bind.to_string();
        let wanted: SocketAddr = text.strip_prefix("tcp://")?.parse().ok()?;
        let error = TcpListener::bind(wanted).err()?;
        if error.kind() != io::ErrorKind::AddrInUse {
            return None;
        }
        let connections = procfs::connections_tcp();
        let ends = connections.iter().filter(|it| {
            let is_any = wanted.ip().is_unspecified();
            it.local.port() == wanted.port() && (is_any || it.local.ip() == wanted.ip())
        });
        let holder = ends.filter_map(|end| procfs::holder(end.inode)).next();
        Some((port, holder))
    })
}

fn end(status: Status) -> End {
    match status {
        Status::Code(code) => End::Code(code),
        Status::Signal(signal) => End::Signal(signal),
        Status::Unknown => End::Unknown,
    }
}

impl Supervisor {
    /// Takes up a plan of an earlier supervisor; its members wait for the keeper's list.
    pub(super) fn adopt(&mut self, plan: Plan) {
        let now = self.clock.now();
        let ours = plan
            .instances
            .iter()
            .filter(|instance| instance.process.is_some());
        for instance in ours.cloned() {
            self.network.admit(now, instance);
        }
        self.network.plan = plan;
    }

    /// Feeds what the connection has to say.
    pub(super) fn kept(&mut self, news: News) {
        match news {
            News::Live(children) => {
                // What was not asked of an earlier keeper is found to be missing below.
                self.to_spawn.clear();
                match self.keeping.take_records() {
                    Some(records) => self.resume(&children, &records),
                    None => self.compare(&children),
                }
                self.stop_strangers(&children);
            }
            News::Event(KeeperEvent::Exited {
                instance,
                generation,
                status,
                ..
            }) => {
                self.exited(&instance, generation, status);
            }
            News::Event(KeeperEvent::Notified {
                instance,
                generation,
                notice,
            }) => {
                self.notified(&instance, generation, &notice);
            }
            News::Event(KeeperEvent::TakeDown) => self.take_down(),
            // For others: we asked for it.
            News::Event(KeeperEvent::Quitting) => {}
            News::Lost => tracing::warn!("the keeper is gone"),
        }
    }

    fn exited(&mut self, name: &InstanceName, generation: u64, status: Status) {
        self.lines.push(Record::Ended {
            instance: name.clone(),
            generation,
            ended: Ended {
                status,
                at_ms: self.clock.now_ms(),
            },
        });
        let end = end(status);
        let hopeless = self.unbindable(name, end);
        let event = match hopeless.or_else(|| self.unopenable(name, end)) {
            Some(reason) => Event::Doomed {
                generation,
                end,
                reason,
            },
            None => Event::Exited { generation, end },
        };
        self.network.step(self.clock.now(), name, event);
    }

    /// Which port an instance could not bind and who holds it, where that is how it ended. A role
    /// says so by its exit code; of a program that failed it is so where a stranger has its port.
    fn unbindable(&self, name: &InstanceName, end: End) -> Option<String> {
        let instance = &self.network.members.get(name)?.instance;
        let is_role = matches!(instance.process.as_ref()?.exec, Exec::Role(_));
        let may_be = match end {
            End::Code(code) if is_role => code == i32::from(BIND_EXIT),
            End::Code(code) => code != 0 && !instance.ports.is_empty(),
            End::Signal(_) | End::Unknown => false,
        };
        if !may_be {
            return None;
        }
        let network = NetworkId::of(&self.layout);
        let is_own = |pid| {
            procfs::tag(pid).is_some_and(|tag| tag.network == network && tag.instance == *name)
        };
        let listening = procfs::listening_tcp();
        let taken = instance.ports.iter().find_map(|port| {
            let text = port.bind.to_string();
            let wanted = text.strip_prefix("tcp://")?.parse().ok()?;
            let at = listening.iter().find(|at| at.covers(wanted))?;
            let holder = procfs::holder(at.inode);
            // What is left of its own life is ended before the next one.
            let is_left = holder.as_ref().is_some_and(|(pid, _)| is_own(*pid));
            (is_role || !is_left).then_some((port, holder))
        });
        let taken = taken.or_else(|| is_role.then(|| held_in_silence(instance)).flatten());
        let Some((port, holder)) = taken else {
            let unknown = "cannot bind one of its endpoints; its log says which";
            return is_role.then(|| unknown.to_owned());
        };
        let holder = match holder {
            Some((pid, program)) => format!("process {pid} ({program})"),
            None => "a process that cannot be seen".to_owned(),
        };
        let origin = &port.origin;
        Some(format!(
            "cannot bind {}: {holder} holds it; it is written at {}:{}",
            port.bind,
            origin.file.display(),
            origin.line
        ))
    }

    /// Which store an instance cannot open, now or in its next life, where it ended so.
    fn unopenable(&self, name: &InstanceName, end: End) -> Option<String> {
        let process = self.network.members.get(name)?.instance.process.as_ref()?;
        let Exec::Role(config) = &process.exec else {
            return None;
        };
        let store = config.store()?;
        (end == End::Code(i32::from(STORE_EXIT))).then(|| {
            let path = store.path.display();
            format!("cannot open its store {path}; its log says why")
        })
    }

    fn notified(&mut self, name: &InstanceName, generation: u64, notice: &Notice) {
        let tells =
            |member: &super::member::Member| matches!(member.process().probe.how, ProbeHow::Notify);
        let is_told = self.network.members.get(name).is_some_and(tells);
        if is_told && *notice == Notice::Ready {
            self.network
                .step(self.clock.now(), name, Event::Succeeded { generation });
        }
    }

    /// The first list: what lives is adopted, what rests goes on resting, the rest begins.
    fn resume(&mut self, children: &[Child], records: &Records) {
        let now = self.clock.now();
        let names: Vec<InstanceName> = self.network.members.keys().cloned().collect();
        for name in names {
            let record = records.get(&name).cloned().unwrap_or_default();
            let record = record.overtaken_by(self.ledger.entries().get(&name));
            let living = children
                .iter()
                .find(|child| child.instance == name && child.ended.is_none());
            let Some(member) = self.network.members.get_mut(&name) else {
                continue;
            };
            let generation = living
                .map_or(0, |child| child.generation)
                .max(record.generation);
            let recent = record.recent_ms.iter().copied().map(Duration::from_millis);
            let child = member.child.clone().resumed(generation, record.restarts);
            member.child = child.remembering(recent);
            if record.is_held {
                member.wish = Wish::Held;
            } else if record.is_wanted {
                member.wish = Wish::Wanted;
            }
            let Some(child) = living else {
                let (since, end) = (Duration::from_millis(record.since_ms), record.end);
                match record.rest {
                    Some(Rest::Done) => member.child.rest(since, true, end),
                    Some(Rest::Failed(reason)) => member.child.fail(since, reason, end),
                    Some(Rest::Stopped) if record.is_held => member.child.rest(since, false, end),
                    Some(Rest::Stopped) if member.wish != Wish::Planned => {}
                    None if record.is_held => {}
                    Some(Rest::Stopped) | None if record.is_wanted => {
                        self.network.step(now, &name, Event::Start);
                    }
                    Some(Rest::Stopped) | None => self.network.step(now, &name, Event::Begin),
                }
                continue;
            };
            self.adopt_child(
                child,
                record.was_ready && record.generation == child.generation,
            );
            if record.is_held {
                self.network.step(now, &name, Event::Stop);
            } else if self.is_outdated(child) {
                self.network.step(now, &name, Event::Restart);
            }
        }
        tracing::info!(
            living = children.iter().filter(|c| c.ended.is_none()).count(),
            "took over"
        );
    }

    /// Whether a living process was started as an earlier plan said: a predecessor wrote the new
    /// plan and died before it followed it.
    fn is_outdated(&self, child: &Child) -> bool {
        let entry = self.ledger.entries().get(&child.instance);
        let member = self.network.members.get(&child.instance);
        let (Some(entry), Some(member)) = (entry, member) else {
            return false;
        };
        entry.generation == child.generation
            && entry.digest != digest::life(&member.instance, member.process())
    }

    fn adopt_child(&mut self, child: &Child, was_ready: bool) {
        let now = self.clock.now();
        let (name, generation) = (&child.instance, child.generation);
        let started = Duration::from_millis(child.started_at_ms);
        let adopted = Event::Adopted {
            generation,
            pid: child.pid,
            started,
        };
        self.network.step(now, name, adopted);
        self.note_start(name, generation, child.pid, child.started_at_ms);
        let Some(member) = self.network.members.get(name) else {
            return;
        };
        // What tells once and for all does not tell again.
        let has_told = match member.process().probe.how {
            ProbeHow::Notify => was_ready || child.notice == Some(Notice::Ready),
            ProbeHow::Log { .. } => was_ready,
            ProbeHow::Alive
            | ProbeHow::Health { .. }
            | ProbeHow::Request { .. }
            | ProbeHow::Dialled { .. }
            | ProbeHow::Exec { .. }
            | ProbeHow::Tcp { .. }
            | ProbeHow::Http { .. } => false,
        };
        self.expect_dialler(name);
        self.recall(name);
        if has_told {
            self.network
                .step(now, name, Event::Succeeded { generation });
        }
    }

    /// The list of a new keeper: what ended unseen, and what was asked of the old one in vain.
    fn compare(&mut self, children: &[Child]) {
        let now = self.clock.now();
        let names: Vec<InstanceName> = self.network.members.keys().cloned().collect();
        for name in names {
            let Some(member) = self.network.members.get(&name) else {
                continue;
            };
            let generation = member.child.generation();
            let (pid, is_spawning) = (member.child.pid(), member.child.is_spawning());
            if pid.is_none() && !is_spawning {
                continue;
            }
            let same = |child: &&Child| child.instance == name && child.generation == generation;
            match children.iter().find(same) {
                Some(Child {
                    ended: Some(ended), ..
                }) => {
                    self.exited(&name, generation, ended.status);
                }
                Some(child) if is_spawning => {
                    self.note_start(&name, generation, child.pid, child.started_at_ms);
                    let spawned = Event::Spawned {
                        generation,
                        pid: child.pid,
                    };
                    self.network.step(now, &name, spawned);
                }
                Some(_) => {}
                None if is_spawning => self.network.todo.spawns.push((name, generation)),
                None => self.exited(&name, generation, Status::Unknown),
            }
        }
    }

    /// What runs and is in no plan was left by a plan that was cut short: it goes.
    fn stop_strangers(&mut self, children: &[Child]) {
        for child in children.iter().filter(|child| child.ended.is_none()) {
            let member = self.network.members.get(&child.instance);
            if member.is_none_or(|member| member.child.generation() != child.generation) {
                tracing::warn!(instance = %child.instance, pid = child.pid, "not in the plan, ended");
                self.network
                    .todo
                    .kills
                    .push((child.instance.clone(), child.generation));
            }
        }
    }

    /// Notes when a life began, and follows its log where that is its probe.
    pub(super) fn note_start(
        &mut self,
        name: &InstanceName,
        generation: u64,
        pid: u32,
        at_ms: u64,
    ) {
        let Some(member) = self.network.members.get_mut(name) else {
            return;
        };
        if member.child.generation() != generation {
            return;
        }
        member.started = Some(Duration::from_millis(at_ms));
        let is_ready = member.child.phase() == Phase::Ready;
        if let (ProbeHow::Log { regex }, false) = (&member.process().probe.how, is_ready) {
            let (regex, from) = (regex.clone(), member.log_from);
            self.follow_log((name.clone(), generation), pid, regex, from);
        }
    }
}
