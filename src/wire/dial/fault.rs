//! In which way somebody could not be dialled, and in which state a dialler is: words for `status`.

use std::fmt;
use std::io;

use serde::Serialize;

use crate::wire::hub::Mechanism;

/// Why a request got no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// Nobody listens there: the port is closed, or there is no socket file, or nobody behind it.
    NobodyListens,
    /// Somebody listens and broke off the handshake: no socket that serves requests, or too busy.
    Refused,
    /// Somebody listens and does not speak ZMTP.
    NotZmtp,
    /// Somebody listens and speaks this security mechanism, which is not ours.
    Speaks(Mechanism),
    /// Somebody listens, and the key we expect is not theirs.
    WrongServerKey,
    /// Somebody listens and does not admit our key.
    KeyRefused,
    /// Nobody was dialled, since their key, or ours, is not known here, or is revoked.
    NoKey,
    /// Somebody listens and did not finish the handshake in time.
    NoHandshake,
    /// Connected, and no reply in time.
    Silent,
    /// The address cannot be reached.
    Unreachable(io::ErrorKind),
    /// The connection was lost before the reply.
    Closed,
}

impl DialError {
    /// The reason in words, as `status` and `why` print it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NobodyListens => "nobody listens",
            Self::Refused => "refused",
            Self::NotZmtp => "does not speak ZMTP",
            Self::Speaks(Mechanism::Null) => "speaks NULL, not CURVE",
            Self::Speaks(Mechanism::Curve) => "speaks CURVE, not NULL",
            Self::Speaks(Mechanism::Plain) => "speaks PLAIN, which is not offered here",
            Self::Speaks(Mechanism::Other) => "speaks another security mechanism",
            Self::WrongServerKey => "wrong server key",
            Self::KeyRefused => "our key is not admitted",
            Self::NoKey => "its key is not here, or is revoked",
            Self::NoHandshake => "no handshake",
            Self::Silent => "silent",
            Self::Unreachable(_) => "unreachable",
            Self::Closed => "lost",
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(kind) => write!(f, "unreachable: {kind}"),
            other => f.write_str(other.as_str()),
        }
    }
}

impl std::error::Error for DialError {}

/// What a dialler last found at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialState {
    /// Not dialled yet.
    NeverDialled,
    /// The handshake is done and nothing was lost since.
    Connected,
    /// See [`DialError::NobodyListens`].
    NobodyListens,
    /// See [`DialError::Refused`].
    Refused,
    /// See [`DialError::NotZmtp`].
    NotZmtp,
    /// See [`DialError::Speaks`].
    SpeaksNull,
    /// See [`DialError::Speaks`].
    SpeaksCurve,
    /// See [`DialError::Speaks`].
    SpeaksOther,
    /// See [`DialError::WrongServerKey`].
    WrongServerKey,
    /// See [`DialError::KeyRefused`].
    KeyRefused,
    /// See [`DialError::NoKey`].
    NoKey,
    /// See [`DialError::NoHandshake`].
    NoHandshake,
    /// See [`DialError::Silent`].
    Silent,
    /// See [`DialError::Unreachable`].
    Unreachable,
    /// See [`DialError::Closed`].
    Lost,
}

impl From<&DialError> for DialState {
    fn from(error: &DialError) -> Self {
        match error {
            DialError::NobodyListens => Self::NobodyListens,
            DialError::Refused => Self::Refused,
            DialError::NotZmtp => Self::NotZmtp,
            DialError::Speaks(Mechanism::Null) => Self::SpeaksNull,
            DialError::Speaks(Mechanism::Curve) => Self::SpeaksCurve,
            DialError::Speaks(Mechanism::Plain | Mechanism::Other) => Self::SpeaksOther,
            DialError::WrongServerKey => Self::WrongServerKey,
            DialError::KeyRefused => Self::KeyRefused,
            DialError::NoKey => Self::NoKey,
            DialError::NoHandshake => Self::NoHandshake,
            DialError::Silent => Self::Silent,
            DialError::Unreachable(_) => Self::Unreachable,
            DialError::Closed => Self::Lost,
        }
    }
}
