//! The fan-out of a bus, of a stream's tail and of a key-value store's updates: the wire does it, the
//! machine keeps to the rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use crate::model::policy::Overflow;
use crate::protocol::zn1::{self, Reply};
use crate::roles::{self, bus, kv, machine, stream};
use crate::run::node::tapping::Tapping;
use crate::wire::hub::{Fan, FanConfig, Hub, ListenError, Security};

/// Bytes that wait for a mirror of a key-value store.
const MIRROR_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The fan of a role, where it publishes.
pub(super) fn fan(config: &roles::Config, tapping: &mut Tapping) -> Option<Arc<Fan>> {
    let config = match config {
        roles::Config::Bus(config) => config,
        roles::Config::Stream(config) => return Some(Arc::new(tail(config, tapping))),
        roles::Config::Kv(_) => return Some(Arc::new(updates(tapping))),
        roles::Config::Replica(_) | roles::Config::Gate(_) | roles::Config::Echo(_) => return None,
        roles::Config::Proxy(_) | roles::Config::Cache(_) => return None,
        roles::Config::Feedback(_) | roles::Config::Queue(_) | roles::Config::Spool(_) => {
            return None;
        }
    };
    Some(Arc::new(Fan::new(FanConfig {
        overflow: config.overflow,
        bytes_max: usize::try_from(config.buffer_bytes).unwrap_or(usize::MAX),
        messages_max: config.messages_max,
        welcome: config.welcome.clone().map(Bytes::from),
        retain_max: if config.retain { bus::RETAINED_MAX } else { 0 },
        is_sequenced: config.sequence,
        buses: config.buses.clone(),
        asks: false,
        tap: tapping.all(),
    })))
}

/// What publishes the records of a stream.
fn tail(config: &stream::Config, tapping: &mut Tapping) -> Fan {
    Fan::new(FanConfig {
        overflow: Overflow::DropNewest,
        bytes_max: config.common.limits.peer_bytes_max,
        messages_max: None,
        welcome: None,
        retain_max: 0,
        is_sequenced: false,
        buses: BTreeSet::new(),
        asks: false,
        tap: tapping.all(),
    })
}

/// The fan of a key-value store.
fn updates(tapping: &mut Tapping) -> Fan {
    Fan::new(FanConfig {
        // A mirror that misses an update has to know: it is cut off, and its next connection tells
        // it to take a snapshot.
        overflow: Overflow::Disconnect,
        bytes_max: MIRROR_BYTES_MAX,
        messages_max: None,
        welcome: None,
        retain_max: 0,
        is_sequenced: false,
        buses: BTreeSet::new(),
        asks: false,
        tap: tapping.all(),
    })
}

/// Takes another configuration.
pub(super) fn adopt(fan: Option<&Fan>, config: &roles::Config) {
    if let (Some(fan), roles::Config::Bus(config)) = (fan, config) {
        fan.rename_buses(config.buses.clone());
    }
}

/// Binds a port of a role that has a fan.
pub(super) fn listen(
    hub: &mut Hub,
    fan: &Arc<Fan>,
    port: &machine::Port,
    security: Security,
) -> Result<(), ListenError> {
    match port.name.as_str() {
        bus::IN => hub.listen_in(&port.name, &port.bind, fan, security),
        bus::OUT | stream::TAIL | kv::UPDATES => {
            hub.listen_out(&port.name, &port.bind, fan, security)
        }
        _ => hub.listen(&port.name, &port.bind, port.socket, security),
    }
}

/// What a bus that is dialled is asked for.
pub(super) fn topics(config: &roles::Config, dial: &str) -> Vec<Bytes> {
    let roles::Config::Bus(config) = config else {
        return Vec::new();
    };
    let topics = config.topics.get(dial).into_iter().flatten();
    topics.map(|topic| Bytes::from(topic.clone())).collect()
}

/// Where what a bus that is dialled has was published first: at the bus that the dial names, else there.
pub(super) fn origin(told: &machine::Dial) -> &str {
    bus::origin_of(&told.name).unwrap_or(told.peer.as_str())
}

/// Publishes a message and says how many it was for.
pub(super) fn publish(fan: Option<&Fan>, id: Bytes, frames: &[Bytes]) -> Reply {
    let Some(fan) = fan else {
        // A machine asks for it only beside a fan.
        return Reply::new(
            zn1::NOT_BUILT,
            id,
            json!({"error": "nothing is published here"}),
        );
    };
    let published = fan.publish(frames);
    bus::published(id, published.matched, published.queued)
}
