//! One binary of black-box tests: the built `zmqnet`, real sockets, real processes, real peers.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod ahead;
mod apply;
mod attack;
mod bus;
mod bus_links;
mod bus_seed;
mod capture;
mod check;
mod cli;
mod connectors;
mod conns;
mod curve;
mod differential;
mod down;
mod echo;
mod editor;
mod encrypted;
mod gate;
mod keeper;
mod keys;
mod kill;
mod kv;
mod limits;
mod liveness;
mod logs;
mod mesh_change;
mod plan;
mod protocol_doc;
mod proxy;
mod publishing;
mod pydistributed;
mod pyzmp;
mod queue;
mod queue_store;
mod readme;
mod refused;
mod replica;
mod scale;
mod security;
mod selftest;
mod send;
mod services;
mod sodium;
mod spool;
mod spool_kill;
mod store;
mod stream;
mod stream_kill;
mod support;
mod terminal;
mod tidy;
mod topologies;
