//! Clone, as RFC 12 (Clustered Hashmap Protocol) has it: how programs mirror a map.
//!
//! A mirror asks `main` for a snapshot, follows the updates on a SUB, and writes on a PUB. Every
//! command but the first is five frames: key, number, UUID, properties, value; an empty value is a
//! deletion.

use bytes::Bytes;

/// What a snapshot is asked for with.
pub const ICANHAZ: &[u8] = b"ICANHAZ?";
/// The key of a snapshot's last command.
pub const KTHXBAI: &str = "KTHXBAI";
/// The key of the sign of life.
pub const HUGZ: &str = "HUGZ";
/// The bytes of a UUID.
pub const UUID_BYTES: usize = 16;
/// The bytes of the properties that are read.
pub const PROPERTIES_BYTES_MAX: usize = 1_024;

/// The subtree that a message asks a snapshot of, if it does.
pub fn asked_for(frames: &[Bytes]) -> Option<&Bytes> {
    match frames {
        [magic, subtree] if magic == ICANHAZ => Some(subtree),
        _ => None,
    }
}

/// A command.
pub fn command(key: &str, number: u64, about: About, value: Bytes) -> Vec<Bytes> {
    vec![
        Bytes::copy_from_slice(key.as_bytes()),
        Bytes::copy_from_slice(&number.to_be_bytes()),
        about.uuid,
        about.properties,
        value,
    ]
}

/// What an update says beside its key and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Its UUID, or nothing.
    pub uuid: Bytes,
    /// Lines of `name=value`.
    pub properties: Bytes,
}

/// An update that a mirror sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The key.
    pub key: String,
    /// What it says beside.
    pub about: About,
    /// How long it lives, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The value; empty is a deletion.
    pub value: Bytes,
}

/// Reads an update; nothing where it is none.
pub fn update(frames: &[Bytes]) -> Option<Update> {
    let [key, number, uuid, properties, value] = frames else {
        return None;
    };
    let is_right = number.len() == 8
        && (uuid.is_empty() || uuid.len() == UUID_BYTES)
        && properties.len() <= PROPERTIES_BYTES_MAX;
    if !is_right {
        return None;
    }
    let lines = std::str::from_utf8(properties).ok()?;
    let mut ttl_ms = None;
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once('=')?;
        if name == "ttl" {
            // Zero is how programs of the Guide say that there is none.
            let seconds: u64 = value.trim().parse().ok()?;
            ttl_ms = Some(seconds.checked_mul(1_000)?).filter(|ms| *ms > 0);
        }
    }
    Some(Update {
        key: String::from_utf8(key.to_vec()).ok()?,
        about: About {
            uuid: uuid.clone(),
            properties: properties.clone(),
        },
        ttl_ms,
        value: value.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(texts: [&'static [u8]; 5]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::from_static(text)).collect()
    }

    const NUMBER: &[u8] = &[0; 8];

    #[test]
    fn an_update_has_golden_frames() {
        let read = update(&frames([b"/k", NUMBER, b"", b"ttl=30\nname=x\n", b"v"]));
        let read = read.expect("it is one");
        assert_eq!((read.key.as_str(), read.ttl_ms), ("/k", Some(30_000)));
        let command = command("/k", 258, read.about, read.value);
        let number: &[u8] = &[0, 0, 0, 0, 0, 0, 1, 2];
        let expected = frames([b"/k", number, b"", b"ttl=30\nname=x\n", b"v"]);
        assert_eq!(command, expected);
    }

    #[test]
    fn what_is_no_update_is_none() {
        let good = frames([b"k", NUMBER, &[7; 16], b"ttl=0\n", b""]);
        assert_eq!(update(&good).and_then(|it| it.ttl_ms), None);
        assert!(update(&good).is_some());
        assert!(update(&good[..4]).is_none());
        for bad in [
            [b"k", &NUMBER[..7], b"", b"", b"v"],
            [b"k", NUMBER, &[7; 15], b"", b"v"],
            [b"k", NUMBER, b"", b"ttl", b"v"],
            [b"k", NUMBER, b"", b"ttl=soon\n", b"v"],
            [b"k", NUMBER, b"", b"ttl=99999999999999999999\n", b"v"],
            [b"k", NUMBER, b"", &[0xff], b"v"],
            [&[0xff], NUMBER, b"", b"", b"v"],
        ] {
            assert!(update(&frames(bad)).is_none(), "{bad:?}");
        }
        let long = vec![Bytes::from(vec![b'x'; PROPERTIES_BYTES_MAX + 1]); 5];
        assert!(update(&long).is_none());
    }

    #[test]
    fn a_snapshot_is_asked_for_with_two_frames() {
        let asks = [Bytes::from_static(ICANHAZ), Bytes::from_static(b"/a/")];
        assert_eq!(asked_for(&asks), Some(&asks[1]));
        assert_eq!(asked_for(&asks[..1]), None);
    }
}
