//! The key directory: certificate files, who else is admitted, which keys are revoked.
//!
//! ```text
//! NAME.key         what everybody may know: the public key, those before it, how long they are good
//! NAME.key_secret  the same with the secrets; 0600, or nothing is read
//! allowed          one more client of a listener a line: KEY AS NODE SINCE
//! revoked          keys that are good for nothing any more: KEY NAME SINCE
//! ```
//!
//! Everything is read anew each time, since the files are small and are the only truth; whoever
//! serves wires is woken by [`Watch`] when they change. Nothing here prints a secret, and a directory
//! or a secret that others can open is refused, with what to type. Writing is in `store`.

mod certificate;
mod error;
mod keyring;
mod store;
pub(crate) mod time;
mod told;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::model::key::{KeyPair, PublicKey};
use crate::model::name::InstanceName;
use crate::model::security::{Admitted, Guarded, OPERATOR};

pub use certificate::CertificateFault;
use certificate::{CREATED, Certificate, FILE_BYTES_MAX, ROTATED};
pub use error::KeyDirError;
pub use keyring::Keyring;
pub use store::{Made, check_name};
pub use told::{ProgramKeys, of_program, public_of_program};
pub use watch::Watch;

/// The end of a public key file's name.
const PUBLIC: &str = "key";
/// The end of a secret key file's name.
const SECRET: &str = "key_secret";
/// The file of additional clients.
const ALLOWED: &str = "allowed";
/// Names of strangers that a listener remembers, to say whom it refused.
const KNOWN_MAX: usize = 1_024;
/// The file of keys that are good for nothing any more.
const REVOKED: &str = "revoked";

/// A key directory whose modes were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDir {
    path: PathBuf,
}

/// The keys of a listener: what it answers to and whom it admits, at a moment.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    /// Its own pairs, the current one first, then those that are still good.
    pub pairs: Vec<KeyPair>,
    /// Who is admitted, by key.
    pub allow: BTreeMap<PublicKey, String>,
    /// Keys before those of who is admitted, whose time is over: they meet nobody any more, and whoever
    /// was met with one stays.
    pub retired: BTreeMap<PublicKey, String>,
    /// Keys that are revoked, and whose they were.
    pub revoked: BTreeMap<PublicKey, String>,
    /// Whose the other keys of the directory are; they admit nobody.
    pub known: BTreeMap<PublicKey, String>,
    /// Instances that should be admitted and whose public keys are not here.
    pub missing: BTreeSet<InstanceName>,
    /// When the next of these keys is no longer good.
    pub good_until: Option<SystemTime>,
}

/// A client that a person admitted to a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Its key.
    pub key: PublicKey,
    /// What it is called.
    pub who: String,
    /// The node or the instance that admits it.
    pub node: String,
    /// Since when, as text.
    pub since: String,
}

/// A key that is good for nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The key.
    pub key: PublicKey,
    /// Whose it was; `-` where nobody knows.
    pub who: String,
    /// Since when, as text.
    pub since: String,
}

/// What may be shown of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Whose it is.
    pub name: String,
    /// The public key.
    pub key: PublicKey,
    /// Whether its secret is here.
    pub has_secret: bool,
    /// When it was made, as its file says.
    pub created: Option<String>,
    /// When it was last replaced, as its file says.
    pub rotated: Option<String>,
    /// Until when a key before it is good.
    pub overlap_until: Option<String>,
}

impl KeyDir {
    /// Opens a directory that is there, is ours and is closed to others.
    pub fn open(path: &Path) -> Result<Self, KeyDirError> {
        let meta = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(match Self::is_misplaced(path) {
                    true => KeyDirError::NotADirectory(path.to_owned()),
                    false => KeyDirError::NoDirectory(path.to_owned()),
                });
            }
            found => found.map_err(|error| KeyDirError::io(path, error))?,
        };
        if !meta.is_dir() {
            return Err(KeyDirError::NotADirectory(path.to_owned()));
        }
        closed(path, &meta, 0o700)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Whether something else is where a key directory would be, a link to nowhere included.
    pub fn is_misplaced(path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok() && !path.is_dir()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a public key.
    pub fn public_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.{PUBLIC}"))
    }

    /// The file of a secret key.
    pub fn secret_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.{SECRET}"))
    }

    /// The pairs of a name, the current one first, then those that are still good.
    pub fn own(&self, name: &str) -> Result<Vec<KeyPair>, KeyDirError> {
        Ok(self.own_until(name)?.0)
    }

    /// The same, and when the next of them is no longer good.
    fn own_until(&self, name: &str) -> Result<(Vec<KeyPair>, Option<SystemTime>), KeyDirError> {
        let now = SystemTime::now();
        let own = self.secret(name)?;
        let until = own.next_end(now);
        Ok((own.pairs(now), until))
    }

    /// The public keys of a name, the current one first, then those that are still good.
    pub fn public(&self, name: &str) -> Result<Vec<PublicKey>, KeyDirError> {
        Ok(self.certificate(name)?.publics(SystemTime::now()))
    }

    /// The keys by which somebody who listens can be told, revoked ones left out.
    pub fn servers(&self, server: &Admitted) -> Result<Vec<PublicKey>, KeyDirError> {
        let mut keys = match server.key {
            Some(key) => vec![key],
            None => self.public(server.who.as_str())?,
        };
        let revoked = self.revoked()?;
        keys.retain(|key| !revoked.iter().any(|gone| gone.key == *key));
        if keys.is_empty() {
            return Err(KeyDirError::Revoked(server.who.to_string()));
        }
        Ok(keys)
    }

    /// The keys before those of somebody who listens, whose time is over; revoked ones left out. Nobody
    /// is dialled by one, and a connection that was made by one lives on.
    pub fn retired(&self, server: &Admitted) -> Result<Vec<PublicKey>, KeyDirError> {
        if server.key.is_some() {
            return Ok(Vec::new());
        }
        let certificate = self.certificate(server.who.as_str())?;
        let revoked = self.revoked()?;
        let retired = certificate.retired(SystemTime::now());
        Ok(retired
            .filter(|key| !revoked.iter().any(|gone| gone.key == *key))
            .collect())
    }

    /// Everything that a listener needs.
    pub fn ring(&self, guarded: &Guarded) -> Result<Ring, KeyDirError> {
        let now = SystemTime::now();
        let (pairs, good_until) = self.own_until(guarded.name.as_str())?;
        let mut ring = Ring {
            good_until,
            pairs,
            ..Ring::default()
        };
        for admitted in &guarded.allow {
            self.admit(admitted, now, &mut ring)?;
        }
        if guarded.admits_operator && self.public_file(OPERATOR).exists() {
            let who = OPERATOR.into();
            self.admit(&Admitted { who, key: None }, now, &mut ring)?;
        }
        let names = [guarded.name.as_str(), guarded.node.as_str()];
        for allowed in self.allowed()? {
            if names.contains(&allowed.node.as_str()) {
                ring.allow.entry(allowed.key).or_insert(allowed.who);
            }
        }
        for gone in self.revoked()? {
            let was = ring.allow.remove(&gone.key);
            let was = was.or(ring.retired.remove(&gone.key));
            ring.revoked.insert(gone.key, was.unwrap_or(gone.who));
        }
        ring.known = self.strangers(&ring, now);
        Ok(ring)
    }

    /// Whose the keys are that a ring does not admit. A file that cannot be read is nobody's.
    fn strangers(&self, ring: &Ring, now: SystemTime) -> BTreeMap<PublicKey, String> {
        let admitted: BTreeSet<&String> = ring.allow.values().collect();
        let names = self.names().unwrap_or_default().into_iter();
        let mut known = BTreeMap::new();
        for name in names
            .filter(|name| !admitted.contains(name))
            .take(KNOWN_MAX)
        {
            if let Ok(certificate) = self.certificate(&name) {
                let keys = certificate.publics(now).into_iter();
                known.extend(keys.map(|key| (key, name.clone())));
            }
        }
        known
    }

    fn admit(&self, is: &Admitted, now: SystemTime, ring: &mut Ring) -> Result<(), KeyDirError> {
        if let Some(key) = is.key {
            ring.allow.insert(key, is.who.to_string());
            return Ok(());
        }
        match self.certificate(is.who.as_str()) {
            Ok(certificate) => {
                let keys = certificate.publics(now).into_iter();
                ring.allow.extend(keys.map(|key| (key, is.who.to_string())));
                let retired = certificate.retired(now);
                let retired = retired.map(|key| (key, is.who.to_string()));
                ring.retired.extend(retired);
                let ends = [ring.good_until, certificate.next_end(now)];
                ring.good_until = ends.into_iter().flatten().min();
            }
            Err(KeyDirError::NoKey { .. }) => {
                ring.missing.insert(is.who.clone());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whose a key is, as far as the directory knows.
    pub fn who(&self, key: &PublicKey) -> Option<String> {
        if let Ok(allowed) = self.allowed()
            && let Some(one) = allowed.iter().find(|one| one.key == *key)
        {
            return Some(one.who.clone());
        }
        let mut names = self.names().ok()?.into_iter();
        let has_it = |name: &String| {
            let certificate = self.certificate(name);
            certificate.is_ok_and(|it| {
                it.public == *key || it.previous.iter().any(|earlier| earlier.public == *key)
            })
        };
        names.find(has_it).or_else(|| {
            let revoked = self.revoked().ok()?;
            let gone = revoked.into_iter().find(|gone| gone.key == *key)?;
            (gone.who != store::NOBODY).then_some(gone.who)
        })
    }

    /// The names that have a public key here, in order.
    pub fn names(&self) -> Result<BTreeSet<String>, KeyDirError> {
        let entries =
            fs::read_dir(&self.path).map_err(|error| KeyDirError::io(&self.path, error))?;
        let name = |entry: fs::DirEntry| {
            let file = entry.file_name().into_string().ok()?;
            let name = file.strip_suffix(PUBLIC)?.strip_suffix('.')?;
            store::is_key_name(name).then(|| name.to_owned())
        };
        Ok(entries.flatten().filter_map(name).collect())
    }

    /// What may be shown of a name's key.
    pub fn facts(&self, name: &str) -> Result<KeyFacts, KeyDirError> {
        let certificate = self.certificate(name)?;
        let said = |what: &str| certificate.said(what).map(str::to_owned);
        let now = SystemTime::now();
        let ends = certificate.previous.iter().map(|earlier| earlier.until);
        Ok(KeyFacts {
            name: name.to_owned(),
            key: certificate.public,
            has_secret: self.has_secret(name)?,
            created: said(CREATED),
            rotated: said(ROTATED),
            overlap_until: ends.filter(|until| *until > now).max().map(time::text),
        })
    }

    /// The clients that a person admitted, in order.
    pub fn allowed(&self) -> Result<Vec<Allowed>, KeyDirError> {
        let one = |fields: &[&str]| match fields {
            [key, who, node, since] => Some(Allowed {
                key: key.parse().ok()?,
                who: (*who).to_owned(),
                node: (*node).to_owned(),
                since: (*since).to_owned(),
            }),
            _ => None,
        };
        self.lines(ALLOWED, one)
    }

    /// The keys that are good for nothing any more, in order.
    pub fn revoked(&self) -> Result<Vec<Revoked>, KeyDirError> {
        let one = |fields: &[&str]| match fields {
            [key, who, since] => Some(Revoked {
                key: key.parse().ok()?,
                who: (*who).to_owned(),
                since: (*since).to_owned(),
            }),
            _ => None,
        };
        self.lines(REVOKED, one)
    }

    /// The lines of a record; one that is not understood is a fault, since it may revoke a key.
    fn lines<T>(
        &self,
        file: &str,
        one: impl Fn(&[&str]) -> Option<T>,
    ) -> Result<Vec<T>, KeyDirError> {
        let path = self.path.join(file);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|error| KeyDirError::io(&path, error))?,
        };
        let mut found = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            // A key may begin with `#` too, and has no space behind it.
            if fields.is_empty() || fields[0] == "#" {
                continue;
            }
            let line = index + 1;
            let path = || path.clone();
            found.push(one(&fields).ok_or_else(|| KeyDirError::Line { path: path(), line })?);
        }
        Ok(found)
    }

    /// Refuses a directory that holds a secret which others can open.
    pub fn check_secrets(&self) -> Result<(), KeyDirError> {
        let entries =
            fs::read_dir(&self.path).map_err(|error| KeyDirError::io(&self.path, error))?;
        let secrets = entries.flatten().map(|entry| entry.path());
        // What is beside its place while it is written has the name of nobody.
        let mut secrets: Vec<PathBuf> = secrets
            .filter(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let stem = name
                    .strip_suffix(SECRET)
                    .and_then(|it| it.strip_suffix('.'));
                stem.is_some_and(store::is_key_name)
            })
            .collect();
        secrets.sort();
        for path in secrets {
            // One that is gone meanwhile is open to nobody.
            if let Ok(meta) = fs::metadata(&path) {
                closed(&path, &meta, 0o600)?;
            }
        }
        Ok(())
    }

    /// The public file of a name.
    fn certificate(&self, name: &str) -> Result<Certificate, KeyDirError> {
        let path = self.public_file(name);
        let text = read(&path, name)?;
        parse(&path, &text)
    }

    /// Whether a secret key is here; one that others can open is refused.
    fn has_secret(&self, name: &str) -> Result<bool, KeyDirError> {
        let path = self.secret_file(name);
        match fs::metadata(&path) {
            Ok(meta) => closed(&path, &meta, 0o600).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// The secret file of a name.
    fn secret(&self, name: &str) -> Result<Certificate, KeyDirError> {
        self.has_secret(name)?;
        let path = self.secret_file(name);
        let text = read(&path, name)?;
        let certificate = parse(&path, &text)?;
        if certificate.secret.is_none() {
            let fault = CertificateFault::NoSecretKey;
            return Err(KeyDirError::File { path, fault });
        }
        Ok(certificate)
    }
}

/// Reads the public key of a certificate file anywhere.
pub fn public_key_of(path: &Path) -> Result<PublicKey, KeyDirError> {
    let text = read(path, &path.to_string_lossy())?;
    Ok(parse(path, &text)?.public)
}

fn parse(path: &Path, text: &str) -> Result<Certificate, KeyDirError> {
    Certificate::parse(text).map_err(|fault| KeyDirError::File {
        path: path.to_owned(),
        fault,
    })
}

/// The text of a key file; it may hold a secret, and is wiped.
fn read(path: &Path, name: &str) -> Result<Zeroizing<String>, KeyDirError> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyDirError::NoKey {
                path: path.to_owned(),
                name: name.to_owned(),
            });
        }
        opened => opened.map_err(|error| KeyDirError::io(path, error))?,
    };
    let fault = |fault| KeyDirError::File {
        path: path.to_owned(),
        fault,
    };
    // All of the room at once, so that no half of a secret is left behind by a buffer that grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| KeyDirError::io(path, error))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(fault(CertificateFault::TooLong));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| fault(CertificateFault::NotText))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// What holds a secret is ours and closed to others.
fn closed(path: &Path, meta: &fs::Metadata, wanted: u32) -> Result<(), KeyDirError> {
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyDirError::NotOurs {
            path: path.to_owned(),
            owner: meta.uid(),
        });
    }
    let mode = meta.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyDirError::Loose {
            path: path.to_owned(),
            mode,
            wanted,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
