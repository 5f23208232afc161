//! Floor 4: the only door to the network, and the only place that names a socket library.
//!
//! [`hub`] listens: our own connection loop on a sans-IO ZMTP engine, with limits before and after
//! the handshake and facts about every connection. [`dial`] dials: fresh sockets with every wait
//! bounded, and a persistent dialler that is rebuilt on silence. Nothing here knows what a message
//! means.

pub mod curve;
pub mod dial;
pub mod hub;
pub mod keyed;
pub mod linger;
mod link;
mod watch;

#[cfg(test)]
mod control_tests;
#[cfg(test)]
mod fan_attack_tests;
#[cfg(test)]
mod fan_fire_tests;
#[cfg(test)]
mod fan_tests;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod relay_tests;
#[cfg(test)]
mod secured_tests;
#[cfg(test)]
mod tests;
