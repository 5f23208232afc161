//! The ports of a fan-out: publishers dial one, subscribers the other.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::endpoint::Endpoint;
use crate::model::socket::SocketType;

use super::fan::{Fan, Origin};
use super::guard::Security;
use super::peer::fanning::Part;
use super::{Hub, ListenError};

impl Hub {
    /// Binds an endpoint for publishers; all they have is asked of them and goes to the fan. No
    /// message of theirs is an event.
    pub fn listen_in(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        fan: &Arc<Fan>,
        security: Security,
    ) -> Result<(), ListenError> {
        let part = Part::In {
            fan: fan.clone(),
            topics: Arc::new([Bytes::new()]),
            origin: Origin::default(),
            is_asked: false,
            within: None,
        };
        self.listen(name, endpoint, SocketType::Xsub, security)?;
        self.play(part);
        Ok(())
    }

    /// Binds an endpoint for subscribers. No subscription of theirs is an event.
    pub fn listen_out(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        fan: &Arc<Fan>,
        security: Security,
    ) -> Result<(), ListenError> {
        self.listen(name, endpoint, SocketType::Xpub, security)?;
        self.play(Part::Out(fan.clone()));
        Ok(())
    }

    /// The connections of the port that was bound last have this part.
    pub(super) fn play(&mut self, part: Part) {
        let port = self.ports.last_mut().expect("bound a moment ago");
        port.part = Some(part);
    }
}
