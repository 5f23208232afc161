//! A disk that takes nothing, or takes its time.

use super::*;

#[test]
fn what_the_disk_did_not_take_takes_no_room() {
    let mut bench = Bench::new(&Config {
        bytes_max: Some(64),
        ..config(Mode::Fifo, &[])
    });
    for _ in 0..3 {
        bench.hear(&["a message"]);
        bench.store(Some(StoreFault::NoSpace));
    }
    bench.hear(&["a kept"]);
    bench.store(None);
    assert_eq!(bench.machine.counters.dropped.full, 0);
    assert_eq!(bench.machine.counters.dropped.disk, 3);
    assert_eq!(bench.front().as_deref(), Some("a kept"));
}

#[test]
fn what_is_put_again_while_it_is_stored_is_not_stored_twice() {
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    let put = |bench: &mut Bench, conn: u64| {
        let mut request = Request::new("put", "id", json!({"once": "x"}));
        request.body = vec![Bytes::from_static(b"a")];
        bench.tell(Event::Message {
            port: MAIN.into(),
            conn: Conn(conn),
            frames: request.encode(),
        });
    };
    put(&mut bench, 1);
    put(&mut bench, 2);
    assert_eq!(bench.answers.pop().map(|it| (it.0, it.1)), Some((2, 503)));
    bench.store(None);
    put(&mut bench, 2);
    let (_, status, told, _) = bench.answers.pop().unwrap();
    assert_eq!((status, &told["repeated"]), (200, &true.into()));
    assert_eq!(bench.length().0, 1);
}
