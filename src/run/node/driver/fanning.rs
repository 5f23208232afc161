//! A bus's fan-out: the wire does it, the machine keeps to the rest.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use crate::protocol::zn1::{self, Reply};
use crate::roles::{self, bus, machine};
use crate::run::node::tapping::Tapping;
use crate::wire::hub::{Fan, FanConfig, Hub, ListenError, Security};

/// The fan of a role, where it is a bus.
pub(super) fn fan(config: &roles::Config, tapping: &mut Tapping) -> Option<Arc<Fan>> {
    let roles::Config::Bus(config) = config else {
        return None;
    };
    Some(Arc::new(Fan::new(FanConfig {
        overflow: config.overflow,
        bytes_max: usize::try_from(config.buffer_bytes).unwrap_or(usize::MAX),
        messages_max: config.messages_max,
        welcome: config.welcome.clone().map(Bytes::from),
        retain_max: if config.retain { bus::RETAINED_MAX } else { 0 },
        is_sequenced: config.sequence,
        buses: config.buses.clone(),
        tap: tapping.all(),
    })))
}

/// Takes another configuration.
pub(super) fn adopt(fan: Option<&Fan>, config: &roles::Config) {
    if let (Some(fan), roles::Config::Bus(config)) = (fan, config) {
        fan.rename_buses(config.buses.clone());
    }
}

/// Binds a port of a bus.
pub(super) fn listen(
    hub: &mut Hub,
    fan: &Arc<Fan>,
    port: &machine::Port,
    security: Security,
) -> Result<(), ListenError> {
    match port.name.as_str() {
        bus::IN => hub.listen_in(&port.name, &port.bind, fan, security),
        bus::OUT => hub.listen_out(&port.name, &port.bind, fan, security),
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
