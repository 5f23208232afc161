//! What a role keeps on disk: opened, and told to its machine, before the role listens.

use std::time::Duration;

use crate::disk::{Owner, Store};
use crate::model::store::Told;
use crate::roles;
use crate::roles::machine::{Action, Event, Machine};
use crate::run::node::NodeError;

/// Opens the store of a role, where it has one, and tells the machine what was kept.
pub(super) fn open<M: Machine>(
    config: &roles::Config,
    machine: &mut M,
) -> Result<Option<Store>, NodeError> {
    let Some(told) = config.store() else {
        return Ok(None);
    };
    let mut actions = Vec::new();
    let owner = Owner {
        kind: config.kind().as_str(),
        bytes_max: config.held_max(),
    };
    let opened = Store::open(told, owner, &mut |it| {
        machine.step(Duration::ZERO, Event::Disk(it), &mut actions);
    });
    let store = opened.map_err(|error| NodeError::Store(told.path.clone(), error))?;
    if let Some(why) = machine.refusal() {
        return Err(NodeError::Foreign(told.path.clone(), why));
    }
    store.is_of(owner);
    for action in actions {
        match action {
            // What it asks then is answered when the loop runs; nothing is refused in an idle store.
            Action::Disk(ask) => drop(store.ask(ask)),
            other => unreachable!("nobody is connected yet: {other:?}"),
        }
    }
    let facts = store.facts();
    match &facts.reason {
        Some(why) => {
            tracing::error!(store = %told.path.display(), "store is {}: {why}", facts.health)
        }
        None => {
            tracing::info!(store = %told.path.display(), offset = facts.synced_offset, "store is open")
        }
    }
    Ok(Some(store))
}

/// What a store tells next; never, where there is none.
pub(super) async fn told(store: &mut Option<Store>) -> Vec<Told> {
    match store {
        Some(store) => store.told().await,
        None => std::future::pending().await,
    }
}
