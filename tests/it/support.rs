//! What every test stands on: a scratch world of its own, the built binary, free ports, a Python
//! with pyzmq, and waiting for a state with a deadline.
//!
//! A [`World`] has its own state and runtime directories, so tests run in parallel and never meet a
//! network of the person who runs them. Dropping it takes its networks down, by pid, even when a
//! test failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a test waits for a state before it fails; generous, since machines are shared.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The built binary.
pub(crate) fn zmqnet() -> &'static str {
    env!("CARGO_BIN_EXE_zmqnet")
}

/// The project's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A scratch world: a directory, and state and runtime directories that only this test uses.
pub(crate) struct World {
    dir: PathBuf,
}

impl World {
    /// A new, empty world.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let name = format!(
            "zn-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        for sub in ["", "state", "run", "home"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        Self {
            dir: dir.canonicalize().unwrap(),
        }
    }

    /// The scratch directory, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path inside it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file inside it and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Any program, run inside this world.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("TMPDIR", std::env::temp_dir())
            .stdin(Stdio::null());
        command
    }

    /// `zmqnet` with arguments, not started yet.
    pub(crate) fn zmqnet(&self, args: &[&str]) -> Command {
        let mut command = self.command(zmqnet());
        command.args(args);
        command
    }

    /// Runs `zmqnet` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.zmqnet(args))
    }

    /// Runs `zmqnet` and insists on exit code 0.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(
            ran.code, 0,
            "zmqnet {args:?}\nstdout:\n{}\nstderr:\n{}",
            ran.stdout, ran.stderr
        );
        ran
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Every network of this world ends with it, whatever the test did.
        if let Ok(entries) = fs::read_dir(self.path("state").join("zmqnet")) {
            for name in entries.flatten().map(|entry| entry.file_name()) {
                drop(
                    self.zmqnet(&["down", "-T", &name.to_string_lossy()])
                        .output(),
                );
            }
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; 128 + n after signal n.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().expect("the program exists"))
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A child that ends with its test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts a command whose output is read later.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts"),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A range of `count` ports that no other test of any run on this machine is using now: below the
/// ephemeral range, claimed by a lock file, and free at this moment.
pub(crate) fn ports(count: u16) -> u16 {
    const FIRST: u16 = 12_000;
    const BLOCK: u16 = 20;
    const BLOCKS: u16 = 900;
    static START: OnceLock<u16> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = *START.get_or_init(|| (std::process::id() % u32::from(BLOCKS)) as u16);
    let blocks = count.div_ceil(BLOCK);
    loop {
        let block = NEXT.fetch_add(blocks, Ordering::Relaxed);
        assert!(block < BLOCKS, "no free block of ports is left");
        let index = (start + block) % BLOCKS;
        let first = FIRST + index * BLOCK;
        let is_whole = index + blocks <= BLOCKS;
        if is_whole && (first..first + count).all(is_free) {
            return first;
        }
    }
}

/// A turn with the ports that manifests get when they name none. Two networks that are planned at
/// the same moment would be given the same ones.
pub(crate) fn default_ports() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a port of 127.0.0.1 can be bound now.
pub(crate) fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Waits until `check` gives a value, and fails with `what` at the deadline.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "waited {DEADLINE:?} for: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A Python with pyzmq, and PyNaCl for libsodium, made under `target/` when it is first needed.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let venv = root().join("target/venv");
        let python = venv.join("bin/python3");
        let ready = venv.join("pyzmq-27.1-pynacl-ready");
        if ready.exists() {
            return python;
        }
        // Tests of one run share a process; other runs wait here for the one that makes it.
        fs::create_dir_all(root().join("target")).unwrap();
        let lock = fs::File::create(root().join("target/venv.lock")).unwrap();
        lock.lock().unwrap();
        if !ready.exists() {
            let made = Command::new("python3")
                .args(["-m", "venv"])
                .arg(&venv)
                .output();
            let made =
                made.expect("these tests need python3 with venv: apt-get install python3-venv");
            assert!(
                made.status.success(),
                "python3 -m venv: {}",
                Ran::from(made).stderr
            );
            let got = Command::new(&python)
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "pyzmq>=27",
                    "pynacl>=1.5",
                ])
                .output()
                .unwrap();
            assert!(
                got.status.success(),
                "pip install pyzmq pynacl: {}",
                Ran::from(got).stderr
            );
            fs::write(&ready, "").unwrap();
        }
        python
    })
}

/// Runs a Python script with pyzmq to its end.
pub(crate) fn py(world: &World, script: &str, args: &[&str]) -> Ran {
    let mut command = world.command(python());
    command.arg("-c").arg(script).args(args);
    Ran::of(&mut command)
}
