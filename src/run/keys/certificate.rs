//! A key file: czmq's certificate format, as pyzmq writes it too.
//!
//! Sections start at the first column, their `name = value` lines are indented. `curve` holds the
//! pair, `metadata` what people wrote and when the key was made, and `previous` the keys before it
//! with the end of their time; neither czmq nor pyzmq reads that section. Reading is as lenient as
//! theirs, within a bound; writing keeps all metadata. A public file is never given a secret.

use std::fmt::Write;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::model::key::{KeyError, KeyPair, PublicKey, SecretKey};

use super::time;

/// A key file is some hundred bytes; what is longer is none.
pub(super) const FILE_BYTES_MAX: usize = 64 * 1024;
/// Earlier keys that are good at a time: a listener answers to four in all.
const PREVIOUS_MAX: usize = 3;
/// Earlier keys that are remembered, so that connections that were made with them live on: with a
/// rotation a day, those of eight months.
const REMEMBERED_MAX: usize = 256;

/// The metadata that zmqnet writes.
pub(super) const NAME: &str = "name";
pub(super) const CREATED: &str = "created";
pub(super) const ROTATED: &str = "rotated";

/// What a key file says.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) metadata: Vec<(String, String)>,
    pub(super) public: PublicKey,
    pub(super) secret: Option<SecretKey>,
    /// The keys before, the last one first.
    pub(super) previous: Vec<Previous>,
}

/// A key that was replaced: good until its end, and retired from then on.
#[derive(Debug, Clone)]
pub(super) struct Previous {
    pub(super) public: PublicKey,
    pub(super) secret: Option<SecretKey>,
    pub(super) until: SystemTime,
}

/// Why a file is no key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// It has no line `public-key`.
    NoPublicKey,
    /// It has no line `secret-key`, and is a secret one.
    NoSecretKey,
    /// What stands there is no key.
    Key(KeyError),
    /// It is longer than any key file.
    TooLong,
    /// It is no text.
    NotText,
}

impl std::fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoPublicKey => f.write_str("it has no `public-key`"),
            Self::NoSecretKey => f.write_str("it has no `secret-key`"),
            Self::Key(error) => error.fmt(f),
            Self::TooLong => write!(f, "it is longer than {FILE_BYTES_MAX} bytes"),
            Self::NotText => f.write_str("it is not text"),
        }
    }
}

impl std::error::Error for CertificateFault {}

/// One line within a section.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let value = value.trim_matches([' ', '\t', '\'', '"']);
    Some((name.trim(), value))
}

impl Certificate {
    /// A fresh one.
    pub(super) fn new(name: &str, pair: KeyPair, now: SystemTime) -> Self {
        Self {
            metadata: vec![
                (NAME.to_owned(), name.to_owned()),
                (CREATED.to_owned(), time::text(now)),
            ],
            public: pair.public,
            secret: Some(pair.secret),
            previous: Vec::new(),
        }
    }

    /// Reads a file's text.
    pub(super) fn parse(text: &str) -> Result<Self, CertificateFault> {
        let (mut public, mut secret) = (None, None);
        let mut metadata = Vec::new();
        let mut earlier: Vec<(&str, &str)> = Vec::new();
        let mut section = "";
        for line in text.lines() {
            let bare = line.trim();
            if bare.is_empty() || bare.starts_with('#') {
                continue;
            }
            if !line.starts_with([' ', '\t']) && !bare.contains('=') {
                section = bare;
                continue;
            }
            let Some((name, value)) = entry(bare) else {
                continue;
            };
            match (section, name) {
                ("metadata", _) => metadata.push((name.to_owned(), value.to_owned())),
                ("previous", _) => earlier.push((name, value)),
                (_, "public-key") => public = Some(value.parse().map_err(CertificateFault::Key)?),
                (_, "secret-key") => secret = Some(value.parse().map_err(CertificateFault::Key)?),
                _ => {}
            }
        }
        Ok(Self {
            metadata,
            public: public.ok_or(CertificateFault::NoPublicKey)?,
            secret,
            previous: previous(&earlier)?,
        })
    }

    /// The text of the public file.
    pub(super) fn public_text(&self) -> String {
        let mut text = format!(
            "#   ****  Generated on {} by zmqnet  ****\n\
             #   ZeroMQ CURVE Public Certificate\n\
             #   Exchange securely, or use a secure mechanism to verify the contents\n\
             #   of this file after exchange.\n\n",
            self.said(CREATED).unwrap_or("an unknown day")
        );
        self.write(&mut text, false);
        text
    }

    /// The text of the secret file; nothing where there is no secret.
    pub(super) fn secret_text(&self) -> Option<Zeroizing<String>> {
        self.secret.as_ref()?;
        // Room for all of it, so that no half of a secret is left behind by a text that grew.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
        write!(
            text,
            "#   ****  Generated on {} by zmqnet  ****\n\
             #   ZeroMQ CURVE **Secret** Certificate\n\
             #   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions.\n\n",
            self.said(CREATED).unwrap_or("an unknown day")
        )
        .expect("a text takes whatever is written");
        self.write(&mut text, true);
        Some(text)
    }

    fn write(&self, text: &mut String, with_secrets: bool) {
        text.push_str("metadata\n");
        for (name, value) in &self.metadata {
            put(text, name, value);
        }
        text.push_str("curve\n");
        put(text, "public-key", &self.public.to_string());
        if let Some(secret) = self.secret.as_ref().filter(|_| with_secrets) {
            put(text, "secret-key", &secret.to_z85());
        }
        if !self.previous.is_empty() {
            text.push_str("previous\n");
        }
        for (index, earlier) in self.previous.iter().enumerate() {
            let number = index + 1;
            put(text, &format!("key-{number}"), &earlier.public.to_string());
            put(text, &format!("until-{number}"), &time::text(earlier.until));
            if let Some(secret) = earlier.secret.as_ref().filter(|_| with_secrets) {
                put(text, &format!("secret-{number}"), &secret.to_z85());
            }
        }
    }

    /// Puts a fresh pair in the place of this one, which stays good until `until`.
    pub(super) fn rotate(&mut self, pair: KeyPair, now: SystemTime, until: SystemTime) {
        let previous = Previous {
            public: self.public,
            secret: self.secret.take(),
            until,
        };
        self.previous.insert(0, previous);
        let mut good = 0;
        for earlier in &mut self.previous {
            good += usize::from(earlier.until > now);
            if good > PREVIOUS_MAX {
                earlier.until = earlier.until.min(now);
            }
            if earlier.until <= now {
                // Nobody is met with it any more.
                earlier.secret = None;
            }
        }
        self.previous.truncate(REMEMBERED_MAX);
        (self.public, self.secret) = (pair.public, Some(pair.secret));
        self.say(ROTATED, time::text(now));
    }

    /// The key and those before it that are still good.
    pub(super) fn publics(&self, now: SystemTime) -> Vec<PublicKey> {
        let earlier = self.previous.iter().filter(|earlier| earlier.until > now);
        std::iter::once(self.public)
            .chain(earlier.map(|earlier| earlier.public))
            .collect()
    }

    /// The keys before it whose time is over: nobody is met with one, and who was is not cut off.
    pub(super) fn retired(&self, now: SystemTime) -> impl Iterator<Item = PublicKey> + '_ {
        let earlier = self.previous.iter();
        let over = earlier.filter(move |earlier| earlier.until <= now);
        over.map(|earlier| earlier.public)
    }

    /// The pair and those before it that are still good.
    pub(super) fn pairs(self, now: SystemTime) -> Vec<KeyPair> {
        let earlier = self.previous.into_iter();
        let earlier = earlier.filter(|earlier| earlier.until > now);
        let pair = |(public, secret): (PublicKey, Option<SecretKey>)| {
            secret.map(|secret| KeyPair { public, secret })
        };
        std::iter::once((self.public, self.secret))
            .chain(earlier.map(|earlier| (earlier.public, earlier.secret)))
            .filter_map(pair)
            .collect()
    }

    /// When the next of the keys before it is no longer good.
    pub(super) fn next_end(&self, now: SystemTime) -> Option<SystemTime> {
        let ends = self.previous.iter().map(|earlier| earlier.until);
        ends.filter(|until| *until > now).min()
    }

    /// Sets a value of the metadata.
    fn say(&mut self, name: &str, value: String) {
        match self.metadata.iter_mut().find(|(key, _)| key == name) {
            Some((_, said)) => *said = value,
            None => self.metadata.push((name.to_owned(), value)),
        }
    }

    /// A value of the metadata.
    pub(super) fn said(&self, name: &str) -> Option<&str> {
        let mut said = self.metadata.iter().filter(|(key, _)| key == name);
        said.next().map(|(_, value)| value.as_str())
    }
}

fn put(text: &mut String, name: &str, value: &str) {
    for part in ["    ", name, " = \"", value, "\"\n"] {
        text.push_str(part);
    }
}

/// The keys before, from their lines; one without an end is no longer good.
fn previous(lines: &[(&str, &str)]) -> Result<Vec<Previous>, CertificateFault> {
    let value = |name: String| {
        let mut values = lines.iter().filter(|(key, _)| *key == name);
        values.next().map(|(_, value)| *value)
    };
    let mut found = Vec::new();
    for number in 1..=REMEMBERED_MAX {
        let Some(key) = value(format!("key-{number}")) else {
            break;
        };
        let Some(until) = value(format!("until-{number}")).and_then(time::parse) else {
            continue;
        };
        let secret = value(format!("secret-{number}"));
        found.push(Previous {
            public: key.parse().map_err(CertificateFault::Key)?,
            secret: secret
                .map(str::parse)
                .transpose()
                .map_err(CertificateFault::Key)?,
            until,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    const SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";

    fn pair(byte: u8) -> KeyPair {
        KeyPair {
            public: PublicKey::from_bytes([byte; 32]),
            secret: SecretKey::from_bytes([byte + 100; 32]),
        }
    }

    fn czmq() -> String {
        format!(
            "#   ****  Generated on 2013-01-02 by CZMQ  ****\n\nmetadata\n    \
             email = \"a=b@c\"\n    name = 'Peter'\ncurve\n    public-key = \"{PUBLIC}\"\n    \
             secret-key = \"{SECRET}\"\n"
        )
    }

    #[test]
    fn a_czmq_certificate_is_read_and_its_metadata_kept() {
        let read = Certificate::parse(&czmq()).unwrap();
        assert_eq!(read.public.to_string(), PUBLIC);
        let again = Certificate::parse(&read.secret_text().unwrap()).unwrap();
        assert_eq!(*again.secret.unwrap().to_z85(), SECRET);
        assert_eq!(again.metadata, read.metadata);
        assert_eq!(read.said("email"), Some("a=b@c"));
        assert!(!read.public_text().contains(SECRET));
    }

    #[test]
    fn a_rotated_key_is_good_until_its_end_and_its_secret_is_in_no_public_file() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let hour = Duration::from_secs(3_600);
        let mut key = Certificate::new("bravo", pair(1), begin);
        key.rotate(pair(2), begin + hour, begin + 3 * hour);
        key.rotate(pair(3), begin + 2 * hour, begin + 4 * hour);
        let read = Certificate::parse(&key.secret_text().unwrap()).unwrap();
        let bytes = |keys: Vec<PublicKey>| -> Vec<u8> {
            keys.iter().map(|key| key.as_bytes()[0]).collect()
        };
        assert_eq!(bytes(read.publics(begin + 2 * hour)), [3, 2, 1]);
        assert_eq!(bytes(read.publics(begin + 3 * hour)), [3, 2]);
        assert_eq!(read.next_end(begin + 3 * hour), Some(begin + 4 * hour));
        assert_eq!(read.clone().pairs(begin + 2 * hour).len(), 3);
        let public = Certificate::parse(&key.public_text()).unwrap();
        assert_eq!(bytes(public.publics(begin)), [3, 2, 1]);
        assert!(public.secret.is_none() && public.pairs(begin).is_empty());
        assert!(!key.public_text().contains(&*pair(1).secret.to_z85()));
    }

    #[test]
    fn a_key_whose_time_is_over_is_remembered_without_its_secret_and_of_good_ones_there_are_few() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let hour = Duration::from_secs(3_600);
        let mut key = Certificate::new("bravo", pair(1), begin);
        for byte in 2..=7 {
            key.rotate(pair(byte), begin, begin + hour);
        }
        let read = Certificate::parse(&key.secret_text().unwrap()).unwrap();
        let bytes = |keys: &mut dyn Iterator<Item = PublicKey>| -> Vec<u8> {
            keys.map(|key| key.as_bytes()[0]).collect()
        };
        assert_eq!(bytes(&mut read.publics(begin).into_iter()), [7, 6, 5, 4]);
        assert_eq!(bytes(&mut read.retired(begin)), [3, 2, 1]);
        assert_eq!(bytes(&mut read.retired(begin + hour)), [6, 5, 4, 3, 2, 1]);
        let text = key.secret_text().unwrap();
        assert!(!text.contains(&*pair(3).secret.to_z85()), "nobody needs it");
        for _ in 0..2 * REMEMBERED_MAX {
            key.rotate(pair(9), begin, begin + hour);
        }
        assert_eq!(key.previous.len(), REMEMBERED_MAX);
        let text = key.secret_text().unwrap();
        assert!(text.len() < FILE_BYTES_MAX / 2, "{}", text.len());
        let read = Certificate::parse(&text).unwrap();
        assert_eq!(read.previous.len(), REMEMBERED_MAX);
    }

    #[test]
    fn what_is_no_certificate_is_refused_in_words() {
        let fault = |text: &str| Certificate::parse(text).unwrap_err();
        assert_eq!(fault("metadata\n"), CertificateFault::NoPublicKey);
        assert_eq!(
            fault("curve\n    public-key = \"short\"\n"),
            CertificateFault::Key(KeyError::Length(5))
        );
    }
}
