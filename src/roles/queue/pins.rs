//! Tasks that one worker alone is to do: `submit` with `worker`, the connection that it has.
//!
//! They wait in a list of that worker, beside the one of its service, and go before what anybody may do. No
//! connection comes back under its number, so that where it ends they are given up: nobody else does what
//! this one was asked.

use crate::protocol::zn1;
use crate::roles::machine::{Action, Conn};

use super::Machine;
use super::flow::ours;
use super::services::{Hand, Service, Services};
use super::tasks::{Key, State};
use super::verbs::Refused;

/// Whose list it is: of which service, and of which worker of it.
pub(super) type Pin = (usize, Conn);

/// Why what one worker alone was to do is given up.
pub(super) const UNPINNED: &str = "its worker was lost, and no other was to do it";

impl Services {
    /// The list of a worker of a service; nothing where there are too many.
    fn pin(&mut self, pin: Pin) -> Option<usize> {
        if let Some(number) = self.pins.get(&pin) {
            return Some(*number);
        }
        // It keeps its service, whoever else comes and goes.
        self.of(pin.0).pins += 1;
        let Some(number) = self.vacant() else {
            self.of(pin.0).pins -= 1;
            return None;
        };
        let name = self.name(pin.0).clone();
        *self.of(number) = Service::new(name, Some(pin));
        self.pins.insert(pin, number);
        Some(number)
    }

    /// Ends the list of a worker that is gone, or of which nobody has anything left.
    pub(super) fn unpin(&mut self, number: usize) {
        if let Some(pin) = self.of(number).pin.take() {
            self.pins.remove(&pin);
            self.of(pin.0).pins -= 1;
        }
    }

    /// The service that a list is of.
    pub(super) fn main(&self, number: usize) -> usize {
        self.at(number).pin.map_or(number, |(main, _)| main)
    }

    /// A worker for the next task of a list: the one that has waited longest, or the only one.
    pub(super) fn hand(&mut self, number: usize) -> Option<Hand> {
        match self.at(number).pin {
            None => self.of(number).idle.pop_front(),
            Some((main, conn)) => {
                let idle = &mut self.of(main).idle;
                let at = idle.iter().position(|hand| hand.conn() == conn)?;
                idle.remove(at)
            }
        }
    }

    /// The list of a worker, where tasks wait in it.
    pub(super) fn pinned(&self, pin: Pin) -> Option<usize> {
        if self.pins.is_empty() {
            return None;
        }
        let number = *self.pins.get(&pin)?;
        (self.at(number).ready() > 0).then_some(number)
    }
}

impl Machine {
    /// The list of the one worker that is to do a task.
    pub(super) fn pin(&mut self, main: usize, worker: u64) -> Result<usize, Refused> {
        let conn = Conn(worker);
        let works = self.peers.get(&conn).is_some_and(|peer| {
            let works = peer.worker.as_ref().is_some_and(|it| it.service == main);
            works || peer.taker == Some(main)
        });
        if !works {
            let service = String::from_utf8_lossy(self.services.name(main)).into_owned();
            let words = format!("connection {worker} is no worker of `{service}`");
            return Err(Refused(zn1::NOT_FOUND, words));
        }
        let found = self.services.pin((main, conn));
        found.ok_or_else(|| Refused::new(zn1::BACK_PRESSURE, "there are too many services"))
    }

    /// A worker waits for a task: those that it alone is to do are first.
    pub(super) fn dispatch_pinned(&mut self, pin: Pin, actions: &mut Vec<Action>) {
        if let Some(number) = self.services.pinned(pin) {
            self.dispatch(number, actions);
        }
    }

    /// A worker is gone, or is none any more: what nobody else was to do is given up, and whoever looks
    /// after the queue may have others try it again. What it still takes by `take` stays.
    pub(super) fn give_up_pinned(&mut self, conn: Conn, actions: &mut Vec<Action>) {
        let takes = self.peers.get(&conn).and_then(|peer| peer.taker);
        for number in self.services.pins_of(conn) {
            let main = self.services.main(number);
            if takes == Some(main) {
                continue;
            }
            let all = self.tasks.iter();
            let its = all.filter(|(_, task)| task.service == number);
            let mut its: Vec<Key> = its.map(|(key, _)| key).collect();
            its.sort_by_key(|key| self.tasks.get(*key).map(|task| task.order));
            let name = self.services.name(number).clone();
            *self.services.of(number) = Service::new(name, Some((main, conn)));
            self.services.unpin(number);
            self.services.of(main).tasks += its.len();
            for key in its {
                let task = self.tasks.of(key);
                task.service = main;
                match task.state {
                    State::Dead => continue,
                    State::Queued => {}
                    State::Delayed(timer) => self.timers.clear(timer),
                    State::Leased(_) => unreachable!("what it had was taken back"),
                }
                self.note(key, ours("lost", UNPINNED));
                self.bury(key, actions);
            }
        }
    }
}
