//! Every code, its title and its explanation: what `zmqnet explain CODE` prints.
//!
//! ZN01 text and variables · ZN02 shape · ZN03 names and references · ZN04 sockets and links ·
//! ZN05 ports and places · ZN06 order. A code never changes its meaning and is never reused.

/// One row a code.
#[derive(Debug)]
pub struct Code {
    /// `ZN` and four digits.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub title: &'static str,
    /// Why it is wrong and what to do, with the wrong and the right.
    pub text: &'static str,
}

/// The file is larger than a manifest may be.
pub const TOO_LARGE: &str = "ZN0101";
/// The file is not UTF-8.
pub const NOT_UTF8: &str = "ZN0102";
/// The file holds control characters.
pub const BINARY: &str = "ZN0103";
/// The file holds nothing.
pub const EMPTY: &str = "ZN0104";
/// The file is neither YAML nor JSON.
pub const SYNTAX: &str = "ZN0105";
/// `${x}` without quotes inside `[ ]` or `{ }`.
pub const UNQUOTED_VARIABLE: &str = "ZN0106";
/// A key stands twice.
pub const DUPLICATE_KEY: &str = "ZN0107";
/// A key is no text.
pub const KEY_NOT_TEXT: &str = "ZN0108";
/// More than one document.
pub const SEVERAL_DOCUMENTS: &str = "ZN0109";
/// Too deep, or too many values.
pub const TOO_MUCH: &str = "ZN0110";
/// An alias or merge key that means nothing.
pub const BAD_ALIAS: &str = "ZN0111";
/// A YAML tag.
pub const TAG: &str = "ZN0112";
/// A variable that nothing defines.
pub const UNDEFINED_VARIABLE: &str = "ZN0120";
/// A variable without a value.
pub const UNSET_VARIABLE: &str = "ZN0121";
/// A variable's value is not of its type or out of its bounds.
pub const VARIABLE_VALUE: &str = "ZN0122";
/// `${` without an end, or with something that is no name.
pub const BAD_EXPRESSION: &str = "ZN0123";
/// `${node.x}` or `${link.x}` where it cannot be known.
pub const MISPLACED_EXPRESSION: &str = "ZN0124";
/// Two replicas of a peers file with one name or one port.
pub const DUPLICATE_REPLICA: &str = "ZN0131";
/// A key that means nothing here.
pub const UNKNOWN_KEY: &str = "ZN0201";
/// A value of the wrong type or form.
pub const WRONG_VALUE: &str = "ZN0202";
/// A key that must be there.
pub const MISSING_KEY: &str = "ZN0203";
/// A key that this kind of node, or link pattern, does not carry.
pub const MISPLACED_KEY: &str = "ZN0204";
/// A key that is no name.
pub const BAD_NAME: &str = "ZN0205";
/// A number outside its bounds, or a list of the wrong length.
pub const OUT_OF_BOUNDS: &str = "ZN0206";
/// A name that leads nowhere.
pub const UNKNOWN_NAME: &str = "ZN0301";
/// Two instances of the same name.
pub const NAME_CLASH: &str = "ZN0302";
/// Two values for one environment variable.
pub const ENVIRONMENT_CLASH: &str = "ZN0303";
/// A file that cannot be included.
pub const INCLUDE: &str = "ZN0304";
/// A node that one list names twice.
pub const NAMED_TWICE: &str = "ZN0305";
/// A kind that may not stand on this side of a pattern.
pub const WRONG_SIDE: &str = "ZN0401";
/// Socket types that do not go together.
pub const PAIRING: &str = "ZN0402";
/// A broker that does not fit its link.
pub const WRONG_BROKER: &str = "ZN0403";
/// Links that cannot share a socket.
pub const SHARED_SOCKET: &str = "ZN0404";
/// A probe that nobody can answer.
pub const WRONG_PROBE: &str = "ZN0405";
/// A side that cannot listen.
pub const WRONG_LISTENER: &str = "ZN0406";
/// A transport that does not reach.
pub const WRONG_TRANSPORT: &str = "ZN0407";
/// Too many instances or connections.
pub const TOO_LARGE_TOPOLOGY: &str = "ZN0408";
/// One endpoint is asked for and there are several.
pub const SEVERAL_ENDPOINTS: &str = "ZN0409";
/// Limits of listening sockets where no socket of ours listens.
pub const LIMITS_NOTHING: &str = "ZN0410";
/// A proxy or cache without one backend.
pub const NO_BACKEND: &str = "ZN0411";
/// A feedback that cannot watch or scale.
pub const NO_LOOP: &str = "ZN0412";
/// Proxies and caches that ask each other.
pub const GOES_ROUND: &str = "ZN0413";
/// A replay that comes back, or a pace of none.
pub const NO_REPLAY: &str = "ZN0414";
/// A port given away twice.
pub const PORT_CLASH: &str = "ZN0501";
/// No port is left.
pub const PORTS_EXHAUSTED: &str = "ZN0502";
/// Open to the network without encryption.
pub const OPEN_WITHOUT_CURVE: &str = "ZN0503";
/// A link that leaves the machine unencrypted, as written.
pub const IN_THE_CLEAR: &str = "ZN0504";
/// A node that could be on any of several hosts.
pub const NO_HOST: &str = "ZN0505";
/// A port that must be written.
pub const PORT_MISSING: &str = "ZN0506";
/// A unix socket path that is too long.
pub const IPC_PATH: &str = "ZN0507";
/// A port that somebody else listens on.
pub const PORT_TAKEN: &str = "ZN0508";
/// A program that is not there.
pub const NO_PROGRAM: &str = "ZN0509";
/// It is not known which host this machine is.
pub const WHICH_HOST: &str = "ZN0510";
/// A key of a store that means nothing there.
pub const STORE_KEY: &str = "ZN0511";
/// Two stores in one directory.
pub const STORE_CLASH: &str = "ZN0512";
/// A store that is another kind's.
pub const STORE_KIND: &str = "ZN0513";
/// `after` in a circle.
pub const AFTER_CIRCLE: &str = "ZN0601";
/// Waiting for the end of what does not end.
pub const NEVER_DONE: &str = "ZN0602";

/// Every code, in order.
pub const CODES: &[Code] = &[
    Code {
        code: TOO_LARGE,
        title: "the file is larger than a manifest may be",
        text: "A manifest has at most 8 MiB. Use `replicas`, `include` and anchors instead of\nrepeating nodes.",
    },
    Code {
        code: NOT_UTF8,
        title: "the file is not UTF-8",
        text: "A manifest is UTF-8 text. Convert it, for example with\n    iconv -f latin1 -t utf8 old.yaml > topology.yaml",
    },
    Code {
        code: BINARY,
        title: "the file is not text",
        text: "It holds a control character, which no YAML or JSON file may. Is it the right file?",
    },
    Code {
        code: EMPTY,
        title: "the file holds nothing",
        text: "A manifest has at least\n    zmqnet: 1\n    nodes: {}\n`zmqnet init` writes a working one.",
    },
    Code {
        code: SYNTAX,
        title: "neither YAML nor JSON",
        text: "The text breaks the rules of YAML 1.2 at the marked place. Often the real cause is a little\nearlier: a bracket that is not closed, a quote that is not ended, a tab, a wrong indentation.\nwrong:\n    a: b: c\nright:\n    a: \"b: c\"",
    },
    Code {
        code: UNQUOTED_VARIABLE,
        title: "`${x}` needs quotes inside [ ] and { }",
        text: "Inside brackets YAML reads `{` as the start of a mapping.\nwrong:\n    command: [./worker, ${n}]\nright:\n    command: [./worker, \"${n}\"]",
    },
    Code {
        code: DUPLICATE_KEY,
        title: "a key stands twice",
        text: "YAML parsers differ in which of the two they take, so neither is taken.\nRename or remove one of them.",
    },
    Code {
        code: KEY_NOT_TEXT,
        title: "a key must be a text",
        text: "YAML allows lists and mappings as keys; manifests do not. A `{` or `[` too much is the usual\ncause.",
    },
    Code {
        code: SEVERAL_DOCUMENTS,
        title: "more than one document",
        text: "A manifest is one YAML document. Put the second one into a file of its own and `include` it.",
    },
    Code {
        code: TOO_MUCH,
        title: "too deep or too many values",
        text: "A manifest nests at most 64 deep and holds at most 1,000,000 values once its aliases are\nresolved.",
    },
    Code {
        code: BAD_ALIAS,
        title: "an alias or merge key that means nothing",
        text: "An alias `*a` stands for what `&a` marked before it, never for something it is part of.\n`<<` takes a mapping or a list of mappings.\nright:\n    x-base: &base {restart: never}\n    nodes:\n      a: {<<: *base, command: [./a]}",
    },
    Code {
        code: TAG,
        title: "a YAML tag that means nothing here",
        text: "Only the tags of YAML's core schema (`!!str`, `!!int`, ...) have a meaning, and only for values\nthat fit them. To start a text with `!`, quote it.",
    },
    Code {
        code: UNDEFINED_VARIABLE,
        title: "an undefined variable",
        text: "`${NAME}` needs NAME under `vars`; `${env.NAME}` needs NAME in the environment.\nright:\n    vars:\n      workers: {type: int, default: 3}\n    nodes:\n      worker: {command: [./worker], replicas: \"${workers}\"}\nFor a `$` as it is, write `$$`.",
    },
    Code {
        code: UNSET_VARIABLE,
        title: "a variable without a value",
        text: "It has no `default`, so somebody must set it: `--var NAME=VALUE` or `--var-file FILE`.",
    },
    Code {
        code: VARIABLE_VALUE,
        title: "a value that its variable does not take",
        text: "The value is not of the variable's `type`, not one of its `values`, or outside `min` and `max`.",
    },
    Code {
        code: BAD_EXPRESSION,
        title: "an expression that cannot be read",
        text: "`${` is followed by a name and `}`: `${VAR}`, `${env.HOME}`, `${node.index}`,\n`${link.NAME.endpoint}`. For a `$` as it is, write `$$`.",
    },
    Code {
        code: MISPLACED_EXPRESSION,
        title: "an expression that is not known here",
        text: "`${node.*}` and `${link.*}` differ from instance to instance. They stand in the texts of a node:\nits `command`, `env`, `cwd` and probe.",
    },
    Code {
        code: DUPLICATE_REPLICA,
        title: "two replicas with one name or one port",
        text: "ZMQ Net took the first of two replicas with the same name, silently. Here names differ, and so\ndo the ports of one address.",
    },
    Code {
        code: UNKNOWN_KEY,
        title: "an unknown key",
        text: "Nothing reads this key, so it is an error rather than a surprise. Keys that begin with `x-` are\nyours, anywhere.",
    },
    Code {
        code: WRONG_VALUE,
        title: "a value that does not belong here",
        text: "The value has the wrong type or form. The message says what belongs here.\nwrong:\n    timeout: 5\nright:\n    timeout: 5s",
    },
    Code {
        code: MISSING_KEY,
        title: "a key is missing",
        text: "The mapping means nothing without this key.",
    },
    Code {
        code: MISPLACED_KEY,
        title: "a key that does not go with this kind or pattern",
        text: "A node's `kind`, or its `command`, decides which keys it carries; a link's `pattern` decides\nwhether it has `from` and `to`, or `among`. `zmqnet explain KIND` lists the keys of a kind.",
    },
    Code {
        code: BAD_NAME,
        title: "not a name",
        text: "A name is a letter, then at most 39 letters, digits, `_` or `-`. Names become file names,\nenvironment names and arguments, so nothing else is allowed.",
    },
    Code {
        code: OUT_OF_BOUNDS,
        title: "out of bounds",
        text: "The number is too small or too large, or the list too short.",
    },
    Code {
        code: UNKNOWN_NAME,
        title: "a name that leads nowhere",
        text: "Links, `after`, `via`, `sockets`, probes and `host` name what is written elsewhere in the same\nmanifest. Nodes of an included file are named `PREFIX.NODE`.",
    },
    Code {
        code: NAME_CLASH,
        title: "two instances have the same name",
        text: "Instance names are unique in a topology: they name processes, logs and sockets. `replicas: 2` of\n`a` makes `a-0` and `a-1`, so no other node may be named `a-0`.",
    },
    Code {
        code: ENVIRONMENT_CLASH,
        title: "a variable would be set twice",
        text: "A link `tasks` gives `ZMQNET_TASKS_ENDPOINT` and others; `-` and `.` become `_` and letters upper\ncase. Two links of one node whose names then look alike clash, and so does an `env` key that zmqnet\nsets itself.",
    },
    Code {
        code: INCLUDE,
        title: "a file that cannot be included",
        text: "It cannot be read, or it includes itself. Paths are relative to the file they are written in.",
    },
    Code {
        code: NAMED_TWICE,
        title: "a list names a node twice",
        text: "`from: [a, a]` would make two connections where one is meant. For more of a node, write `replicas`.",
    },
    Code {
        code: WRONG_SIDE,
        title: "a kind on a side of a link where it cannot stand",
        text: "Each kind speaks on some sides of some patterns. For example, a `bus` passes messages on and never\nanswers a request. `zmqnet explain KIND` lists where a kind may stand.",
    },
    Code {
        code: PAIRING,
        title: "socket types that do not go together",
        text: "ZeroMQ lets only some types talk to each other: REQ with REP or ROUTER, PUB with SUB, PUSH with\nPULL. A link's `pattern` says which it takes; most links need no `types` at all.",
    },
    Code {
        code: WRONG_BROKER,
        title: "a broker that does not fit its link",
        text: "A `request` link goes via a `queue`, a `pubsub` link via a `bus`, a `gossip` link via a\n`lighthouse`. `pipeline` and `mesh` links have no broker. A queue and a bus may\ncarry several links.",
    },
    Code {
        code: SHARED_SOCKET,
        title: "links that cannot share a socket",
        text: "Links under one name of `sockets` share one socket: same type, same mode. PUSH, REQ and DEALER hand\nmessages to all their peers in turn, so they are never shared.",
    },
    Code {
        code: WRONG_PROBE,
        title: "a request probe where the node does not answer",
        text: "`probe: {request: LINK}` asks a link on which the node stands in `to`, or a mesh.",
    },
    Code {
        code: WRONG_LISTENER,
        title: "the other side always listens",
        text: "Brokers, stores and other roles of zmqnet always listen; a stream or spool that subscribes always\ndials. `listen` is for links between programs.",
    },
    Code {
        code: WRONG_TRANSPORT,
        title: "a transport that does not reach",
        text: "Unix sockets stay on one host. Leave `transport` out and zmqnet takes TCP where it must.",
    },
    Code {
        code: TOO_LARGE_TOPOLOGY,
        title: "too many instances or connections",
        text: "A topology has at most 20,000 instances and 1,000,000 connections. Everybody to everybody grows with\nthe square of the instances: a broker (`via`) makes it linear.",
    },
    Code {
        code: SEVERAL_ENDPOINTS,
        title: "several endpoints where one is asked for",
        text: "`${link.X.endpoint}` is for a socket with one endpoint. `${link.X.endpoints}` gives all of them,\nseparated by spaces.",
    },
    Code {
        code: LIMITS_NOTHING,
        title: "limits of nothing",
        text: "`message`, `parts`, `topic`, `metadata`, `connections`, `subscriptions`, `pending`, `handshake`,\n`pings` and `peer_bytes` limit the listening sockets of zmqnet's own roles. A program opens its\nsockets itself: `gate: true` on a link puts a socket of ours before it. In `defaults` they are for\nthe nodes that have such sockets.",
    },
    Code {
        code: NO_BACKEND,
        title: "a proxy or cache without one backend",
        text: "A `proxy` or `cache` hands requests on: it stands in `from` of a `request` link whose `to` are its\nbackends. Where it stands in `from` of several, `backend: LINK` says which.",
    },
    Code {
        code: NO_LOOP,
        title: "a feedback that closes no loop",
        text: "A `feedback` reads a number in the facts of a node beside it (`watch: NODE.FACT`), and scales a node\n(`scale: NODE`) inside its range (`replicas: A..B`) so that the number stays at `target`. More\ninstances must make the number smaller, as more workers make a queue shorter. No other feedback, and\nno other instance of it, scales the same node: each would undo what the other does.",
    },
    Code {
        code: GOES_ROUND,
        title: "requests go round in a circle",
        text: "A `proxy` or `cache` hands on what it is asked. Where the last of several hands it on to the first,\nnobody ever answers, and each tries again: have one of them ask who does.",
    },
    Code {
        code: NO_REPLAY,
        title: "a replay that comes back, or that there is none of",
        text: "By a `pubsub` link from a `stream` to a `bus` what the stream has is published there, at its\n`pace`. Where the stream records that bus too, each message would come back, for ever.\n    again: {pattern: pubsub, from: events, to: bus, pace: 10x}\n    heard: {pattern: pubsub, from: bus, to: events}            wrong beside it",
    },
    Code {
        code: PORT_CLASH,
        title: "a port is given away twice",
        text: "A node's instances take consecutive ports from the one that is written: `port: 7000` with\n`replicas: 3` takes 7000, 7001 and 7002. Unwritten ports never clash.",
    },
    Code {
        code: PORTS_EXHAUSTED,
        title: "no port is left",
        text: "Unwritten ports are taken from `defaults.ports`, without those that other networks of this machine\nhave. Written ones end at 65535.",
    },
    Code {
        code: OPEN_WITHOUT_CURVE,
        title: "open to the network without encryption",
        text: "What leaves a machine is encrypted, or a person has written that it is not: `curve: never` in a link\nor under `security`, or `--curve never` for a bare `peers.json`, which has no word for it.",
    },
    Code {
        code: IN_THE_CLEAR,
        title: "a link leaves the machine unencrypted",
        text: "`curve: never` is written, so this is only a warning; every plan repeats it.",
    },
    Code {
        code: NO_HOST,
        title: "a node names no host",
        text: "With several `hosts`, each node says where it is: `host: NAME`, or a list that its instances take in\nturn.",
    },
    Code {
        code: PORT_MISSING,
        title: "a port must be written",
        text: "A port that is chosen on one host is not known on another. Who is dialled from another host, or\nstarted by somebody else, has its port written.",
    },
    Code {
        code: IPC_PATH,
        title: "the path of a unix socket is too long",
        text: "The kernel takes 107 bytes. Sockets are below `$XDG_RUNTIME_DIR`, else below /tmp.",
    },
    Code {
        code: PORT_TAKEN,
        title: "somebody else listens on this port",
        text: "This is about this machine at this moment, not about the manifest: `check` does not look. `ss -ltnp`\nshows who listens.",
    },
    Code {
        code: NO_PROGRAM,
        title: "a program is not there",
        text: "A program without `/` is looked up in `PATH`; one with `/` is relative to the manifest. It must be\nan executable file. `plan` warns; `apply` starts nothing.",
    },
    Code {
        code: WHICH_HOST,
        title: "which host is this machine?",
        text: "`apply` acts for one host: `--host`, else `$ZMQNET_HOST`, else the only entry of `hosts` with an\naddress of this machine. `plan` warns, and plans for the only host there is, or for none.",
    },
    Code {
        code: STORE_KEY,
        title: "a key of `store` that means nothing to this kind of node",
        text: "`store` has the same keys everywhere, and not each of them has a meaning for each kind: a\nkey-value store has one value of each key, so neither `mode` nor `retain`; a queue has its `max`\nbeside `kind`.\n    kind: kv, store: {path: ./data, retain: 7d}      wrong\n    kind: kv, store: {path: ./data}                  right",
    },
    Code {
        code: STORE_CLASH,
        title: "two nodes keep what they have in one directory",
        text: "A store has its directory for itself, and locks it: the second node would not start. Instances of\none node have directories of their own in it.\n    settings: {kind: kv, store: {path: ./data}}\n    events: {kind: stream, store: {path: ./data}}           wrong\n    events: {kind: stream, store: {path: ./data/events}}    right",
    },
    Code {
        code: STORE_KIND,
        title: "the store of another kind of node",
        text: "What a node keeps has the form of its kind, and a file `kind` in its directory says which. Another\nkind cannot read it. `plan` warns; `apply` starts nothing. Move the directory away (nothing of it is\nlost so), or name another one.",
    },
    Code {
        code: AFTER_CIRCLE,
        title: "`after` goes round in a circle",
        text: "Each of these nodes waits for the next, so none would ever start.",
    },
    Code {
        code: NEVER_DONE,
        title: "waiting for the end of what does not end",
        text: "`after: {NODE: done}` waits until NODE has ended with exit code 0, so NODE needs `run: once`.",
    },
];

/// The row of a code, however it is written: `ZN0201`, `zn0201`.
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|row| row.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_explained() {
        for pair in CODES.windows(2) {
            assert!(pair[0].code < pair[1].code, "{}", pair[1].code);
        }
        for row in CODES {
            let digits = row.code.strip_prefix("ZN").unwrap();
            assert!(digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()));
            assert!(
                !row.title.is_empty() && !row.text.is_empty(),
                "{}",
                row.code
            );
            assert!(
                row.text.lines().all(|line| line.len() <= 100),
                "{}",
                row.code
            );
        }
        assert!(find("zn0201").is_some() && find("ZN9999").is_none());
    }
}
