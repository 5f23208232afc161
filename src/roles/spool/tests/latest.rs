//! The spool that keeps only the newest message.

use super::*;

#[test]
fn with_latest_a_message_takes_the_place_of_the_one_before_it() {
    let told = config(Mode::Latest, &[]);
    let mut bench = Bench::new(&told);
    bench.hear(&["a0"]);
    bench.hear(&["a1"]);
    bench.store_all();
    assert_eq!(bench.length().0, 1);
    let new = |bench: &mut Bench| bench.asked_and_answered("front", json!({})).1["new"].clone();
    assert_eq!(
        (new(&mut bench), new(&mut bench)),
        (true.into(), false.into())
    );
    bench.again(&told, 1);
    assert_eq!(
        (new(&mut bench), new(&mut bench)),
        (true.into(), false.into())
    );
    // What was replaced while it was being taken is taken, and the newer one is there.
    bench.ask(1, "pop", json!({"offset": 1}));
    bench.hear(&["a2"]);
    bench.store_all();
    assert_eq!(bench.front().as_deref(), Some("a2"));
    bench.asked_and_answered("pop", json!({"offset": 2}));
    assert_eq!(bench.front(), None);
    bench.again(&told, 1);
    assert_eq!(bench.front(), None);
    // A spool that held all of them before holds the newest.
    let mut bench = Bench::new(&config(Mode::Fifo, &[]));
    for body in ["a0", "a1", "a2"] {
        bench.hear(&[body]);
    }
    bench.store_all();
    bench.again(&told, 1);
    assert_eq!(
        (bench.front().as_deref(), bench.length().0),
        (Some("a2"), 1)
    );
}
