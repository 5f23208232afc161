//! Writing the key directory: new keys, other keys, one more client, one less.
//!
//! A file is written beside its name, synced and moved into place, so a reader sees the old text or
//! the new one; a key that is there is replaced only by [`KeyDir::rotate`]. Of a pair the secret file
//! comes first: what dies in between leaves a listener that answers to both keys. Writers wait for
//! each other by a lock file.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::model::key::PublicKey;
use crate::model::name::is_name;
use crate::wire::curve;

use super::certificate::{Certificate, FILE_BYTES_MAX};
use super::{ALLOWED, KeyDir, KeyDirError, REVOKED, SECRET, time};

/// Who owned a key that nobody knows.
pub(super) const NOBODY: &str = "-";
/// Held by whoever writes.
const LOCK: &str = ".lock";
/// What git must never be given.
const GITIGNORE: &str = "# Secret keys stay on this machine.\n*.key_secret\n.lock\n";

/// What became of a key that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    New(PublicKey),
    /// It was there.
    Present(PublicKey),
}

/// Whether a text can be the name of an instance, include prefixes and all, or of a client.
pub(super) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && name.split('.').all(is_part)
}

/// Whether a key can have this name; what makes several asks before it makes the first.
pub fn check_name(name: &str) -> Result<(), KeyDirError> {
    if is_key_name(name) {
        return Ok(());
    }
    Err(KeyDirError::BadName(name.to_owned()))
}

/// Counted instances end with a number, so they may be longer than what a person writes.
fn is_part(part: &str) -> bool {
    let (stem, number) = part.rsplit_once('-').unwrap_or((part, ""));
    is_name(part) || (is_name(stem) && number.bytes().all(|byte| byte.is_ascii_digit()))
}

impl KeyDir {
    /// Opens a directory, and makes it where there is none, with a `.gitignore` in it.
    pub fn make_dir(path: &Path) -> Result<Self, KeyDirError> {
        if Self::is_misplaced(path) {
            return Err(KeyDirError::NotADirectory(path.to_owned()));
        }
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
        made.map_err(|error| KeyDirError::io(path, error))?;
        let dir = Self::open(path)?;
        let ignore = path.join(".gitignore");
        if !ignore.exists() {
            dir.place(&ignore, GITIGNORE.as_bytes(), (0o644, Place::Fresh))?;
        }
        Ok(dir)
    }

    /// Makes a name's pair, unless it has one. A public file that is missing beside a secret one is
    /// written again.
    pub fn make(&self, name: &str) -> Result<Made, KeyDirError> {
        check_name(name)?;
        let _lock = self.lock()?;
        match self.secret(name) {
            Ok(present) => {
                let public = present.public;
                if self.certificate(name).map(|it| it.public).ok() != Some(public) {
                    self.write_public(name, &present)?;
                }
                return Ok(Made::Present(public));
            }
            Err(KeyDirError::NoKey { .. }) => {}
            Err(error) => return Err(error),
        }
        let (public, secret) = (self.public_file(name), self.secret_file(name));
        if public.exists() {
            return Err(KeyDirError::NoSecret { public, secret });
        }
        let fresh = Certificate::new(name, curve::generate(), SystemTime::now());
        self.write_secret(name, &fresh, Place::Fresh)?;
        self.write_public(name, &fresh)?;
        Ok(Made::New(fresh.public))
    }

    /// Replaces a name's pair; the one before stays good for a while, unless it is revoked. Says
    /// whether it does.
    pub fn rotate(&self, name: &str, overlap: Duration) -> Result<(PublicKey, bool), KeyDirError> {
        check_name(name)?;
        let _lock = self.lock()?;
        let mut certificate = self.secret(name)?;
        let (now, before) = (SystemTime::now(), certificate.public);
        certificate.rotate(curve::generate(), now, now + overlap);
        let revoked = self.revoked()?;
        certificate
            .previous
            .retain(|earlier| !revoked.iter().any(|gone| gone.key == earlier.public));
        self.write_secret(name, &certificate, Place::Over)?;
        self.write_public(name, &certificate)?;
        let stays = certificate.previous.iter().any(|it| it.public == before);
        Ok((certificate.public, stays && !overlap.is_zero()))
    }

    /// Revokes keys; those that are revoked already are left as they are.
    pub fn revoke(&self, keys: &[(PublicKey, Option<String>)]) -> Result<(), KeyDirError> {
        let _lock = self.lock()?;
        let known = self.revoked()?;
        let since = time::text(SystemTime::now());
        let fresh = keys
            .iter()
            .filter(|(key, _)| !known.iter().any(|gone| gone.key == *key));
        let lines = fresh.map(|(key, who)| {
            let who = who.as_deref().unwrap_or(NOBODY);
            format!("{key} {who} {since}\n")
        });
        self.append(REVOKED, "# KEY NAME SINCE\n", lines.collect())
    }

    /// Every key of a name that somebody may still be connected with: its own, those before it, and
    /// those of clients that were admitted under it.
    pub fn keys_of(&self, name: &str) -> Result<Vec<PublicKey>, KeyDirError> {
        let mut keys = match self.certificate(name) {
            Ok(certificate) => {
                let now = SystemTime::now();
                let mut keys = certificate.publics(now);
                // Connections that were made with them may live.
                keys.extend(certificate.retired(now));
                keys
            }
            Err(KeyDirError::NoKey { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let allowed = self.allowed()?.into_iter();
        keys.extend(allowed.filter(|one| one.who == name).map(|one| one.key));
        keys.dedup();
        Ok(keys)
    }

    /// Admits one more client to a listener.
    pub fn allow(&self, key: PublicKey, who: &str, node: &str) -> Result<(), KeyDirError> {
        check_name(who)?;
        let _lock = self.lock()?;
        if self.revoked()?.iter().any(|gone| gone.key == key) {
            return Err(KeyDirError::Revoked(who.to_owned()));
        }
        let present = self.allowed()?;
        let is_known = |one: &super::Allowed| one.key == key && one.who == who && one.node == node;
        if present.iter().any(is_known) {
            return Ok(());
        }
        let since = time::text(SystemTime::now());
        let line = format!("{key} {who} {node} {since}\n");
        self.append(ALLOWED, "# KEY AS NODE SINCE\n", line)
    }

    fn append(&self, file: &str, head: &str, lines: String) -> Result<(), KeyDirError> {
        let path = self.path.join(file);
        let mut text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => head.to_owned(),
            read => read.map_err(|error| KeyDirError::io(&path, error))?,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&lines);
        self.place(&path, text.as_bytes(), (0o600, Place::Over))
    }

    fn write_public(&self, name: &str, certificate: &Certificate) -> Result<(), KeyDirError> {
        let text = certificate.public_text();
        self.place(
            &self.public_file(name),
            text.as_bytes(),
            (0o644, Place::Over),
        )
    }

    fn write_secret(
        &self,
        name: &str,
        certificate: &Certificate,
        place: Place,
    ) -> Result<(), KeyDirError> {
        let text = certificate.secret_text();
        let text = text.expect("a pair that was read or made has its secret");
        assert!(text.len() <= FILE_BYTES_MAX, "a key file stays readable");
        self.place(&self.secret_file(name), text.as_bytes(), (0o600, place))
    }

    fn lock(&self) -> Result<fs::File, KeyDirError> {
        let path = self.path.join(LOCK);
        let mut options = fs::OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let locked = options.open(&path).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        locked.map_err(|error| KeyDirError::io(&path, error))
    }

    /// Puts a whole file in its place.
    fn place(
        &self,
        path: &Path,
        text: &[u8],
        (mode, place): (u32, Place),
    ) -> Result<(), KeyDirError> {
        let beside = Beside::write(&self.path, text, mode)
            .map_err(|error| KeyDirError::io(&self.path, error))?;
        let placed = match place {
            Place::Over => fs::rename(&beside.0, path),
            // Unlike a rename, a link never replaces anything.
            Place::Fresh => fs::hard_link(&beside.0, path),
        };
        placed
            .and_then(|()| fs::File::open(&self.path)?.sync_all())
            .map_err(|error| KeyDirError::io(path, error))
    }
}

/// Whether a file may be there already.
#[derive(Debug, Clone, Copy)]
enum Place {
    Over,
    Fresh,
}

/// A file that is not in its place yet; it does not stay behind.
struct Beside(PathBuf);

impl Beside {
    fn write(dir: &Path, text: &[u8], mode: u32) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The end of its name is one that git ignores, whatever it holds.
        let name = format!(".new-{}-{count}.{SECRET}", std::process::id());
        let beside = Self(dir.join(name));
        drop(fs::remove_file(&beside.0));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let mut file = options.open(&beside.0)?;
        file.write_all(text)?;
        file.sync_all()?;
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
