//! Watching a program that listens: one task a door.
//!
//! It keeps one connection to the program that is met and waits, so it knows at any moment whether
//! the program is there and what it shows, and hands that connection out when somebody outside
//! needs one. A program sees it as a connection whose handshake is not done: no peer yet. Libraries
//! give such a connection up after a while, libzmq after 30 s; then there is a new one.
//!
//! Where one connection serves all it makes one whenever it is asked for one, and no other.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::wire::hub::{ConnId, Face, Held, HoldError};

use super::News;

/// The first and the longest rest between two attempts while nobody listens: short, since it is on
/// this machine and somebody may be waiting.
const REST_MIN: Duration = Duration::from_millis(5);
const REST_MAX: Duration = Duration::from_millis(250);

/// One task.
pub(super) struct Lookout {
    pub(super) door: usize,
    pub(super) inner: Endpoint,
    pub(super) limits: WireLimits,
    /// Who needs a connection: somebody outside, or the gate itself for all of them.
    pub(super) wanted: mpsc::Receiver<Option<ConnId>>,
    pub(super) tell: mpsc::Sender<News>,
}

impl Lookout {
    /// Watches until the gate ends.
    pub(super) async fn run(mut self) {
        let mut shown: Option<Face> = None;
        loop {
            let held = self.meet(&mut shown).await;
            if shown.as_ref() != Some(held.face()) {
                shown = Some(held.face().clone());
                let (door, face) = (self.door, held.face().clone());
                self.say(News::Present { door, face }).await;
            }
            tokio::select! {
                // Cancel safe: what is not taken stays.
                conn = self.wanted.recv() => match conn {
                    Some(conn) => {
                        let door = self.door;
                        self.say(News::Spare { door, conn, held }).await;
                    }
                    None => return,
                },
                // Cancel safe: it only looks.
                () = held.gone() => {}
            }
        }
    }

    /// Makes a connection each time that one is asked for, until the gate ends.
    pub(super) async fn run_for_all(mut self) {
        let (mut shown, mut rest) = (None, REST_MIN);
        let mut last: Option<Instant> = None;
        while let Some(conn) = self.wanted.recv().await {
            // A program that ends each connection at once is not dialled for ever without a rest.
            let is_quick = last.is_some_and(|last| last.elapsed() < REST_MAX * 2);
            rest = if is_quick {
                (rest * 2).min(REST_MAX)
            } else {
                REST_MIN
            };
            if is_quick {
                sleep(rest).await;
            }
            let held = self.meet(&mut shown).await;
            last = Some(Instant::now());
            let door = self.door;
            self.say(News::Spare { door, conn, held }).await;
        }
    }

    /// A connection to the program, as soon as there is one.
    async fn meet(&self, shown: &mut Option<Face>) -> Held {
        let mut rest = REST_MIN;
        let mut told = None;
        loop {
            match Held::dial(&self.inner, &self.limits).await {
                Ok(held) => return held,
                Err(reason) => self.absent(shown, &mut told, reason).await,
            }
            sleep(rest.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            rest = (rest * 2).min(REST_MAX);
        }
    }

    async fn absent(
        &self,
        shown: &mut Option<Face>,
        told: &mut Option<HoldError>,
        reason: HoldError,
    ) {
        *shown = None;
        if told.as_ref() != Some(&reason) {
            *told = Some(reason.clone());
            let door = self.door;
            self.say(News::Absent { door, reason }).await;
        }
    }

    /// The gate may be gone; then nobody asks.
    async fn say(&self, news: News) {
        drop(self.tell.send(news).await);
    }
}
