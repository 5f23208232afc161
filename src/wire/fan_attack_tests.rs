//! Peers of a fan-out that cost as much as they can, over real connections.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::fan_tests::{Bus, config};
use super::hub::FanConfig;
use super::tests::raw_as;

/// Subscriptions that are cancelled again, so many times.
fn fickle(times: usize) -> Vec<u8> {
    [0, 2, 1, b't', 0, 2, 0, b't'].repeat(times)
}

#[tokio::test]
async fn who_subscribes_and_cancels_without_end_delays_nobody_else() {
    const RETAINED: u64 = 1_000;
    let bus = Bus::new(FanConfig {
        retain_max: RETAINED as usize,
        bytes_max: 64 * 1024,
        ..config()
    });
    for n in 0..RETAINED {
        bus.fan.publish(&[format!("t{n}").into(), "last".into()]);
    }
    let mut other = bus.subscriber(&["news"]).await;
    let mut greedy = raw_as(&bus.subscribe, "SUB", "").await;
    // One read of it is work for the better part of a minute.
    greedy.write_all(&fickle(30_000)).await.unwrap();
    bus.until(|facts| facts.passed.matched > RETAINED).await;
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(bus.fan.publish(&["news".into()]).queued, 1);
        assert_eq!(other.message().await, ["news"]);
    }
    let facts = bus.fan.facts();
    assert!(
        facts.passed.matched < 15_000 * RETAINED,
        "it is not done: {:?}",
        facts.passed
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    // It is gone as soon as it goes, whatever it still wanted.
    drop(greedy);
    bus.until(|facts| facts.subscribers.len() == 1).await;
}

#[tokio::test]
async fn more_subscriptions_than_fit_into_a_turn_all_count() {
    let bus = Bus::new(config());
    let mut many = raw_as(&bus.subscribe, "SUB", "").await;
    let mut wanted = fickle(20_000);
    for n in 0..2_000_u16 {
        wanted.extend([0, 3, 1]);
        wanted.extend(n.to_be_bytes());
    }
    many.write_all(&wanted).await.unwrap();
    for n in [0, 1_000, 1_999_u16] {
        let wanted = Bytes::copy_from_slice(&n.to_be_bytes());
        bus.until(|_| bus.fan.publish(std::slice::from_ref(&wanted)).matched == 1)
            .await;
    }
}
