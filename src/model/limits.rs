//! Every bound of zmqnet in one place: what a peer may send, what a queue may hold, how large a
//! file may be. A limit is checked before memory is taken.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bounds of what people write.
pub mod source {
    /// The largest manifest, in bytes.
    pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// The deepest nesting of a manifest.
    pub const DEPTH_MAX: usize = 64;
    /// The most values one manifest may hold after its aliases are resolved.
    pub const VALUES_MAX: usize = 1_000_000;
    /// The most faults one run reports; further ones are counted.
    pub const FAULTS_MAX: usize = 100;
    /// The most files one manifest may include, each use counted.
    pub const INCLUDES_MAX: usize = 1_000;
    /// The deepest an include may stand inside others.
    pub const INCLUDES_DEEP_MAX: usize = 16;
    /// The most faults one stage looks for: memory for faults is bounded, whatever the file holds.
    pub const FAULTS_KEPT_MAX: usize = 10_000;
    /// The most instances one topology may plan.
    pub const INSTANCES_MAX: usize = 20_000;
    /// The most wires one topology may plan.
    pub const WIRES_MAX: usize = 1_000_000;
}

/// Bounds of one listening port and of every connection to it. What a manifest does not set has the
/// value of [`WireLimits::default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WireLimits {
    /// How long a peer may take from TCP accept to the end of its handshake, in milliseconds.
    pub handshake_ms: u64,
    /// Connections that have not finished their handshake; when full, the oldest is closed.
    pub pending_max: usize,
    /// Connections in all; one more is refused.
    pub connections_max: usize,
    /// The bytes of one message, all its parts together, on this machine or under CURVE.
    pub message_bytes_max: usize,
    /// The same from another machine without CURVE.
    pub message_far_bytes_max: usize,
    /// The parts of one message.
    pub parts_max: usize,
    /// The bytes of what a peer tells of itself in its handshake.
    pub metadata_bytes_max: usize,
    /// The bytes of one topic that is subscribed to.
    pub topic_bytes_max: usize,
    /// The topics one connection may be subscribed to.
    pub subscriptions_max: usize,
    /// The heartbeats, and commands without a meaning here, that a peer may send in a period.
    pub pings_max: u32,
    /// That period, in milliseconds.
    pub pings_period_ms: u64,
    /// Bytes waiting for one peer to read them; a message over it is dropped and counted. A single
    /// message is always taken while none waits.
    pub peer_bytes_max: usize,
}

/// The parts of one message, unless `limits:` says otherwise.
pub const PARTS_MAX: usize = 64;

impl WireLimits {
    /// Whether nothing was set, so that a plan need not say it.
    pub fn is_built_in(&self) -> bool {
        *self == Self::default()
    }

    /// The same with room for what our own roles add to a message that is as large as it may be.
    pub fn with_room(&self) -> Self {
        let bytes = |max: usize| max.saturating_add(added::BYTES_MAX);
        Self {
            message_bytes_max: bytes(self.message_bytes_max),
            message_far_bytes_max: bytes(self.message_far_bytes_max),
            parts_max: self.parts_max.saturating_add(added::PARTS_MAX),
            ..self.clone()
        }
    }

    /// Whether frames are no more, and no larger together, than those of one message on this machine.
    pub fn holds(&self, frames: &[Bytes]) -> bool {
        let bytes = frames.iter().map(Bytes::len);
        frames.len() <= self.parts_max && bytes.sum::<usize>() <= self.message_bytes_max
    }
}

/// What our own roles may add to a message on its way, beyond the limits of who sent it: who waits for
/// the answer, which attempt it belongs to, the number of a message within its topic.
pub mod added {
    /// Frames of all roles on the way together.
    pub const PARTS_MAX: usize = 32;
    /// Their bytes.
    pub const BYTES_MAX: usize = 8 * 1024;
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            handshake_ms: 5_000,
            pending_max: 1_024,
            connections_max: 10_000,
            message_bytes_max: 64 * 1024 * 1024,
            message_far_bytes_max: 4 * 1024 * 1024,
            parts_max: PARTS_MAX,
            metadata_bytes_max: 4 * 1024,
            topic_bytes_max: 1024,
            subscriptions_max: 10_000,
            pings_max: 100,
            pings_period_ms: 1_000,
            peer_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Bounds of a hub that nobody sets: they are about its own memory, not about what a peer may do.
pub mod hub {
    /// Bytes of whole messages of one connection that wait for the hub's owner; with as many, or
    /// with as many messages as the next bound says, the connection is not read.
    pub const INBOX_BYTES_MAX: usize = 1024 * 1024;
    /// Messages of one connection that wait for the hub's owner.
    pub const INBOX_MESSAGES_MAX: usize = 1_024;
    /// Bytes of messages that are not whole yet, of all connections together; with more, the oldest
    /// message's connection is closed.
    pub const UNFINISHED_BYTES_MAX: usize = 256 * 1024 * 1024;
    /// Refused peers remembered; the one that was not heard of for longest makes room.
    pub const REFUSALS_MAX: usize = 64;
    /// Bans in force at a time; one more is not taken.
    pub const BANS_MAX: usize = 1_024;
    /// Bytes of an identity or a reason that a peer gave us, as they are remembered and shown.
    pub const SHOWN_BYTES_MAX: usize = 256;
    /// Messages that were seen by a tap and not looked at yet.
    pub const TAP_MESSAGES_MAX: usize = 8_192;
    /// Their bytes.
    pub const TAP_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// Bytes of the last messages of topics that a bus keeps.
    pub const RETAINED_BYTES_MAX: usize = 64 * 1024 * 1024;
    /// Topics whose messages a bus numbers; those of further ones have the number 0.
    pub const SEQUENCED_TOPICS_MAX: usize = 65_536;
    /// Bytes of those topics together; those of further ones have the number 0.
    pub const SEQUENCED_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// Bytes of a topic whose messages a bus numbers; those of longer ones have the number 0.
    pub const SEQUENCED_TOPIC_BYTES_MAX: usize = 1_024;
    /// Topics that a bus shows at a time.
    pub const TOPICS_SHOWN_MAX: usize = 1_000;
    /// Their bytes as JSON, of which each may take six times as many as it has.
    pub const TOPICS_SHOWN_BYTES_MAX: usize = 512 * 1024;
    /// Parts of a message of another bus under CURVE, where they are known once its box is open.
    pub const LINKED_PARTS_MAX: usize = 65_536;
    /// Bytes of one frame that a tap shows.
    pub const TAP_FRAME_BYTES_MAX: usize = 64 * 1024;
}

/// Bounds of a request, whoever it is for.
pub mod request {
    /// The bytes of its envelope and of the places of its frames: what is kept to give an answer back.
    /// Each hop on the way takes some 40 of them.
    pub const ENVELOPE_BYTES_MAX: usize = 4 * 1024;
}

/// Bounds of a key-value store.
pub mod kv {
    /// Bytes of a key.
    pub const KEY_BYTES_MAX: usize = 512;
    /// Bytes of a value.
    pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// Operations of one batch.
    pub const BATCH_OPS_MAX: usize = 1_024;
    /// Their bytes.
    pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// Bytes of keys and values, where the manifest does not say `max`.
    pub const BYTES_MAX: usize = 256 * 1024 * 1024;
    /// What an entry costs beside its key and its value.
    pub const ENTRY_BYTES: usize = 128;
    /// Bytes of the writes that a watch can begin at.
    pub const HISTORY_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// How many of them.
    pub const HISTORY_MAX: usize = 65_536;
    /// Requests that wait to be written; one more is refused.
    pub const WAITING_MAX: usize = 16_384;
    /// Their bytes.
    pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
    /// Writes that are stored together, but for a batch that has more alone.
    pub const FLIGHT_WRITES_MAX: usize = 4_096;
    /// Their bytes.
    pub const FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// Watches that wait for a write; one more is refused.
    pub const WATCHES_MAX: usize = 10_000;
    /// Those of one connection.
    pub const WATCHES_OF_ONE_MAX: usize = 64;
    /// How long a watch may wait, in milliseconds.
    pub const WATCH_MS_MAX: u64 = 60_000;
    /// Keys or events of one answer.
    pub const PAGE_MAX: usize = 1_000;
    /// Bytes of one answer, but for one value that is larger alone.
    pub const PAGE_BYTES_MAX: usize = 1024 * 1024;
    /// Writes whose `once` is remembered, so that a retry is not done again.
    pub const KNOWN_MAX: usize = 8_192;
    /// The longest time to live, in milliseconds: ten years.
    pub const TTL_MS_MAX: u64 = 10 * 365 * 86_400 * 1_000;
    /// Mirrors that are sent a snapshot at a time; one more waits for its turn.
    pub const SNAPSHOTS_MAX: usize = 1_024;
}

/// Bounds of a task queue.
pub mod queue {
    /// Bytes of tasks and dead letters, where the manifest does not say `max`.
    pub const BYTES_MAX: usize = 256 * 1024 * 1024;
    /// Tasks that are not done, dead letters among them; with as many none is taken.
    pub const TASKS_MAX: usize = 200_000;
    /// Dead letters; with more the oldest is forgotten and stays counted.
    pub const DEAD_MAX: usize = 10_000;
    /// Services with tasks or workers; one more is not taken.
    pub const SERVICES_MAX: usize = 1_024;
    /// Those of them without a worker that one connection may have asked for.
    pub const SERVICES_OF_ONE_MAX: usize = SERVICES_MAX / 4;
    /// Those without a worker in all: the others are for workers.
    pub const SERVICES_ASKED_MAX: usize = SERVICES_MAX / 4 * 3;
    /// Ids of done tasks that are remembered, so that the same task is not done again.
    pub const KNOWN_MAX: usize = 10_000;
    /// Bytes of their answers; the oldest answers go, their ids stay.
    pub const KNOWN_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// Who may wait for one task, one more is refused.
    pub const WAITERS_MAX: usize = 16;
    /// Tasks that a fast plain worker may have, where the manifest does not say `ahead`; the most.
    pub const AHEAD_MAX: u32 = 16;
    /// Workers of one connection that wait for tasks by `take`.
    pub const TAKES_MAX: usize = 64;
    /// Bytes of the words with which a worker says why it failed.
    pub const FAILURE_BYTES_MAX: usize = 16 * 1024;
    /// Tasks that one answer of `ls` lists.
    pub const LISTED_MAX: usize = 1_000;
    /// The longest delay of a task and the longest lease, in milliseconds: a week.
    pub const LATER_MS_MAX: u64 = 7 * 24 * 3_600 * 1_000;
    /// How long a `take` may wait, in milliseconds.
    pub const TAKE_MS_MAX: u64 = 60_000;
    /// How long an answer is kept that nobody fetched, where the manifest does not say `retain`: a day.
    pub const KEEP_MS: u64 = 24 * 3_600 * 1_000;
    /// Bytes of such answers, where `max` is not less; with more the oldest go, and are counted.
    pub const RESULTS_BYTES_MAX: usize = 256 * 1024 * 1024;
    /// The most that `max` may be of a queue with a store: with the answers, ids and what all have beside
    /// their frames a checkpoint is less than one may be.
    pub const STORED_MAX: usize = 512 * 1024 * 1024;
    /// Changes that are stored together.
    pub const FLIGHT_CHANGES_MAX: usize = 16_384;
    /// Their bytes, but for one that is larger alone.
    pub const FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
    /// Bytes of what is said when it is stored; with more, who asks on is read no further.
    pub const UNSAID_BYTES_MAX: usize = 64 * 1024 * 1024;
}

/// Bounds of a stream.
pub mod stream {
    /// Appends and changes that are being stored, and reads; one more is refused.
    pub const PENDING_MAX: usize = 8_192;
    /// Bytes that are being stored; what is more is refused, unless it is alone.
    pub const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;
    /// Bytes of the name of a producer.
    pub const PRODUCER_BYTES_MAX: usize = 64;
    /// Producers whose numbers are known; who was not heard for longest is forgotten.
    pub const PRODUCERS_MAX: usize = 10_000;
    /// Numbers that are known of each.
    pub const SEQUENCES_MAX: usize = 32;
    /// Bytes of the name of a group, and of its owner.
    pub const GROUP_BYTES_MAX: usize = 64;
    /// Groups; one more is refused.
    pub const GROUPS_MAX: usize = 10_000;
    /// Records that one read gives, where it does not say.
    pub const READ_RECORDS: usize = 100;
    /// Records that one read gives at most.
    pub const READ_RECORDS_MAX: usize = 1_000;
    /// Bytes that one read gives, where it does not say.
    pub const READ_BYTES: usize = 1024 * 1024;
    /// Bytes that one read gives at most, but for a record that is larger alone.
    pub const READ_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// How long a read may wait for records, in milliseconds.
    pub const WAIT_MS_MAX: u64 = 60_000;
    /// Reads that wait for records; one more is refused.
    pub const WAITING_MAX: usize = 1_024;
}

/// Bounds of a spool.
pub mod spool {
    /// Messages that are being stored; with as many its publishers are not read.
    pub const STORING_MAX: usize = 8_192;
    /// Their bytes.
    pub const STORING_BYTES_MAX: usize = 64 * 1024 * 1024;
    /// Requests that are under way in the store; one more is refused.
    pub const PENDING_MAX: usize = 4_096;
    /// The oldest messages, in memory beside the disk.
    pub const WINDOW_MAX: usize = 1_024;
    /// Their bytes, but for one that is larger alone.
    pub const WINDOW_BYTES_MAX: usize = 1024 * 1024;
    /// Messages that one answer gives.
    pub const PAGE_MAX: usize = 1_000;
    /// Bytes that one answer gives, where it does not say.
    pub const PAGE_BYTES: usize = 1024 * 1024;
    /// Bytes that one answer gives at most, but for a message that is larger alone.
    pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// Frames that one answer gives at most, but for those of its first message.
    pub const PAGE_FRAMES_MAX: usize = 4_096;
    /// How long a request may wait for messages, in milliseconds.
    pub const WAIT_MS_MAX: u64 = 60_000;
    /// Requests that wait for messages; one more is refused.
    pub const WAITING_MAX: usize = 1_024;
    /// Bytes of a compiled `regex`.
    pub const REGEX_BYTES_MAX: usize = 1024 * 1024;
    /// Requests that said `once` and are remembered.
    pub const ONCE_MAX: usize = 1_024;
    /// Bytes of an id of one.
    pub const ONCE_BYTES_MAX: usize = 64;
    /// Bytes that are taken until what is taken is looked for on the disk.
    pub const TRIM_EVERY_BYTES: u64 = 1024 * 1024;
    /// How often a spool that forgets what is too old looks for it, in milliseconds.
    pub const LOOK_EVERY_MS: u64 = 5_000;
}

/// Bounds of what is kept on disk.
pub mod store {
    /// The bytes of one batch, its heads included.
    pub const BATCH_BYTES_MAX: usize = 80 * 1024 * 1024;
    /// The records of one batch.
    pub const BATCH_RECORDS_MAX: usize = 65_536;
    /// Bytes that are written and synced together, but for a batch that is larger alone.
    pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// Entries that are written and synced together.
    pub const GROUP_ENTRIES_MAX: usize = 4_096;
    /// Entries and other wishes that wait for the thread of a log; one more is refused.
    pub const WAITING_MAX: usize = 16_384;
    /// Reads that wait for the thread that reads a log; one more is refused.
    pub const READS_MAX: usize = 4_096;
    /// Bytes after which a segment ends and another begins.
    pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
    /// The least a segment is made of, where little is kept.
    pub const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
    /// Bytes between two entries of a segment's index.
    pub const INDEX_EVERY_BYTES: u64 = 32 * 1024;
    /// Bytes of a checkpoint.
    pub const CHECKPOINT_BYTES_MAX: usize = 1024 * 1024 * 1024;
    /// Bytes that are stored until another checkpoint is due.
    pub const CHECKPOINT_EVERY_BYTES: u64 = 64 * 1024 * 1024;
    /// Bytes in memory, where a store is there alone and nobody says how much it may hold.
    pub const MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;
    /// Bytes of a torn tail that are set aside before it is cut; more of it is not.
    pub const TORN_BYTES_MAX: u64 = 16 * 1024 * 1024;
}

/// Bounds of what the runner holds.
pub mod runner {
    /// The largest frame between the keeper and its clients, in bytes.
    pub const KEEPER_FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// Clients of a keeper at a time; one more is turned away.
    pub const KEEPER_CLIENTS_MAX: usize = 64;
    /// Bytes waiting to be read by a client of a keeper; a client that lets more gather is dropped.
    pub const KEEPER_CLIENT_BYTES_MAX: usize = 32 * 1024 * 1024;
    /// How long a keeper may take to answer, in milliseconds; after it, it counts as lost.
    pub const KEEPER_ANSWER_MS: u64 = 10_000;
    /// How long a keeper may take to say who it is, in milliseconds; after it, it is replaced.
    pub const KEEPER_HELLO_MS: u64 = 5_000;
    /// Events of a keeper that wait for the supervisor; with more it is disconnected and lists anew.
    pub const KEEPER_EVENTS_MAX: usize = 65_536;
    /// Bytes of one message on the notification socket.
    pub const NOTICE_BYTES_MAX: usize = 4 * 1024;
    /// Requests and events waiting for the supervisor.
    pub const SUPERVISOR_QUEUE_MAX: usize = 1_024;
    /// State changes the supervisor remembers for those who follow them.
    pub const TRANSITIONS_MAX: usize = 4_096;
    /// Requests to the supervisor that wait for something to happen; one more is turned away.
    pub const WAITERS_MAX: usize = 64;
    /// Probes under way at a time; further ones wait for their turn.
    pub const PROBES_MAX: usize = 64;
    /// How often a running role is told what changed before it is restarted instead.
    pub const TELL_TRIES_MAX: u32 = 10;
    /// How long a role may take to answer that, in milliseconds.
    pub const TELL_ANSWER_MS: u64 = 1_000;
    /// How often a log is read for the line that says that its instance is ready, in milliseconds.
    pub const LOG_PROBE_PAUSE_MS: u64 = 50;
    /// Bytes of a log that are searched at a time for that line.
    pub const LOG_PROBE_BYTES_MAX: usize = 256 * 1024;
    /// How soon the records follow what happened, in milliseconds: many events cost one write.
    pub const LEDGER_PAUSE_MS: u64 = 20;
    /// Bytes of a log shown with a failure.
    pub const LOG_TAIL_BYTES_MAX: usize = 16 * 1024;
    /// Lines of a log shown with a failure.
    pub const LOG_TAIL_LINES_MAX: usize = 10;
    /// Probe round trips kept per instance for p50 and p99.
    pub const PROBE_SAMPLES_MAX: usize = 256;
}

#[cfg(test)]
mod tests {
    use super::WireLimits;
    use super::hub::UNFINISHED_BYTES_MAX;

    #[test]
    fn the_limits_in_the_security_document_are_these() {
        let document = include_str!("../../docs/security.md");
        let is = WireLimits::default();
        let mib = |bytes: usize| format!("{} MiB", bytes / (1024 * 1024));
        let rows = [
            ("handshake, from", format!("{} s", is.handshake_ms / 1_000)),
            ("connections in their", is.pending_max.to_string()),
            ("connections in all", is.connections_max.to_string()),
            ("one message, on this", mib(is.message_bytes_max)),
            ("one message from", mib(is.message_far_bytes_max)),
            ("parts of", is.parts_max.to_string()),
            ("what a peer says", format!("{} B", is.metadata_bytes_max)),
            ("a topic", format!("{} B", is.topic_bytes_max)),
            ("subscriptions of", is.subscriptions_max.to_string()),
            ("PINGs", is.pings_max.to_string()),
            ("what waits", mib(is.peer_bytes_max)),
            ("unfinished messages", mib(UNFINISHED_BYTES_MAX)),
        ];
        for (what, value) in rows {
            let row = document
                .lines()
                .find(|line| line.starts_with(&format!("| {what}")));
            let row = row.unwrap_or_else(|| panic!("no row for `{what}`"));
            assert_eq!(
                row.split('|').nth(2).map(str::trim),
                Some(&*value),
                "{what}"
            );
        }
        assert_eq!(is.pings_period_ms, 1_000, "the row says: a second");
    }
}
