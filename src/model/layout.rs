//! Which files a network keeps, given its two directories.
//!
//! `state` survives a reboot (plan, ledger, logs); `runtime` does not need to (sockets). Finding the
//! two directories is `run::paths`' job; naming what is in them is done here, so that the compiler
//! can plan socket paths without touching the machine.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::endpoint::{Endpoint, IPC_PATH_BYTES_MAX};

/// The two directories of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What survives: `$XDG_STATE_HOME/zmqnet/NAME`.
    pub state: PathBuf,
    /// Sockets: `$XDG_RUNTIME_DIR/zmqnet/NAME`, or a 0700 directory below `/tmp`.
    pub runtime: PathBuf,
}

impl Layout {
    /// The plan that was applied last.
    pub fn plan_file(&self) -> PathBuf {
        self.state.join("plan.json")
    }

    /// PATH, HOME and a few more of whoever applied last, which every program is given.
    pub fn base_env_file(&self) -> PathBuf {
        self.state.join("env.json")
    }

    /// Which life each instance is in, what people wished and who rests, for the next supervisor.
    pub fn wishes_file(&self) -> PathBuf {
        self.state.join("wishes.json")
    }

    /// What the manifest was compiled with beside its text, when it was applied last.
    pub fn given_file(&self) -> PathBuf {
        self.state.join("given.json")
    }

    /// What was started: intents, pids, ends.
    pub fn ledger_file(&self) -> PathBuf {
        self.state.join("ledger.json")
    }

    /// The ports this network had, kept for its next start.
    pub fn pins_file(&self) -> PathBuf {
        self.state.join("pins.json")
    }

    /// Held by whoever starts or restarts the keeper and the supervisor.
    pub fn lock_file(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The directory of the logs.
    pub fn logs_dir(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// The log of an instance; the keeper and the supervisor log as `@keeper` and `@supervisor`.
    pub fn log_file(&self, instance: &str) -> PathBuf {
        self.logs_dir().join(format!("{instance}.log"))
    }

    /// What an instance is told by file: a role's configuration, or `ZMQNET_SOCKETS` of a program.
    pub fn told_file(&self, instance: &str) -> PathBuf {
        self.state.join("told").join(format!("{instance}.json"))
    }

    /// The members of its meshes, in the shape of a `peers.json`: `PEERS_PATH` of a program.
    pub fn peers_file(&self, instance: &str) -> PathBuf {
        self.state
            .join("told")
            .join(format!("{instance}.peers.json"))
    }

    /// The keys of a program, secret ones too: `ZMQNET_KEYS`. Beside the sockets, so that no disk keeps
    /// them.
    pub fn keys_file(&self, instance: &str) -> PathBuf {
        self.runtime.join(format!("{instance}.keys.json"))
    }

    /// Whether a file of the runtime directory means nothing once nothing runs: a socket, or keys.
    pub fn is_transient(file: &Path) -> bool {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let ends = [".sock", ".keys.json", ".keys.new"];
        ends.iter().any(|end| name.ends_with(end))
    }

    /// The keeper's socket.
    pub fn keeper_socket(&self) -> PathBuf {
        socket(&self.runtime, "keeper")
    }

    /// The supervisor's control socket, which speaks ZN1 over ZMTP.
    pub fn control_socket(&self) -> PathBuf {
        socket(&self.runtime, "control")
    }

    /// The socket that programs report to by the systemd notification protocol.
    pub fn notify_socket(&self) -> PathBuf {
        socket(&self.runtime, "notify")
    }

    /// The private health socket of a built-in role.
    pub fn health(&self, instance: &str) -> Endpoint {
        Endpoint::ipc(socket(&self.runtime, &format!("health.{instance}")))
    }

    /// Where the prober listens for an instance that only dials.
    pub fn prober(&self, instance: &str) -> Endpoint {
        Endpoint::ipc(socket(&self.runtime, &format!("prober.{instance}")))
    }

    /// A planned ipc listening socket of an instance.
    pub fn ipc(&self, instance: &str, port: &str) -> Endpoint {
        Endpoint::ipc(socket(&self.runtime, &format!("{instance}.{port}")))
    }
}

/// `DIR/NAME.sock`, with the name hashed where the path would be too long for the kernel.
fn socket(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(format!("{name}.sock"));
    if path.as_os_str().len() <= IPC_PATH_BYTES_MAX {
        return path;
    }
    dir.join(format!("{}.sock", short_hash(name)))
}

/// Eight hexadecimal digits that stand for a longer text.
pub fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_socket_paths_are_hashed_and_stay_apart() {
        let layout = Layout {
            state: "/s".into(),
            runtime: format!("/{}", "r".repeat(80)).into(),
        };
        let (a, b) = (
            layout.health(&"a".repeat(40)),
            layout.health(&"b".repeat(40)),
        );
        assert_ne!(a, b);
        assert!(a.path().unwrap().as_os_str().len() <= IPC_PATH_BYTES_MAX);
        assert!(
            layout
                .health("x")
                .path()
                .unwrap()
                .ends_with("health.x.sock")
        );
    }
}
