//! CURVE keys: 32 bytes, written as 40 characters of Z85 (RFC 32).
//!
//! A public key is a name and is shown freely. A secret key has no `Debug` of its content and no
//! `Display`, is no part of anything that is serialised, and is wiped from memory when it is dropped.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The bytes of a key.
pub const KEY_BYTES: usize = 32;
/// The characters of a key as Z85.
pub const KEY_CHARS: usize = 40;

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// Not as long as a key.
    Length(usize),
    /// A character, or a group of five, that Z85 does not have.
    NotZ85,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => {
                write!(
                    f,
                    "a key is {KEY_CHARS} characters of Z85, this has {length}"
                )
            }
            Self::NotZ85 => f.write_str("this is not Z85"),
        }
    }
}

impl std::error::Error for KeyError {}

fn decode(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    if text.len() != KEY_CHARS {
        return Err(KeyError::Length(text.chars().count()));
    }
    let mut bytes = z85::decode(text).map_err(|_| KeyError::NotZ85)?;
    let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| KeyError::NotZ85);
    bytes.zeroize();
    key
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(transparent)]
pub struct PublicKey(#[schemars(with = "String")] [u8; KEY_BYTES]);

impl PublicKey {
    /// A key from its bytes.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&z85::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A secret key; wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// A key from its bytes.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Its text, for a file that only its owner reads; wiped when dropped.
    pub fn to_z85(&self) -> Zeroizing<String> {
        Zeroizing::new(z85::encode(self.0))
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A public key and its secret.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// What others know.
    pub public: PublicKey,
    /// What nobody else knows.
    pub secret: SecretKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pair of RFC 26's man page examples: `zmq_curve(7)`.
    const PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    const SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";

    #[test]
    fn a_key_is_its_text_and_back() {
        let key: PublicKey = PUBLIC.parse().unwrap();
        assert_eq!(key.to_string(), PUBLIC);
        assert_eq!(
            serde_json::from_str::<PublicKey>(&serde_json::to_string(&key).unwrap()).unwrap(),
            key
        );
        let secret: SecretKey = SECRET.parse().unwrap();
        assert_eq!(*secret.to_z85(), SECRET);
    }

    #[test]
    fn what_is_no_key_is_refused_in_words() {
        assert_eq!("short".parse::<PublicKey>(), Err(KeyError::Length(5)));
        assert_eq!("~".repeat(40).parse::<PublicKey>(), Err(KeyError::NotZ85));
        // Five characters can say more than four bytes hold.
        assert_eq!("#".repeat(40).parse::<PublicKey>(), Err(KeyError::NotZ85));
        assert_eq!("é".repeat(20).parse::<PublicKey>(), Err(KeyError::NotZ85));
    }

    #[test]
    fn a_secret_is_in_no_debug_output() {
        let secret: SecretKey = SECRET.parse().unwrap();
        let pair = KeyPair {
            public: PUBLIC.parse().unwrap(),
            secret,
        };
        assert!(!format!("{pair:?}").contains("D:)Q"));
    }
}
