//! What can be attacked: every kind of listener of ours, each a row in a table.

/// A listener, and the network around it.
pub(crate) struct Target {
    /// The manifest after `defaults`: `PORT` is the first free port, `PYTHON` and `PROGRAM` run a program.
    pub(crate) manifest: &'static str,
    /// The instance whose process listens.
    pub(crate) instance: &'static str,
    /// The instance that is given the inner endpoint which is attacked, where it is one.
    pub(crate) inner_of: Option<&'static str>,
    /// What a client comes as.
    pub(crate) kind: &'static str,
    /// How far from the port that is attacked is the one where what a client publishes comes out.
    pub(crate) back: Option<u16>,
    /// Under CURVE: the listener's certificate, and that of one whom it admits.
    pub(crate) keys: Option<[&'static str; 2]>,
}

/// A replica, which any program may ask.
pub(crate) const REPLICA: Target = Target {
    manifest: "nodes: {fort: {kind: replica, port: PORT}}",
    instance: "fort",
    inner_of: None,
    kind: "DEALER",
    back: None,
    keys: None,
};

/// A replica that admits one program by its key.
pub(crate) const REPLICA_UNDER_CURVE: Target = Target {
    manifest: "security: {curve: always}\nnodes:\n  fort: {kind: replica, port: PORT}\n  \
               asker: {command: [sleep, '1000'], run: manual}\n\
               links: {ask: {pattern: request, from: asker, to: fort}}",
    instance: "fort",
    inner_of: None,
    kind: "DEALER",
    back: None,
    keys: Some(["fort.key", "asker.key_secret"]),
};

/// The gate of a program that answers.
pub(crate) const GATE: Target = Target {
    manifest: "nodes:\n  fort: {command: [PYTHON, PROGRAM, ask, ROUTER], port: PORT}\n  \
               asker: {command: [sleep, '1000'], run: manual}\n\
               links: {ask: {pattern: request, from: asker, to: fort, gate: true, \
               types: {to: ROUTER}}}",
    instance: "fort-gate",
    inner_of: None,
    kind: "DEALER",
    back: None,
    keys: None,
};

/// The same under CURVE.
pub(crate) const GATE_UNDER_CURVE: Target = Target {
    manifest: "security: {curve: always}\n\
               nodes:\n  fort: {command: [PYTHON, PROGRAM, ask, ROUTER], port: PORT}\n  \
               asker: {command: [sleep, '1000'], run: manual}\n\
               links: {ask: {pattern: request, from: asker, to: fort, gate: true, \
               types: {to: ROUTER}}}",
    instance: "fort-gate",
    inner_of: None,
    kind: "DEALER",
    back: None,
    keys: Some(["fort.key", "asker.key_secret"]),
};

/// The gate of a program that publishes.
pub(crate) const GATE_OF_A_PUBLISHER: Target = Target {
    manifest: "nodes:\n  fort: {command: [PYTHON, PROGRAM, news, PUB], port: PORT}\n  \
               reader: {command: [sleep, '1000'], run: manual}\n\
               links: {news: {pattern: pubsub, from: fort, to: reader, gate: true}}",
    instance: "fort-gate",
    inner_of: None,
    kind: "SUB",
    back: None,
    keys: None,
};

/// The inner side of the gate of a program that dials, where another local user can be.
pub(crate) const GATE_FROM_INSIDE: Target = Target {
    manifest: "nodes:\n  fort: {kind: replica, port: PORT}\n  \
               asker: {command: [sleep, '1000']}\n\
               links: {ask: {pattern: request, from: asker, to: fort, gate: true}}",
    instance: "asker-gate",
    inner_of: Some("asker"),
    kind: "DEALER",
    back: None,
    keys: None,
};

/// A bus, from the side of its subscribers; somebody publishes there.
pub(crate) const BUS_TO_SUBSCRIBERS: Target = Target {
    manifest: "nodes:\n  bus: {kind: bus, port: {out: PORT}}\n  \
               talker: {command: [PYTHON, PROGRAM, news, PUB]}\n  \
               reader: {command: [sleep, '1000'], run: manual}\n\
               links: {news: {pattern: pubsub, from: talker, to: reader, via: bus}}",
    instance: "bus",
    inner_of: None,
    kind: "SUB",
    back: None,
    keys: None,
};

/// The same bus from the side of its publishers.
pub(crate) const BUS_FROM_PUBLISHERS: Target = Target {
    manifest: "nodes:\n  bus: {kind: bus, port: PORT}",
    instance: "bus",
    inner_of: None,
    kind: "PUB",
    back: Some(1),
    keys: None,
};

/// Its subscribers' side under CURVE.
pub(crate) const BUS_UNDER_CURVE: Target = Target {
    manifest: "security: {curve: always}\nnodes:\n  bus: {kind: bus, port: PORT}\n  \
               talker: {command: [sleep, '1000'], run: manual}\n  \
               reader: {command: [sleep, '1000'], run: manual}\n\
               links: {news: {pattern: pubsub, from: [talker, reader], to: [talker, reader], via: bus}}",
    instance: "bus",
    inner_of: None,
    kind: "PUB",
    back: Some(1),
    keys: Some(["bus.key", "talker.key_secret"]),
};
