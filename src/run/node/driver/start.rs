//! Which machine a role with the common driver has.

use crate::disk;
use crate::roles::{Config, bus, cache, echo, feedback, kv, proxy, queue, spool, stream};
use crate::run::node::NodeError;

use super::run;

/// Runs the role of a configuration to its end; those with a driver of their own have none here.
pub(in crate::run::node) fn start(config: &Config) -> Result<(), NodeError> {
    // What they keep goes by this time: it is never before the one that they had last.
    let began_ns = disk::began_ns(config.store());
    let began_ms = began_ns / 1_000_000;
    match config {
        Config::Echo(echo) => run(config, echo::Machine::new(echo)),
        Config::Proxy(proxy) => run(config, proxy::Machine::new(proxy, None)),
        Config::Cache(cache) => {
            let memory = Some(cache::Memory::new(cache));
            run(config, proxy::Machine::new(&cache.proxy, memory))
        }
        Config::Feedback(feedback) => run(config, feedback::Machine::new(feedback)),
        Config::Bus(bus) => run(config, bus::Machine::beside_a_fan(bus)),
        Config::Queue(queue) => match queue.store {
            Some(_) => run(
                config,
                queue::Durable::new(queue, fastrand::u64(..), began_ms),
            ),
            None => run(config, queue::Machine::new(queue, fastrand::u32(..))),
        },
        Config::Stream(stream) => run(config, stream::Machine::new(stream)),
        Config::Kv(kv) => run(config, kv::Machine::new(kv, began_ms)),
        Config::Spool(spool) => run(config, spool::Machine::new(spool, began_ns)),
        Config::Replica(_) | Config::Gate(_) => unreachable!("they have drivers of their own"),
    }
}
