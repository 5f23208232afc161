//! The other side of a CURVE handshake (RFC 26), made by hand: boxes that open, around anything at all.
//!
//! Everybody knows a listener's public key, so everybody can make boxes that it opens; and who is
//! admitted may still lie in everything that comes after.

use salsabox::BoxKey;
use x25519_dalek::{PublicKey, StaticSecret};

use super::command;

/// A pair.
pub struct Pair {
    pub secret: StaticSecret,
    pub public: PublicKey,
}

/// The pair whose secret is this byte again and again.
pub fn pair(byte: u8) -> Pair {
    let secret = StaticSecret::from([byte; 32]);
    Pair {
        public: PublicKey::from(&secret),
        secret,
    }
}

/// A box: its tag before it, as in libsodium.
pub fn seal(to: &PublicKey, from: &StaticSecret, nonce: &[u8; 24], plain: &[u8]) -> Vec<u8> {
    let shared = from.diffie_hellman(to);
    let key = BoxKey::from_shared_secret(shared.as_bytes()).expect("our keys are of full order");
    let mut body = plain.to_vec();
    let tag = key.encrypt_detached(nonce, &mut body);
    [&tag[..], &body].concat()
}

/// What a box holds.
pub fn open(
    from: &PublicKey,
    to: &StaticSecret,
    nonce: &[u8; 24],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let key = BoxKey::from_shared_secret(to.diffie_hellman(from).as_bytes())?;
    let (tag, body) = sealed.split_first_chunk::<16>()?;
    let mut plain = body.to_vec();
    key.decrypt_detached(nonce, &mut plain, tag).ok()?;
    Some(plain)
}

/// A nonce of a prefix and a counter.
pub fn short(prefix: &[u8; 16], counter: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// A nonce of a prefix and sixteen bytes that should be random.
pub fn long(prefix: &[u8; 8], suffix: &[u8; 16]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(prefix);
    nonce[8..].copy_from_slice(suffix);
    nonce
}

/// HELLO of a client with this passing key.
pub fn hello(passing: &Pair, server: &PublicKey) -> Vec<u8> {
    let sealed = seal(
        server,
        &passing.secret,
        &short(b"CurveZMQHELLO---", 1),
        &[0; 64],
    );
    let mut body = vec![1, 0];
    body.resize(74, 0);
    body.extend_from_slice(passing.public.as_bytes());
    body.extend_from_slice(&1u64.to_be_bytes());
    body.extend_from_slice(&sealed);
    command(b"HELLO", &body)
}

/// The server's passing key and the cookie of a WELCOME frame.
pub fn welcomed(passing: &Pair, server: &PublicKey, frame: &[u8]) -> Option<(PublicKey, Vec<u8>)> {
    let body = frame.get(2 + 8..)?;
    let suffix = body.first_chunk::<16>()?;
    let nonce = long(b"WELCOME-", suffix);
    let plain = open(server, &passing.secret, &nonce, &body[16..])?;
    let key = PublicKey::from(*plain.first_chunk::<32>()?);
    Some((key, plain[32..].to_vec()))
}

/// INITIATE that proves `own` and carries any metadata.
pub fn initiate(
    (passing, own): (&Pair, &Pair),
    (server, server_passing): (&PublicKey, &PublicKey),
    cookie: &[u8],
    metadata: &[u8],
) -> Vec<u8> {
    let nonce = long(b"VOUCH---", &[7; 16]);
    let vouched = [&passing.public.as_bytes()[..], server.as_bytes()].concat();
    let vouch = seal(server_passing, &own.secret, &nonce, &vouched);
    let plain = [&own.public.as_bytes()[..], &[7; 16], &vouch, metadata].concat();
    let nonce = short(b"CurveZMQINITIATE", 2);
    let sealed = seal(server_passing, &passing.secret, &nonce, &plain);
    let body = [cookie, &2u64.to_be_bytes(), &sealed].concat();
    command(b"INITIATE", &body)
}

/// A MESSAGE with any flags and content.
pub fn message(
    to: &PublicKey,
    from: &Pair,
    is_client: bool,
    counter: u64,
    plain: &[u8],
) -> Vec<u8> {
    let prefix = if is_client {
        b"CurveZMQMESSAGEC"
    } else {
        b"CurveZMQMESSAGES"
    };
    let sealed = seal(to, &from.secret, &short(prefix, counter), plain);
    let payload = [b"\x07MESSAGE", &counter.to_be_bytes()[..], &sealed].concat();
    super::frame(0, &payload)
}
