//! What a self test checks of the stores: what was acknowledged is there, in its order, once.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::{COUNT, Fault, LOOK_PAUSE, Network, expect};
use crate::client::bus::Publisher;
use crate::client::kv::{KvClient, Swapped, Watched};
use crate::client::spool::SpoolClient;
use crate::client::stream::{self, StreamClient, StreamEvent};
use crate::wire::keyed::Keys;

/// Keys are set and read, a stale comparison is refused, and who follows the writes sees each.
pub(super) async fn kv(network: &Network<'_>) -> Result<String, Fault> {
    let wait = network.timeout;
    let mut kv = KvClient::new(network.endpoint("kv", "main")?, Keys::Open);
    for number in 0..COUNT {
        let (key, value) = (format!("key/{number:03}"), number.to_string());
        let revision = kv.set(&key, value.clone().into(), wait).await?;
        expect(revision == number as u64 + 1, || {
            format!("write {number} has the revision {revision}")
        })?;
        let got = kv.get(&key, wait).await?.map(|item| item.value);
        expect(got.as_deref() == Some(value.as_bytes()), || {
            format!("`{key}` was set to {value} and is {got:?}")
        })?;
    }
    let stale = kv.cas("key/000", 7, "stale".into(), wait).await?;
    expect(stale == Swapped::Conflict(1), || {
        format!("a comparison with a revision that is gone was {stale:?}")
    })?;
    let (mut seen, mut after) = (Vec::new(), 0);
    while seen.len() < COUNT {
        match kv.watch("key/", after, wait, wait).await? {
            Watched::Writes(writes, next) => {
                seen.extend(writes.iter().map(|it| it.revision));
                after = next;
            }
            Watched::Gone | Watched::Ahead(_) => {
                return Err(Fault::Wrong("the last writes are forgotten".to_owned()));
            }
        }
    }
    let all: Vec<u64> = (1..=COUNT as u64).collect();
    expect(seen == all, || format!("a watch saw the writes {seen:?}"))?;
    Ok(format!(
        "{COUNT} keys were synced and read, a stale write was refused, a watch saw each write"
    ))
}

/// Events are appended and read in their order; one that is appended again is there once.
pub(super) async fn stream(network: &Network<'_>) -> Result<String, Fault> {
    let wait = network.timeout;
    let mut client = StreamClient::new(network.endpoint("stream", "main")?, Keys::Open);
    for number in 0..COUNT {
        let params = serde_json::json!({"producer": "selftest", "sequence": number});
        for is_again in [false, true] {
            let event = vec![Bytes::from(number.to_string())];
            let reply = client.ask("append", params.clone(), event, wait).await?;
            let told = (&reply.result["offset"], &reply.result["duplicate"]);
            expect(told == (&number.into(), &is_again.into()), || {
                format!("event {number} was answered with {}", reply.result)
            })?;
        }
    }
    let page = client.read(stream::From::Oldest, COUNT * 2, Duration::ZERO, wait);
    let events = page.await?.events;
    let is_next = |(number, event): (usize, &StreamEvent)| {
        event.offset == number as u64 && event.data == number.to_string()
    };
    let is_right = events.len() == COUNT && events.iter().enumerate().all(is_next);
    expect(is_right, || format!("{} events came back", events.len()))?;
    Ok(format!(
        "{COUNT} events were synced and read in their order, each once though it was appended twice"
    ))
}

/// What the bus says is kept by the spool, and taken message by message.
pub(super) async fn spool(network: &Network<'_>) -> Result<String, Fault> {
    let wait = network.timeout;
    let mut publisher = Publisher::new(network.endpoint("bus", "acked")?, Keys::Open);
    let mut spool = SpoolClient::new(network.endpoint("spool", "main")?, Keys::Open);
    let hears = async |publisher: &mut Publisher, body: String| {
        let body = vec![Bytes::from(body)];
        let published = publisher.publish("kept".into(), body, wait).await?;
        Ok::<bool, Fault>(published.queued == 1)
    };
    while !hears(&mut publisher, "early".to_owned()).await? {
        sleep(LOOK_PAUSE).await;
    }
    for number in 0..COUNT {
        let is_heard = hears(&mut publisher, number.to_string()).await?;
        expect(is_heard, || format!("message {number} was not for it"))?;
    }
    let mut number = 0;
    while number < COUNT {
        let front = spool.front(wait, wait).await?.ok_or(Fault::Silent)?;
        let again = spool.front(wait, wait).await?;
        expect(again.as_ref() == Some(&front), || {
            format!("asked again it gave {again:?}")
        })?;
        let removed = spool.pop(front.offset, wait).await?;
        expect(removed == 1, || format!("a pop took {removed}"))?;
        if front.frames[1..] != [Bytes::from_static(b"early")] {
            let wanted = [Bytes::from_static(b"kept"), number.to_string().into()];
            expect(front.frames == wanted, || {
                format!("message {number} came as {:?}", front.frames)
            })?;
            number += 1;
        }
    }
    let left = spool.length(wait).await?.length;
    expect(left == 0, || format!("{left} messages are left"))?;
    Ok(format!(
        "{COUNT} messages of the bus were kept, given until they were taken, and taken in their order"
    ))
}
