//! A command that the supervisor runs and waits for: a probe, or one of our own.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Between two looks whether it has ended: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// A command in a process group of its own. Whoever lets go of it, cancelled or not, ends it and what it
/// started.
pub(super) struct Asked(pub(super) Child);

impl Asked {
    /// Waits until it has ended, or until the time is over: then nothing.
    pub(super) async fn ended(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        let (mut pause, pause_max) = PAUSES;
        loop {
            match self.0.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() < deadline => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(pause_max);
                }
                None => return Ok(None),
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Not reaped yet, so the number of its group is nobody else's.
        let group = match self.0.try_wait() {
            Ok(None) => i32::try_from(self.0.id()).ok().and_then(Pid::from_raw),
            Ok(Some(_)) | Err(_) => None,
        };
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
            drop(self.0.wait());
        }
    }
}
