//! Floor 2: what goes over the wire, byte by byte, and the machines that speak it.
//!
//! Everything here encodes and decodes within limits and opens no socket.

pub mod clone;
pub mod envelope;
pub mod lazy_pirate;
pub mod mdp;
pub mod mesh;
pub mod parts;
pub mod topics;
pub mod zn1;
