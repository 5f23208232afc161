//! Fills policies: what a node writes, else what `defaults` write, else what zmqnet brings.

use crate::manifest::policy::{
    Defaults, LimitsDecl, LogLevel, LogsDecl, ProbeDecl, ProbeTimings, RestartBlock, RestartDecl,
    SignalName, StopDecl,
};
use crate::model::limits::WireLimits;
use crate::model::policy::{
    LogTarget, Logs, Probe, ProbeHow, ProcessLimits, Restart, RestartWhen, Stop,
};
use crate::model::quantity::{Duration, PortRange, Size};

use super::Policies;
use crate::manifest::node::NodeDecl;

/// Where unwritten ports are taken from unless `defaults.ports` says otherwise.
pub(super) const PORTS: PortRange = PortRange {
    first: 7000,
    last: 7999,
};

/// The policies of a node, nothing left open.
pub(super) fn of(node: &NodeDecl, defaults: &Defaults) -> Policies {
    Policies {
        probe: probe(
            node.probe.as_ref().unwrap_or(&ProbeDecl::default()),
            defaults.probe.as_ref().unwrap_or(&ProbeTimings::default()),
        ),
        restart: restart(
            &block(node.restart.as_ref()),
            &block(defaults.restart.as_ref()),
        ),
        stop: stop(
            node.stop.as_ref().unwrap_or(&StopDecl::default()),
            defaults.stop.as_ref().unwrap_or(&StopDecl::default()),
        ),
        logs: logs(
            node.logs.as_ref().unwrap_or(&LogsDecl::default()),
            defaults.logs.as_ref().unwrap_or(&LogsDecl::default()),
        ),
        limits: limits(
            node.limits.as_ref().unwrap_or(&LimitsDecl::default()),
            defaults.limits.as_ref().unwrap_or(&LimitsDecl::default()),
        ),
        wire: wire(
            node.limits.as_ref().unwrap_or(&LimitsDecl::default()),
            defaults.limits.as_ref().unwrap_or(&LimitsDecl::default()),
        ),
    }
}

fn ms(own: Option<Duration>, default: Option<Duration>, built_in_ms: u64) -> u64 {
    own.or(default).map_or(built_in_ms, Duration::as_millis)
}

fn probe(own: &ProbeDecl, default: &ProbeTimings) -> Probe {
    Probe {
        how: ProbeHow::Alive,
        every_ms: ms(own.every, default.every, 2_000),
        timeout_ms: ms(own.timeout, default.timeout, 500),
        retries: own.retries.or(default.retries).unwrap_or(3),
        grace_ms: ms(own.grace, default.grace, 10_000),
    }
}

fn block(decl: Option<&RestartDecl>) -> RestartBlock {
    match decl {
        None => RestartBlock::default(),
        Some(RestartDecl::When(when)) => RestartBlock {
            when: Some(*when),
            ..RestartBlock::default()
        },
        Some(RestartDecl::Block(block)) => block.clone(),
    }
}

fn restart(own: &RestartBlock, default: &RestartBlock) -> Restart {
    let backoff = own.backoff.or(default.backoff);
    let limit = own.limit.or(default.limit);
    Restart {
        when: own.when.or(default.when).unwrap_or(RestartWhen::Failure),
        backoff_min_ms: backoff.map_or(200, |range| range.min.as_millis()),
        backoff_max_ms: backoff.map_or(30_000, |range| range.max.as_millis()),
        limit_count: limit.map_or(5, |rate| rate.count),
        limit_period_ms: limit.map_or(60_000, |rate| rate.period.as_millis()),
    }
}

fn stop(own: &StopDecl, default: &StopDecl) -> Stop {
    Stop {
        signal: signal(own.signal.or(default.signal).unwrap_or(SignalName::Term)).to_owned(),
        grace_ms: ms(own.grace, default.grace, 5_000),
    }
}

fn signal(name: SignalName) -> &'static str {
    match name {
        SignalName::Term => "TERM",
        SignalName::Int => "INT",
        SignalName::Hup => "HUP",
        SignalName::Quit => "QUIT",
        SignalName::Usr1 => "USR1",
        SignalName::Usr2 => "USR2",
        SignalName::Kill => "KILL",
    }
}

fn logs(own: &LogsDecl, default: &LogsDecl) -> Logs {
    let level = match own.level.or(default.level).unwrap_or(LogLevel::Info) {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    Logs {
        to: own.to.or(default.to).unwrap_or(LogTarget::File),
        level: level.to_owned(),
        keep: own.keep.or(default.keep).unwrap_or(5),
        size_bytes: own.size.or(default.size).map_or(10 << 20, |size| size.0),
    }
}

fn limits(own: &LimitsDecl, default: &LimitsDecl) -> ProcessLimits {
    ProcessLimits {
        memory_bytes: own.memory.or(default.memory).map(|size| size.0),
        cpu_s: own
            .cpu
            .or(default.cpu)
            .map(|time| time.as_millis().div_ceil(1_000)),
        files: own.files.or(default.files),
        processes: own.processes.or(default.processes),
    }
}

/// The limits of a node's listening sockets.
fn wire(own: &LimitsDecl, default: &LimitsDecl) -> WireLimits {
    let built_in = WireLimits::default();
    let bytes = |own: Option<Size>, default: Option<Size>, built_in: usize| {
        let size = own.or(default).map(|size| size.0);
        size.map_or(built_in, |size| usize::try_from(size).unwrap_or(usize::MAX))
    };
    let count = |own: Option<u32>, default: Option<u32>, built_in: usize| {
        let count = own.or(default);
        count.map_or(built_in, |count| {
            usize::try_from(count).unwrap_or(usize::MAX)
        })
    };
    let message = |built_in| bytes(own.message, default.message, built_in);
    let pings = own.pings.or(default.pings);
    WireLimits {
        handshake_ms: ms(own.handshake, default.handshake, built_in.handshake_ms),
        pending_max: count(own.pending, default.pending, built_in.pending_max),
        connections_max: count(
            own.connections,
            default.connections,
            built_in.connections_max,
        ),
        message_bytes_max: message(built_in.message_bytes_max),
        message_far_bytes_max: message(built_in.message_far_bytes_max),
        parts_max: count(own.parts, default.parts, built_in.parts_max),
        metadata_bytes_max: bytes(own.metadata, default.metadata, built_in.metadata_bytes_max),
        topic_bytes_max: bytes(own.topic, default.topic, built_in.topic_bytes_max),
        subscriptions_max: count(
            own.subscriptions,
            default.subscriptions,
            built_in.subscriptions_max,
        ),
        pings_max: pings.map_or(built_in.pings_max, |rate| rate.count),
        pings_period_ms: pings.map_or(built_in.pings_period_ms, |rate| rate.period.as_millis()),
        peer_bytes_max: bytes(own.peer_bytes, default.peer_bytes, built_in.peer_bytes_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_texts(node: &str, defaults: &str) -> Policies {
        of(
            &serde_yaml::from_str(node).unwrap(),
            &serde_yaml::from_str(defaults).unwrap(),
        )
    }

    #[test]
    fn a_policy_is_inherited_key_by_key() {
        let policies = of_texts(
            "{probe: {every: 1s}, restart: always, stop: {signal: INT}}",
            "{probe: {every: 9s, retries: 7}, restart: {backoff: 1s..2s}, logs: {keep: 1}}",
        );
        assert_eq!(policies.probe.every_ms, 1_000);
        assert_eq!(policies.probe.retries, 7);
        assert_eq!(policies.restart.when, RestartWhen::Always);
        assert_eq!(policies.restart.backoff_max_ms, 2_000);
        assert_eq!(policies.stop.signal, "INT");
        assert_eq!(policies.logs.keep, 1);
    }

    #[test]
    fn what_nobody_writes_is_what_the_manual_says() {
        let policies = of_texts("{}", "{}");
        assert_eq!(
            (policies.probe.timeout_ms, policies.probe.grace_ms),
            (500, 10_000)
        );
        assert_eq!(policies.restart.limit_count, 5);
        assert_eq!(policies.stop.grace_ms, 5_000);
        assert_eq!(policies.logs.size_bytes, 10 << 20);
        assert_eq!(policies.wire, WireLimits::default());
    }

    #[test]
    fn limits_of_listeners_are_inherited_key_by_key() {
        let policies = of_texts(
            "{limits: {message: 1KiB, pings: 3/2s}}",
            "{limits: {message: 9KiB, parts: 7, handshake: 1s, files: 100}}",
        );
        let expected = WireLimits {
            message_bytes_max: 1024,
            message_far_bytes_max: 1024,
            parts_max: 7,
            handshake_ms: 1_000,
            pings_max: 3,
            pings_period_ms: 2_000,
            ..WireLimits::default()
        };
        assert_eq!(policies.wire, expected);
        assert_eq!(policies.limits.files, Some(100));
    }
}
