//! Tasks handed ahead to plain workers, over real sockets.

use crate::queue::Queue;
use crate::support::{Running, py, python};

/// A plain REP worker that answers with the task, as fast as it can or after so many milliseconds. What
/// begins with `die` ends it.
const WORKER: &str = "\
import os, sys, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.connect(sys.argv[1])
while True:
    task = socket.recv()
    if task.startswith(b'die'):
        # What it answered before is on its way by then.
        time.sleep(0.5)
        os._exit(1)
    time.sleep(int(sys.argv[2]) / 1000)
    socket.send(task)
";

/// A client with so many requests of so many in flight, one of which may be another; how many were
/// answered, and how many rightly.
const CLIENT: &str = "\
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.rcvtimeo, socket.linger = 20000, 0
socket.connect(sys.argv[1])
many, window, die = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
tasks = [b'die' if number == die else b'%d' % number for number in range(many)]
expected = set(tasks) - {b'die'}
sent, answered = 0, []
while len(answered) < len(expected):
    while sent < many and sent - len(answered) < window:
        socket.send_multipart([b'', tasks[sent]])
        sent += 1
    answered.append(socket.recv_multipart()[1])
print(len(answered), set(answered) == expected)
";

fn worker(queue: &Queue, ms: &str) -> Running {
    let mut command = queue.world.command(python());
    Running::start(command.args(["-c", WORKER, &queue.back, ms]))
}

fn client(queue: &Queue, asked: [&str; 3]) -> String {
    let ran = py(
        &queue.world,
        CLIENT,
        &[&[queue.front.as_str()], &asked[..]].concat(),
    );
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    ran.stdout
}

fn workers(queue: &Queue, count: u64) {
    queue.wait("the workers", |facts| {
        facts["services"][0]["workers"] == count
    });
}

#[test]
fn a_fast_plain_worker_is_handed_tasks_ahead_unless_that_is_not_wanted() {
    for (keys, is_ahead) in [("", true), (", ahead: 1", false)] {
        let queue = Queue::start(keys);
        let _worker = worker(&queue, "0");
        workers(&queue, 1);
        assert_eq!(client(&queue, ["3000", "64", "-1"]), "3000 True\n");
        let facts = queue.facts();
        assert_eq!(facts["done"], 3000);
        assert_eq!(facts["ahead"].as_u64().unwrap() > 0, is_ahead, "{facts}");
        queue.world.ok(&["down"]);
    }
}

#[test]
fn nobody_is_put_behind_a_slow_worker() {
    let queue = Queue::start("");
    let _workers = [worker(&queue, "5"), worker(&queue, "5")];
    workers(&queue, 2);
    assert_eq!(client(&queue, ["100", "16", "-1"]), "100 True\n");
    assert_eq!(queue.facts()["ahead"], 0);
    queue.world.ok(&["down"]);
}

#[test]
fn what_a_dead_worker_had_not_begun_costs_no_attempt() {
    // With one attempt each, whatever was begun by the worker that dies is dead.
    let queue = Queue::start(", attempts: 1");
    let mut doomed = worker(&queue, "0");
    workers(&queue, 1);
    // Whether it has anything ahead when it dies is chance on a busy machine.
    for round in 1..=20 {
        let front = queue.front.clone();
        let mut command = queue.world.command(python());
        command.args(["-c", CLIENT, &front, "1000", "64", "700"]);
        let client = Running::start(&mut command);
        queue.wait("the worker's death", |facts| facts["lost"] == round);
        assert!(!doomed.0.wait().unwrap().success());
        doomed = worker(&queue, "0");
        let facts = queue.wait("all that is left", |facts| facts["done"] == round * 999);
        assert_eq!(facts["dead"], round, "{facts}");
        drop(client);
        if facts["unbegun"].as_u64().unwrap() > 0 {
            queue.world.ok(&["down"]);
            return;
        }
    }
    panic!("nothing was ever handed ahead to a worker that died");
}
