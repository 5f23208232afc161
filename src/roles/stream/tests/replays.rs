//! What is replayed at a bus that answers, refuses, is silent and goes.

use super::*;
use crate::model::quantity::Pace;

const DIAL: &str = "to again";

fn bench(pace: Pace) -> Bench {
    let mut bench = Bench::new();
    let replay = Replay {
        pace,
        topics: vec!["a".to_owned(), "b".to_owned()],
        bytes_max: 10,
        parts_max: 2,
    };
    let mut config = bench.machine.config.clone();
    config.replays.insert(DIAL.to_owned(), replay);
    bench.machine = Machine::new(&config);
    bench.tell(Event::Disk(Told::Recovered { start: 0, end: 0 }));
    bench
}

impl Bench {
    /// A bus is there; somebody subscribes to it or not.
    fn bus(&mut self, is_heard: bool) {
        self.tell(Event::Opened {
            port: DIAL.into(),
            conn: BUS,
        });
        while !self.asked.is_empty() {
            self.store(None);
        }
        self.who(is_heard);
    }

    fn who(&mut self, is_heard: bool) {
        let who = self.published.remove(0);
        assert_eq!(&*who.verb, "status");
        let topics = if is_heard { json!(["a"]) } else { json!([]) };
        self.says(&who, zn1::OK, json!({"fan": {"topics": topics}}));
    }

    fn says(&mut self, request: &Request, status: u16, result: Value) {
        let frames = Reply::new(status, request.id.clone(), result).encode();
        self.tell(Event::Message {
            port: DIAL.into(),
            conn: BUS,
            frames,
        });
        while !self.asked.is_empty() {
            self.store(None);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.tell(Event::Tick);
        while !self.asked.is_empty() {
            self.store(None);
        }
    }

    fn append_all(&mut self, texts: &[&'static str]) {
        self.ask(1, "append", json!({}), texts);
        while !self.asked.is_empty() {
            self.store(None);
        }
        self.answers.clear();
    }

    /// What was published and not answered yet, by its first frame.
    fn texts(&self) -> Vec<String> {
        let first = |it: &Request| String::from_utf8(it.body[0].to_vec()).unwrap();
        self.published.iter().map(first).collect()
    }

    fn facts(&self) -> Value {
        self.machine.facts()["replays"][DIAL].clone()
    }
}

#[test]
fn what_is_acknowledged_is_not_published_again_and_the_rest_is() {
    let mut bench = bench(Pace::Fast);
    bench.append_all(&["a1", "a2", "c", "a much too long one", "b3"]);
    bench.bus(false);
    assert!(bench.published.is_empty(), "nobody is there");
    assert!(bench.machine.deadline() <= Some(bench.now + Duration::from_millis(100)));
    bench.pass(100);
    bench.who(true);
    assert_eq!(bench.texts(), ["a1", "a2", "b3"]);
    let first = bench.published[0].clone();
    let ids: Vec<Bytes> = bench.published.iter().map(|it| it.id.clone()).collect();
    bench.says(&first, zn1::OK, json!({"matched": 1}));
    // The bus is lost: what it has not acknowledged comes again, as something else.
    bench.tell(Event::Closed {
        port: DIAL.into(),
        conn: BUS,
    });
    bench.published.clear();
    bench.bus(true);
    assert_eq!(bench.texts(), ["a2", "b3"]);
    assert!(bench.published.iter().all(|it| !ids.contains(&it.id)));
    // A late answer to what was published before says nothing.
    bench.says(&first, zn1::OK, json!({"matched": 1}));
    assert_eq!(bench.facts()["offset"], 1);
    for request in std::mem::take(&mut bench.published) {
        bench.says(&request, zn1::OK, json!({"matched": 1}));
    }
    let facts = bench.facts();
    assert_eq!((&facts["offset"], &facts["lag"]), (&json!(5), &json!(0)));
    assert_eq!(
        (&facts["published"], &facts["left_out"]),
        (&json!(3), &json!(1))
    );
    bench.pass(1_000);
    // Its place is kept: another life has nothing to publish but what is new.
    let config = bench.machine.config.clone();
    bench.restart();
    bench.machine = Machine::new(&config);
    for batch in bench.batches.clone() {
        bench.tell(Event::Disk(Told::Replayed(batch)));
    }
    bench.tell(Event::Disk(Told::Recovered { start: 0, end: 5 }));
    bench.bus(true);
    assert!(bench.published.is_empty());
    bench.append_all(&["a6"]);
    assert_eq!(bench.texts(), ["a6"]);
}

#[test]
fn a_bus_that_is_busy_is_asked_again_and_one_that_is_silent_is_left() {
    let mut bench = bench(Pace::Fast);
    bench.bus(true);
    bench.append_all(&["a1", "a2"]);
    let asked = std::mem::take(&mut bench.published);
    bench.says(&asked[0], zn1::BACK_PRESSURE, json!({}));
    assert!(bench.published.is_empty(), "it rests");
    let due = bench.machine.deadline().unwrap();
    assert!(due > bench.now && due <= bench.now + Duration::from_millis(100));
    bench.says(&asked[1], zn1::OK, json!({"matched": 1}));
    bench.pass(100);
    assert_eq!(bench.texts(), ["a1", "a2"], "in their order");
    let asked = std::mem::take(&mut bench.published);
    bench.says(&asked[0], zn1::TOO_LARGE, json!({}));
    assert_eq!(bench.facts()["left_out"], 1);
    bench.pass(4_900);
    assert_eq!(bench.closed, 0);
    bench.pass(200);
    assert_eq!(bench.closed, 1);
    assert_eq!(bench.facts()["connected"], false);
}

#[test]
fn no_more_is_under_way_than_may_be() {
    let mut bench = bench(Pace::Fast);
    bench.bus(true);
    for _ in 0..4 {
        bench.append_all(&["a"; 50]);
    }
    assert_eq!(bench.published.len(), 64);
    for _ in 0..200 {
        let request = bench.published.remove(0);
        bench.says(&request, zn1::OK, json!({"matched": 1}));
        assert!(bench.published.len() <= 64);
    }
    assert_eq!(bench.facts()["lag"], 0);
}
