//! What a spool keeps of what it hears: filters in their order, the first refusal stops.
//!
//! What a filter knows from one message to the next survives a restart. It never ends the spool: a
//! filter that cannot judge lets everything pass, and `status` says so.

use std::collections::BTreeMap;

use bytes::Bytes;
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::model::limits::spool::REGEX_BYTES_MAX;

/// A filter, as a spool is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The first frame begins with one of these.
    Topic(Vec<String>),
    /// All frames together have at most so many bytes.
    MaxSize(u64),
    /// The last that passed is at least so many milliseconds ago.
    MinPeriod(u64),
    /// A frame matches.
    Regex(String),
    /// The first, and then one of so many.
    EveryNth(u64),
}

impl Filter {
    /// Its name in manifests and in `status`.
    fn name(&self) -> &'static str {
        match self {
            Self::Topic(_) => "topic",
            Self::MaxSize(_) => "max_size",
            Self::MinPeriod(_) => "min_period",
            Self::Regex(_) => "regex",
            Self::EveryNth(_) => "every_nth",
        }
    }

    fn has_state(&self) -> bool {
        match self {
            Self::MinPeriod(_) | Self::EveryNth(_) => true,
            Self::Topic(_) | Self::MaxSize(_) | Self::Regex(_) => false,
        }
    }
}

/// A filter at work.
#[derive(Debug)]
struct Row {
    filter: Filter,
    /// By which dial must have come what it looks at, where that matters.
    of: Option<String>,
    /// Of `regex`, where it can be used.
    regex: Option<Regex>,
    /// Of `min_period` when the last passed, in nanoseconds since 1970; of `every_nth` how many came.
    state: u64,
    refused: u64,
}

/// The filters of a spool.
#[derive(Debug)]
pub(super) struct Filters {
    rows: Vec<Row>,
    fault: Option<String>,
    /// Whether what they know was not handed out since it changed.
    is_changed: bool,
}

/// What a filter knows, by its name.
pub(super) type KeptFilter = (String, u64);

impl Filters {
    /// Those of dials, each for what comes by it, before those for everything.
    pub(super) fn new(filters: &[Filter], of_dials: &BTreeMap<String, Vec<Filter>>) -> Self {
        let mut fault = None;
        let mut row = |(of, filter): (Option<&String>, &Filter)| {
            let regex = match filter {
                Filter::Regex(text) => {
                    let built = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
                    let failed = |_| fault = Some(format!("`{text}` is no regular expression"));
                    built.map_err(failed).ok()
                }
                _ => None,
            };
            Row {
                filter: filter.clone(),
                of: of.cloned(),
                regex,
                state: 0,
                refused: 0,
            }
        };
        let of_dials = of_dials.iter();
        let of_dials = of_dials.flat_map(|(of, all)| all.iter().map(move |it| (Some(of), it)));
        let all = of_dials.chain(filters.iter().map(|it| (None, it)));
        Self {
            rows: all.map(&mut row).collect(),
            fault,
            is_changed: false,
        }
    }

    /// Whether all let a message pass at a time, in nanoseconds since 1970.
    pub(super) fn pass(&mut self, dial: &str, now_ns: u64, frames: &[Bytes]) -> bool {
        let is_of = |row: &&mut Row| row.of.as_ref().is_none_or(|of| of == dial);
        for row in self.rows.iter_mut().filter(is_of) {
            if !row.passes(now_ns, frames) {
                row.refused += 1;
                // One that was before it may know more now.
                self.is_changed |= self.rows.iter().any(|row| row.filter.has_state());
                return false;
            }
        }
        self.is_changed |= self.rows.iter().any(|row| row.filter.has_state());
        true
    }

    /// What they know, to be kept, where any knows something.
    pub(super) fn kept(&self) -> Vec<KeptFilter> {
        let rows = self.rows.iter().filter(|row| row.filter.has_state());
        rows.map(|row| (row.known_as(), row.state)).collect()
    }

    /// The same, where it was not handed out since it changed.
    pub(super) fn changed(&mut self) -> Option<Vec<KeptFilter>> {
        std::mem::take(&mut self.is_changed).then(|| self.kept())
    }

    /// Takes what they knew. A clock that was set back since must not have them wait for the time
    /// that was.
    pub(super) fn restore(&mut self, kept: &[KeptFilter], now_ns: u64) {
        let mut left: Vec<&KeptFilter> = kept.iter().collect();
        for row in self.rows.iter_mut().filter(|row| row.filter.has_state()) {
            let Some(at) = left.iter().position(|(name, _)| *name == row.known_as()) else {
                continue;
            };
            let (_, state) = left.remove(at);
            row.state = match row.filter {
                Filter::MinPeriod(_) => (*state).min(now_ns),
                _ => *state,
            };
        }
    }

    /// How many each has refused.
    pub(super) fn refused(&self) -> BTreeMap<&'static str, u64> {
        let mut refused = BTreeMap::new();
        for row in &self.rows {
            *refused.entry(row.filter.name()).or_default() += row.refused;
        }
        refused
    }

    /// Why one cannot judge.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

impl Row {
    /// What its state is called: of several that are called the same the first is the first.
    fn known_as(&self) -> String {
        let name = self.filter.name();
        self.of
            .as_ref()
            .map_or(name.to_owned(), |of| format!("{of}.{name}"))
    }

    fn passes(&mut self, now_ns: u64, frames: &[Bytes]) -> bool {
        match &self.filter {
            Filter::Topic(topics) => {
                let topic = frames.first().map_or(&[][..], |frame| frame);
                let mut topics = topics.iter();
                topics.any(|wanted| topic.starts_with(wanted.as_bytes()))
            }
            Filter::MaxSize(max) => {
                let bytes: usize = frames.iter().map(Bytes::len).sum();
                bytes as u64 <= *max
            }
            Filter::MinPeriod(period_ms) => {
                let period_ns = period_ms.saturating_mul(1_000_000);
                let is_over = self.state == 0 || now_ns.saturating_sub(self.state) >= period_ns;
                if is_over {
                    self.state = now_ns;
                }
                is_over
            }
            Filter::Regex(_) => {
                let regex = self.regex.as_ref();
                regex.is_none_or(|regex| frames.iter().any(|frame| regex.is_match(frame)))
            }
            Filter::EveryNth(nth) => {
                let is_first = self.state.is_multiple_of(*nth.max(&1));
                self.state = self.state.wrapping_add(1);
                is_first
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn frames(texts: &[&'static str]) -> Vec<Bytes> {
        let frames = texts.iter().map(|it| Bytes::from_static(it.as_bytes()));
        frames.collect()
    }

    #[test]
    fn each_filter_lets_pass_what_it_says_and_nothing_else() {
        let passes = |filter: Filter, texts: &[&'static str]| {
            Filters::new(&[filter], &BTreeMap::new()).pass("", MS, &frames(texts))
        };
        let topics = || Filter::Topic(vec!["ping".to_owned(), "pong".to_owned()]);
        assert!(passes(topics(), &["pings", "body"]));
        assert!(!passes(topics(), &["body", "ping"]));
        assert!(!passes(Filter::Topic(Vec::new()), &["ping"]));
        assert!(passes(Filter::MaxSize(4), &["ab", "cd"]));
        assert!(!passes(Filter::MaxSize(4), &["ab", "cde"]));
        let regex = || Filter::Regex("^b.d$".to_owned());
        assert!(passes(regex(), &["topic", "bad"]));
        assert!(!passes(regex(), &["topic", "badly"]));
    }

    #[test]
    fn a_period_begins_with_what_passes_and_not_with_what_does_not() {
        let mut filters = Filters::new(&[Filter::MinPeriod(10)], &BTreeMap::new());
        let times = [1, 5, 10, 11, 20, 21];
        let passed = times.map(|ms| filters.pass("", ms * MS, &frames(&["a"])));
        assert_eq!(passed, [true, false, false, true, false, true]);
        assert_eq!(filters.refused()["min_period"], 3);
    }

    #[test]
    fn the_order_decides_whether_a_message_that_is_too_large_begins_a_period() {
        let (size, period) = (Filter::MaxSize(3), Filter::MinPeriod(10));
        let mut size_first = Filters::new(&[size.clone(), period.clone()], &BTreeMap::new());
        assert!(!size_first.pass("", MS, &frames(&["large"])));
        assert!(size_first.pass("", 2 * MS, &frames(&["s"])));
        let mut period_first = Filters::new(&[period, size], &BTreeMap::new());
        assert!(!period_first.pass("", MS, &frames(&["large"])));
        assert!(!period_first.pass("", 2 * MS, &frames(&["s"])));
    }

    #[test]
    fn one_of_so_many_passes_the_first_among_them() {
        let mut filters = Filters::new(&[Filter::EveryNth(3)], &BTreeMap::new());
        let passed = [0; 7].map(|_| filters.pass("", MS, &frames(&["a"])));
        assert_eq!(passed, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn what_they_know_survives_and_a_clock_that_was_set_back_blocks_nothing_for_long() {
        let told = [Filter::EveryNth(2), Filter::MinPeriod(10)];
        let mut filters = Filters::new(&told, &BTreeMap::new());
        assert!(filters.pass("", 100 * MS, &frames(&["a"])));
        let kept = filters.changed().unwrap();
        assert_eq!(filters.changed(), None);
        let again = |now: u64| {
            let mut filters = Filters::new(&told[1..], &BTreeMap::new());
            filters.restore(&kept, now * MS);
            filters
        };
        assert!(!again(105).pass("", 105 * MS, &frames(&["a"])));
        assert!(again(105).pass("", 110 * MS, &frames(&["a"])));
        // The clock says 20 where it said 100 before: one period, and no more.
        assert!(!again(20).pass("", 29 * MS, &frames(&["a"])));
        assert!(again(20).pass("", 30 * MS, &frames(&["a"])));
    }

    #[test]
    fn a_filter_that_cannot_judge_keeps_everything_and_says_so() {
        let mut filters = Filters::new(&[Filter::Regex("(".to_owned())], &BTreeMap::new());
        assert!(filters.pass("", MS, &frames(&["a"])));
        assert!(filters.fault().is_some());
    }

    #[test]
    fn those_of_a_link_are_for_what_comes_by_it_and_come_first() {
        let of_link = [Filter::MaxSize(3), Filter::EveryNth(2)].to_vec();
        let of_links = BTreeMap::from([("to news".to_owned(), of_link)]);
        let mut filters = Filters::new(&[Filter::EveryNth(2)], &of_links);
        let mut pass = |dial: &str, text: &'static str| filters.pass(dial, MS, &frames(&[text]));
        assert!(
            !pass("to news", "long"),
            "by the link, and the node's did not count it"
        );
        assert!(pass("to other", "long") && !pass("to other", "long"));
        assert!(
            pass("to news", "a"),
            "the first by the link, the third of all"
        );
        assert!(!pass("to news", "a"));
        let kept = filters.kept();
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["to news.every_nth", "every_nth"]);
        let mut again = Filters::new(&[Filter::EveryNth(2)], &of_links);
        again.restore(&kept, MS);
        assert_eq!(again.kept(), kept);
    }
}
