//! The document of `ZMQNET_KEYS`: what a program needs to speak CURVE by itself, its secret included.
//!
//! It is written to a file that only its owner reads, and nowhere else. A program reads its pair when
//! it starts, so a file that is written again keeps that pair as long as it is good; whom it admits
//! may change at any time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::model::endpoint::Endpoint;
use crate::model::key::{KeyPair, PublicKey};
use crate::model::name::InstanceName;
use crate::plan::{Instance, Socket};

use super::{KeyDir, KeyDirError};

/// Room for all of it at once, so that no half of a secret is left behind by a buffer that grew.
const ROOM_BYTES: usize = 64 * 1024;

/// What a program is told.
#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    public: PublicKey,
    secret: &'a str,
    sockets: BTreeMap<&'a str, SocketKeys>,
}

/// The keys of one socket.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum SocketKeys {
    /// It listens: who is admitted, each with every key that is good.
    Clients(BTreeMap<String, Vec<PublicKey>>),
    /// It dials: the key at each endpoint.
    Servers(Servers),
}

/// In the order of the endpoints.
struct Servers(Vec<(Endpoint, PublicKey)>);

impl Serialize for Servers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = self.0.iter().map(|(at, key)| (at.to_string(), key));
        serializer.collect_map(texts)
    }
}

/// What is written for a program, and until when it is right.
pub struct ProgramKeys {
    /// The document; wiped when it is dropped.
    pub text: Zeroizing<Vec<u8>>,
    /// When the next of its keys is no longer good.
    pub good_until: Option<SystemTime>,
}

/// What a program is told. `used` says which key somebody is known to use now: a program that has not
/// been restarted since its key was replaced uses the one before.
pub fn of_program(
    keys: &Path,
    instance: &Instance,
    used: &dyn Fn(&InstanceName) -> Option<PublicKey>,
) -> Result<ProgramKeys, KeyDirError> {
    let dir = KeyDir::open(keys)?;
    let own = pair(&dir, &instance.name, used)?;
    let mut good_until = None;
    let mut sockets = BTreeMap::new();
    for socket in &instance.sockets {
        if let Some(keys) = socket_keys(&dir, socket, used, &mut good_until)? {
            sockets.insert(socket.env.as_str(), keys);
        }
    }
    let secret = own.secret.to_z85();
    let document = Document {
        name: instance.name.as_str(),
        public: own.public,
        secret: &secret,
        sockets,
    };
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM_BYTES));
    serde_json::to_writer(&mut *text, &document).expect("the document has only text keys");
    Ok(ProgramKeys { text, good_until })
}

/// The pair of a program: the one it uses, while that is good, else the current one.
fn pair(
    dir: &KeyDir,
    name: &InstanceName,
    used: &dyn Fn(&InstanceName) -> Option<PublicKey>,
) -> Result<KeyPair, KeyDirError> {
    let mut pairs = dir.own(name.as_str())?;
    let used = used(name).and_then(|key| pairs.iter().position(|pair| pair.public == key));
    Ok(pairs.swap_remove(used.unwrap_or(0)))
}

fn socket_keys(
    dir: &KeyDir,
    socket: &Socket,
    used: &dyn Fn(&InstanceName) -> Option<PublicKey>,
    good_until: &mut Option<SystemTime>,
) -> Result<Option<SocketKeys>, KeyDirError> {
    if let Some(guarded) = &socket.guarded {
        let ring = dir.ring(guarded)?;
        *good_until = [*good_until, ring.good_until].into_iter().flatten().min();
        let mut clients: BTreeMap<String, Vec<PublicKey>> = BTreeMap::new();
        for (key, who) in ring.allow {
            clients.entry(who).or_default().push(key);
        }
        return Ok(Some(SocketKeys::Clients(clients)));
    }
    if socket.servers.is_empty() {
        return Ok(None);
    }
    let mut servers = Vec::new();
    for server in &socket.servers {
        let keys = match dir.servers(&server.is) {
            // Who is revoked is not dialled.
            Err(KeyDirError::Revoked(_)) => continue,
            keys => keys?,
        };
        let known = used(&server.is.who).filter(|key| keys.contains(key));
        servers.push((server.endpoint.clone(), known.unwrap_or(keys[0])));
    }
    Ok(Some(SocketKeys::Servers(Servers(servers))))
}

/// The public key that a program was told, from its file.
pub fn public_of_program(path: &Path) -> Option<PublicKey> {
    /// What is asked of it; the secret is not read.
    #[derive(serde::Deserialize)]
    struct Told {
        public: PublicKey,
    }
    let text = Zeroizing::new(std::fs::read(path).ok()?);
    let told: Told = serde_json::from_slice(&text).ok()?;
    Some(told.public)
}
