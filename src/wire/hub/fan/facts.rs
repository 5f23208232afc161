//! What a fan knows, as `bus ls` and `status` show it.

use serde::Serialize;

use crate::model::limits::hub::{TOPICS_SHOWN_BYTES_MAX, TOPICS_SHOWN_MAX};
use crate::protocol::topics::Topics;
use crate::wire::hub::ConnId;
use crate::wire::hub::forward::Passed;

use super::Fan;

/// What a topic takes beside its name, as JSON.
const ROW_BYTES: usize = 80;

/// What a fan knows.
#[derive(Debug, Clone, Serialize)]
pub struct FanFacts {
    /// Messages that came.
    pub published: u64,
    /// The bytes of their frames.
    pub published_bytes: u64,
    /// Messages that nobody was subscribed to.
    pub unmatched: u64,
    /// Messages of other buses that were over the limits here, and dropped.
    pub oversized: u64,
    /// What passed to all subscribers, those that are gone included.
    pub passed: Passed,
    /// What passed to those that are gone.
    pub gone: Passed,
    /// Topics whose last message is kept.
    pub retained: usize,
    /// Messages that should have been kept and found no room.
    pub unretained: u64,
    /// The subscribers.
    pub subscribers: Vec<SubscriberFacts>,
    /// What is subscribed to, in order; the first ones, where there are very many.
    pub topics: Vec<TopicFacts>,
    /// How many more there are.
    pub topics_more: usize,
}

/// One subscriber.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriberFacts {
    /// Its connection.
    pub conn: ConnId,
    /// It is another bus.
    pub is_bus: bool,
    /// What passed to it.
    #[serde(flatten)]
    pub passed: Passed,
}

/// One prefix that is subscribed to.
#[derive(Debug, Clone, Serialize)]
pub struct TopicFacts {
    /// The prefix, as text.
    pub topic: String,
    /// How many are subscribed to it.
    pub subscribers: usize,
    /// Messages whose topic begins with it, since it was first subscribed to.
    pub messages: u64,
}

impl Fan {
    /// What it knows.
    pub fn facts(&self) -> FanFacts {
        let state = self.state();
        let subscribers: Vec<SubscriberFacts> = state
            .subscribers
            .iter()
            .flatten()
            .filter_map(|subscriber| {
                Some(SubscriberFacts {
                    conn: subscriber.conn,
                    is_bus: subscriber.wants.is_some(),
                    passed: subscriber.taker.upgrade()?.passed()?,
                })
            })
            .collect();
        let mut passed = state.gone;
        for subscriber in &subscribers {
            passed.add(&subscriber.passed);
        }
        let topics = topic_facts(&state.topics);
        FanFacts {
            published: state.published,
            published_bytes: state.published_bytes,
            unmatched: state.unmatched,
            oversized: state.oversized,
            passed,
            gone: state.gone,
            retained: state.retained.len(),
            unretained: state.retained.refused(),
            subscribers,
            topics_more: state.topics.prefixes() - topics.len(),
            topics,
        }
    }
}

/// What is subscribed to, as far as one answer has room: what stands in a topic is its subscriber's, and may
/// take six times its bytes in JSON.
fn topic_facts(topics: &Topics) -> Vec<TopicFacts> {
    let mut bytes = 0;
    let mut facts = Vec::new();
    for held in topics.list(TOPICS_SHOWN_MAX) {
        let topic = String::from_utf8_lossy(&held.prefix).into_owned();
        let shown = serde_json::to_string(&topic).expect("a text is JSON");
        bytes += shown.len() + ROW_BYTES;
        if bytes > TOPICS_SHOWN_BYTES_MAX {
            break;
        }
        facts.push(TopicFacts {
            topic,
            subscribers: held.subscribers,
            messages: held.messages,
        });
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_shown_as_far_as_there_is_room_and_the_others_counted() {
        let mut topics = Topics::default();
        let shown = |topics: &Topics| {
            let facts = topic_facts(topics);
            let bytes = serde_json::to_string(&facts).unwrap().len();
            assert!(bytes <= TOPICS_SHOWN_BYTES_MAX, "{bytes}");
            (facts.len(), topics.prefixes())
        };
        assert_eq!(shown(&topics), (0, 0));
        for number in 0..1_500 {
            topics.add(1, format!("plain.{number}").as_bytes());
        }
        assert_eq!(shown(&topics), (TOPICS_SHOWN_MAX, 1_500));
        // Each of these bytes takes six as JSON.
        for number in 0..500 {
            topics.add(
                1,
                &[&[1; 1_000][..], &[number as u8, (number >> 8) as u8]].concat(),
            );
        }
        let (few, all) = shown(&topics);
        assert_eq!(all, 2_000);
        assert!((50..100).contains(&few), "{few}");
    }
}
