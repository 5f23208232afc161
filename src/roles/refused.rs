//! Why a store's verb is not done, and how its params are read: what the roles that keep records have
//! in common.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::store::StoreFault;
use crate::protocol::zn1::{self, Reply};

/// Why a verb is not done: a status, a sentence, and what else there is to say.
pub(super) struct Refused(pub(super) u16, pub(super) String, pub(super) Value);

impl Refused {
    pub(super) fn new(status: u16, words: impl Into<String>) -> Self {
        Self(status, words.into(), Value::Null)
    }

    /// What a fault of the store is for who asked.
    pub(super) fn of(fault: &StoreFault) -> Self {
        let (status, more) = match fault {
            StoreFault::Busy | StoreFault::AtMax => (zn1::BACK_PRESSURE, Value::Null),
            StoreFault::Begun => (zn1::CONFLICT, Value::Null),
            StoreFault::TooLarge => (zn1::TOO_LARGE, Value::Null),
            StoreFault::NoSpace | StoreFault::ReadOnly(_) | StoreFault::Failed(_) => {
                (zn1::UNAVAILABLE, Value::Null)
            }
            StoreFault::Gone(start) => (zn1::NOT_FOUND, json!({ "start": start })),
            StoreFault::Damaged(from, next) => {
                (zn1::FAILED, json!({"damaged": [from, next], "next": next}))
            }
        };
        Self(status, fault.to_string(), more)
    }

    pub(super) fn reply(self, id: Bytes) -> Reply {
        let mut reply = Reply::failure(self.0, id, self.1);
        if let (Some(told), Value::Object(more)) = (reply.result.as_object_mut(), self.2) {
            told.extend(more);
        }
        reply
    }
}

/// The params of a verb; none are an empty object.
pub(super) fn params<T: DeserializeOwned>(given: Value) -> Result<T, Refused> {
    let given = match given {
        Value::Null => json!({}),
        given => given,
    };
    serde_json::from_value(given).map_err(|error| Refused::new(zn1::BAD_REQUEST, error.to_string()))
}
