//! What NATS does with messages, for `benches/versus/brokers.py`. Each command prints one line of
//! `name=value`.
//!
//! ```text
//! natsb URL pubsub SUBSCRIBERS MESSAGES SIZE WINDOW     the publisher is never more than WINDOW ahead
//! natsb URL pace WORKERS RATE TRIPS SIZE                so many requests a second, whatever is answered
//! natsb URL queue WORKERS CLIENTS EACH TRIPS SIZE       requests to a queue group, EACH in flight a client
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long anybody is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Result<Vec<usize>, _> = args.iter().skip(2).map(|arg| arg.parse()).collect();
    match (args.get(1).map(String::as_str), numbers?.as_slice()) {
        (Some("pubsub"), [subscribers, messages, size, window]) => {
            pubsub(
                &args[0],
                *subscribers,
                (*messages as u64, *size),
                *window as u64,
            )
            .await
        }
        (Some("queue"), [workers, clients, each, trips, size]) => {
            queue(&args[0], (*workers, *clients, *each), *trips, *size).await
        }
        (Some("pace"), [workers, rate, trips, size]) => {
            pace(&args[0], *workers, *rate as f64, (*trips, *size)).await
        }
        _ => Err("usage: natsb URL pubsub|queue|pace NUMBERS (see the source)".into()),
    }
}

async fn pubsub(
    url: &str,
    subscribers: usize,
    (messages, size): (u64, usize),
    window: u64,
) -> Outcome<()> {
    let mut counted = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..subscribers {
        let client = ConnectOptions::new()
            .subscription_capacity(1 << 20)
            .connect(url)
            .await?;
        let mut subscription = client.subscribe("bench.t").await?;
        client.flush().await?;
        let count = Arc::new(AtomicU64::new(0));
        counted.push(Arc::clone(&count));
        tasks.push(tokio::spawn(async move {
            // The connection lives as long as its subscription is read.
            let _client = client;
            while count.load(Ordering::Relaxed) < messages && subscription.next().await.is_some() {
                count.fetch_add(1, Ordering::Release);
            }
        }));
    }
    let slowest = || {
        counted
            .iter()
            .map(|count| count.load(Ordering::Acquire))
            .min()
            .unwrap_or(0)
    };
    let publisher = async_nats::connect(url).await?;
    let payload = Bytes::from(vec![b'x'; size]);
    let start = Instant::now();
    for number in 0..messages {
        while number % 64 == 0 && number > window && slowest() < number - window {
            tokio::task::yield_now().await;
        }
        publisher.publish("bench.t", payload.clone()).await?;
    }
    publisher.flush().await?;
    for task in tasks {
        tokio::time::timeout(PATIENCE, task).await??;
    }
    let took = start.elapsed().as_secs_f64();
    let got: u64 = counted
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .sum();
    let due = messages * subscribers as u64;
    println!(
        "delivered_msg_s={:.0} lost={}",
        got as f64 / took,
        due - got
    );
    Ok(())
}

/// Members of the queue group that answer with what they are asked.
async fn answer(url: &str, workers: usize) -> Outcome<()> {
    for _ in 0..workers {
        let client = async_nats::connect(url).await?;
        let mut requests = client.queue_subscribe("bench.r", "workers".into()).await?;
        client.flush().await?;
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let Some(reply) = request.reply else { continue };
                if client.publish(reply, request.payload).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Asks so many times a second, whatever is answered; a latency counts from when it was due.
async fn pace(url: &str, workers: usize, rate: f64, (trips, size): (usize, usize)) -> Outcome<()> {
    answer(url, workers).await?;
    let client = async_nats::connect(url).await?;
    let payload = Bytes::from(vec![b'x'; size]);
    let start = Instant::now() + Duration::from_millis(100);
    let mut asked = Vec::with_capacity(trips);
    for number in 0..trips {
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        let (client, payload) = (client.clone(), payload.clone());
        asked.push(tokio::spawn(async move {
            client.request("bench.r", payload).await.map(|_| due.elapsed())
        }));
    }
    let mut latencies = Vec::with_capacity(trips);
    for each in asked {
        latencies.push(each.await??);
    }
    let took = start.elapsed().as_secs_f64();
    // The first tenth is warming up, and is not counted.
    latencies.drain(..trips / 10);
    print(trips, took, latencies);
    Ok(())
}

async fn queue(
    url: &str,
    (workers, clients, each): (usize, usize, usize),
    trips: usize,
    size: usize,
) -> Outcome<()> {
    answer(url, workers).await?;
    let payload = Bytes::from(vec![b'x'; size]);
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(async_nats::connect(url).await?);
    }
    let start = Instant::now();
    let asking: FuturesUnordered<_> = connected
        .into_iter()
        .map(|client| tokio::spawn(ask(client, payload.clone(), trips / clients, each)))
        .collect();
    let answered: Vec<_> = asking.collect().await;
    let took = start.elapsed().as_secs_f64();
    let mut latencies = Vec::new();
    for each in answered {
        latencies.extend(each??);
    }
    print(latencies.len(), took, latencies);
    Ok(())
}

fn print(trips: usize, took: f64, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let quantile =
        |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "rt_s={:.0} p50_us={:.1} p99_us={:.1}",
        trips as f64 / took,
        quantile(0.5),
        quantile(0.99)
    );
}

async fn ask(client: Client, payload: Bytes, trips: usize, each: usize) -> Outcome<Vec<Duration>> {
    let trip = |_| async {
        let start = Instant::now();
        client.request("bench.r", payload.clone()).await?;
        Ok(start.elapsed())
    };
    let results: Vec<Outcome<Duration>> = stream::iter(0..trips)
        .map(trip)
        .buffer_unordered(each)
        .collect()
        .await;
    results.into_iter().collect()
}
