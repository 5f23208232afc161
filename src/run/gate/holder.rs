//! Keeping a connection of the program while the other side is dialled: one task each.
//!
//! It is met and held until the other side has shown itself; only then its handshake is finished.
//! Until then it is, to the program's library, a peer that is not there: with `IMMEDIATE` nothing is
//! queued for it, without it as much as for any other.

use tokio::sync::{mpsc, oneshot};

use crate::wire::hub::{DialId, Held};

use super::News;

/// Holds a connection until it is wanted, or the program gives it up.
pub(super) async fn hold(
    dial: DialId,
    held: Held,
    wanted: oneshot::Receiver<()>,
    tell: mpsc::Sender<News>,
) {
    let is_wanted = tokio::select! {
        // Cancel safe: it only looks.
        () = held.gone() => false,
        wanted = wanted => wanted.is_ok(),
    };
    let news = match is_wanted {
        true => News::Ready { dial, held },
        false => News::GivenUp { dial },
    };
    // The gate may be gone; then nobody asks.
    drop(tell.send(news).await);
}
