//! A mesh changes while it runs: who joins is dialled, who leaves is given up, and everybody else
//! keeps the process that it has, also when the supervisor dies in between.

use serde_json::Value;

use crate::apply::{node, pid};
use crate::support::{Ran, World, ports, py, wait_for};

/// A mesh that can be written with other members, in ports of its own.
struct Mesh {
    world: World,
    ports: (u16, u16),
    probe: &'static str,
}

impl Mesh {
    /// Alpha, bravo and charlie, up.
    fn up(probe: &'static str) -> Self {
        let first = ports(10);
        let mesh = Self {
            world: World::new(),
            ports: (first, first + 9),
            probe,
        };
        mesh.write("alpha, bravo, charlie");
        mesh.world.ok(&["apply"]);
        mesh
    }

    fn write(&self, members: &str) {
        let ((first, last), probe) = (self.ports, self.probe);
        let text = format!(
            "zmqnet: 1\nname: mesh\ndefaults: {{ports: {first}..{last}}}\nnodes:\n  \
             quorum: {{kind: replica, replicas: [{members}]{probe}}}\nlinks:\n  \
             votes: {{pattern: mesh, among: [quorum]}}\n"
        );
        self.world.write("topology.yaml", &text);
    }

    fn pids<const N: usize>(&self, names: [&str; N]) -> [Option<u64>; N] {
        names.map(|name| pid(&self.world, name))
    }

    /// Sends a message, and says who acknowledged it.
    #[track_caller]
    fn acked(&self, name: &str) -> Vec<(String, bool)> {
        let sent = self.world.ok(&["send", "-n", name, "-o", "json", "hello"]);
        let reply = sent.json();
        let peers = reply["messages"][0]["peers"].as_array().unwrap().iter();
        peers
            .map(|peer| {
                let name = peer["name"].as_str().unwrap().to_owned();
                (name, peer["acked"] == true)
            })
            .collect()
    }

    /// Waits until every wire of so many is there.
    #[track_caller]
    fn connected(&self, count: usize) {
        wait_for("every wire to be connected", || {
            let status = self.world.ok(&["status", "-o", "json"]).json();
            let wires = status["wires"].as_array().unwrap();
            assert_eq!(wires.len(), count, "{status}");
            let is_connected = |wire: &Value| wire["state"] == "connected";
            wires.iter().all(is_connected).then_some(())
        });
    }

    /// `[op, class, node, cause]` of each planned step, and its wires.
    fn planned(&self) -> Vec<([String; 4], Vec<String>)> {
        let plan = self.world.ok(&["plan", "-o", "json"]).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let changes = plan["changes"].as_array().unwrap().iter();
        changes
            .map(|change| {
                let words = ["op", "class", "node", "cause"].map(|key| text(&change[key]));
                let wires = change["wires"].as_array().unwrap();
                (words, wires.iter().map(text).collect())
            })
            .collect()
    }

    /// What a replica was last told, as its supervisor keeps it.
    fn told(&self, name: &str) -> String {
        let file = format!("state/zmqnet/mesh/told/{name}.json");
        std::fs::read_to_string(self.world.path(&file)).unwrap()
    }

    fn kill(&self, signal: &str, pid: u64) {
        let mut kill = self.world.command("kill");
        let ran = Ran::of(kill.args([signal, &pid.to_string()]));
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// The health socket of a replica.
    fn health(&self, name: &str) -> String {
        let told: Value = serde_json::from_str(&self.told(name)).unwrap();
        told["replica"]["health"].as_str().unwrap().to_owned()
    }
}

fn all<const N: usize>(names: [&str; N]) -> Vec<(String, bool)> {
    names.map(|name| (name.to_owned(), true)).into()
}

/// One ZN1 request; prints the status and the result.
const ASK: &str = "
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.setsockopt(zmq.RCVTIMEO, 10000)
socket.connect(sys.argv[1])
socket.send_multipart([b'ZN1', sys.argv[2].encode(), b'', sys.argv[3].encode()])
frames = socket.recv_multipart()
print(frames[1].decode(), frames[3].decode())
";

#[test]
fn who_joins_is_dialled_and_who_leaves_is_given_up_while_the_others_run_on() {
    let mesh = Mesh::up("");
    let before = mesh.pids(["alpha", "bravo", "charlie"]);
    assert!(before.iter().all(Option::is_some), "{before:?}");
    assert_eq!(mesh.acked("bravo"), all(["alpha", "charlie"]));

    mesh.write("alpha, bravo, charlie, delta");
    let planned = mesh.planned();
    let words: Vec<[&str; 4]> = planned
        .iter()
        .map(|(words, _)| words.each_ref().map(String::as_str))
        .collect();
    assert_eq!(
        words,
        [
            ["update", "live", "alpha", "its mesh gains `delta`"],
            ["update", "live", "bravo", "its mesh gains `delta`"],
            ["update", "live", "charlie", "its mesh gains `delta`"],
            ["start", "live", "delta", "new in `nodes.quorum`"],
        ]
    );
    assert_eq!(
        planned[1].1,
        ["votes bravo > delta", "votes delta > bravo"],
        "only the wires that are new"
    );
    let shown = mesh.world.ok(&["plan"]).stdout;
    let line =
        "update  bravo  its mesh gains `delta` (live: votes bravo > delta, votes delta > bravo)";
    let squeezed = shown.split(' ').filter(|word| !word.is_empty());
    let squeezed = squeezed.collect::<Vec<_>>().join(" ");
    assert!(squeezed.contains(&line.replace("  ", " ")), "{shown}");
    let applied = mesh.world.ok(&["apply"]);
    assert!(
        applied
            .stderr
            .contains("~ update bravo: its mesh gains `delta`"),
        "{applied:?}"
    );
    assert_eq!(mesh.acked("bravo"), all(["alpha", "charlie", "delta"]));
    assert_eq!(mesh.acked("delta"), all(["alpha", "bravo", "charlie"]));
    assert_eq!(mesh.pids(["alpha", "bravo", "charlie"]), before);
    mesh.connected(12);
    let again = mesh.world.ok(&["apply"]);
    assert!(again.stderr.contains("nothing to change"), "{again:?}");

    let before = mesh.pids(["alpha", "bravo", "delta"]);
    mesh.write("alpha, bravo, delta");
    let planned = mesh.planned();
    let ops: Vec<(&str, &str)> = planned
        .iter()
        .map(|(words, _)| (&*words[0], &*words[2]))
        .collect();
    assert_eq!(
        ops,
        [
            ("stop", "charlie"),
            ("update", "alpha"),
            ("update", "bravo"),
            ("update", "delta")
        ]
    );
    mesh.world.ok(&["apply"]);
    assert_eq!(mesh.acked("bravo"), all(["alpha", "delta"]));
    assert_eq!(mesh.pids(["alpha", "bravo", "delta"]), before);
    mesh.connected(6);
    // Three of its own and delta's: it went on counting through both changes.
    assert_eq!(node(&mesh.world, "bravo")["facts"]["received"], 4);
    assert!(node(&mesh.world, "charlie").is_null());
}

#[test]
fn a_member_that_is_not_running_learns_of_the_change_when_it_starts() {
    let mesh = Mesh::up("");
    mesh.kill("-9", pid(&mesh.world, "alpha").unwrap());
    mesh.write("alpha, bravo, charlie, delta");
    mesh.world.ok(&["apply"]);
    assert_eq!(mesh.acked("alpha"), all(["bravo", "charlie", "delta"]));
    let before = pid(&mesh.world, "bravo").unwrap();
    mesh.kill("-9", before);
    wait_for("a new bravo", || {
        let bravo = node(&mesh.world, "bravo");
        let is_new = bravo["pid"].as_u64().is_some_and(|pid| pid != before);
        (is_new && bravo["state"] == "ready").then_some(())
    });
    assert_eq!(mesh.acked("bravo"), all(["alpha", "charlie", "delta"]));
}

#[test]
fn a_supervisor_that_dies_before_all_were_told_leaves_that_to_the_next_one() {
    // A probe that is slower than this test, so that it is not what finds alpha stopped.
    let mesh = Mesh::up(", probe: {every: 60s, timeout: 30s, retries: 9}");
    let before = mesh.pids(["alpha", "bravo", "charlie"]);
    mesh.kill("-STOP", before[0].unwrap());
    mesh.write("alpha, bravo, charlie, delta");
    let ran = mesh.world.run(&["apply", "--timeout", "1s"]);
    assert_eq!(ran.code, 4, "not all were told: {ran:?}");
    assert!(
        ran.stderr.contains("alpha") && ran.stderr.contains("has not taken its new plan yet"),
        "{ran:?}"
    );
    let checked = mesh.world.run(&["status", "--check"]);
    assert_eq!(checked.code, 5, "{checked:?}");
    assert!(mesh.told("bravo").contains("delta"));
    assert!(!mesh.told("alpha").contains("delta"));
    let status = mesh.world.ok(&["status", "-o", "json"]).json();
    let supervisor = status["supervisor"]["pid"].as_u64().unwrap();
    mesh.kill("-9", supervisor);
    mesh.kill("-CONT", before[0].unwrap());
    wait_for("alpha to be told by another supervisor", || {
        mesh.told("alpha").contains("delta").then_some(())
    });
    assert_eq!(mesh.acked("alpha"), all(["bravo", "charlie", "delta"]));
    assert_eq!(mesh.pids(["alpha", "bravo", "charlie"]), before);
}

#[test]
fn a_member_that_cannot_be_told_is_restarted_and_the_others_are_not() {
    let mesh = Mesh::up(", probe: {every: 60s, timeout: 30s, retries: 9}");
    let before = mesh.pids(["alpha", "bravo"]);
    let health = mesh.health("alpha");
    std::fs::remove_file(health.strip_prefix("ipc://").unwrap()).unwrap();
    mesh.write("alpha, bravo, charlie, delta");
    mesh.world.ok(&["apply"]);
    let after = mesh.pids(["alpha", "bravo"]);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
    assert_eq!(mesh.acked("alpha"), all(["bravo", "charlie", "delta"]));
}

#[test]
fn a_wrong_configuration_is_refused_and_changes_nothing() {
    let mesh = Mesh::up("");
    let mut config: Value = serde_json::from_str(&mesh.told("bravo")).unwrap();
    let config = config["replica"].take();
    let ask = |params: &Value| {
        let args = [
            mesh.health("bravo"),
            "reconfigure".to_owned(),
            params.to_string(),
        ];
        let ran = py(&mesh.world, ASK, &args.each_ref().map(String::as_str));
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    };
    let mut elsewhere = config.clone();
    elsewhere["listen"] = serde_json::json!(["tcp://127.0.0.1:1"]);
    let mut twice = config.clone();
    twice["peers"][1] = twice["peers"][0].clone();
    for (config, answer) in [
        (Value::Null, "400 "),
        (twice, "400 {\"error\":\"`alpha` is a member twice\"}"),
        (
            elsewhere,
            "409 {\"error\":\"where it listens cannot change while it runs\"}",
        ),
    ] {
        let said = ask(&serde_json::json!({ "config": config }));
        assert!(said.starts_with(answer), "{said}");
    }
    assert_eq!(mesh.acked("bravo"), all(["alpha", "charlie"]));
    // The same again is taken, and changes nothing.
    let said = ask(&serde_json::json!({ "config": config }));
    assert_eq!(said, "200 {\"peers\":2,\"added\":[],\"removed\":[]}\n");
    assert_eq!(mesh.acked("bravo"), all(["alpha", "charlie"]));
}

#[test]
fn clients_of_those_who_stay_notice_nothing() {
    let mesh = Mesh::up("");
    let mut send = vec!["send", "-n", "bravo", "-o", "json", "-d", "2ms"];
    send.extend(std::iter::repeat_n("hello", 500));
    let report = std::thread::scope(|scope| {
        let sending = scope.spawn(|| mesh.world.ok(&send).json());
        for members in [
            "alpha, bravo, charlie, delta",
            "alpha, bravo, delta",
            "alpha, bravo, charlie",
        ] {
            mesh.write(members);
            mesh.world.ok(&["apply"]);
        }
        sending.join().unwrap()
    });
    assert_eq!(
        (&report["delivered"], &report["dropped"]),
        (&500.into(), &0.into())
    );
    for message in report["messages"].as_array().unwrap() {
        assert_eq!(message["attempts"], 1, "{message}");
        for peer in message["peers"].as_array().unwrap() {
            // Only who comes or goes may be missed.
            let may_miss = peer["name"] == "charlie" || peer["name"] == "delta";
            assert!(peer["acked"] == true || may_miss, "{message}");
        }
    }
    assert_eq!(mesh.acked("bravo"), all(["alpha", "charlie"]));
}
