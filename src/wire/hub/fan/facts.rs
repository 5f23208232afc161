//! What a fan knows, as `bus ls` and `status` show it.

use serde::Serialize;

use crate::model::limits::hub::TOPICS_SHOWN_MAX;
use crate::wire::hub::ConnId;
use crate::wire::hub::forward::Passed;

use super::Fan;

/// What a fan knows.
#[derive(Debug, Clone, Serialize)]
pub struct FanFacts {
    /// Messages that came.
    pub published: u64,
    /// The bytes of their frames.
    pub published_bytes: u64,
    /// Messages that nobody was subscribed to.
    pub unmatched: u64,
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
        let topics = state.topics.list(TOPICS_SHOWN_MAX);
        FanFacts {
            published: state.published,
            published_bytes: state.published_bytes,
            unmatched: state.unmatched,
            passed,
            gone: state.gone,
            retained: state.retained.len(),
            unretained: state.retained.refused(),
            subscribers,
            topics: topics
                .into_iter()
                .map(|held| TopicFacts {
                    topic: String::from_utf8_lossy(&held.prefix).into_owned(),
                    subscribers: held.subscribers,
                    messages: held.messages,
                })
                .collect(),
        }
    }
}
