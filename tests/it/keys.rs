//! Keys as a person has them: files that czmq and pyzmq read, commands that make, list, admit, revoke
//! and replace them, and no secret on any output.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{World, ports, py};

/// Two replicas and a program, all encrypted on one machine.
fn manifest(world: &World) -> String {
    let first = ports(6);
    let text = format!(
        "{{zmqnet: 1, name: locked, security: {{curve: always}}, defaults: {{ports: {first}..{}}}, nodes: {{quorum: {{kind: replica, replicas: [alpha, bravo]}}, client: {{command: [/bin/sleep, '100']}}}}, links: {{votes: {{pattern: mesh, among: quorum}}, calls: {{pattern: request, from: client, to: quorum}}}}}}",
        first + 5
    );
    world.write("topology.yaml", &text);
    text
}

/// Every secret key of a directory.
fn secrets(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).unwrap().flatten();
    let secret = files.filter(|file| {
        let name = file.file_name().into_string().unwrap();
        name.ends_with(".key_secret")
    });
    let lines = secret.flat_map(|file| {
        let text = fs::read_to_string(file.path()).unwrap();
        let lines = text.lines().filter(|line| line.contains("secret-"));
        let values = lines.map(|line| line.split('"').nth(1).unwrap().to_owned());
        values.collect::<Vec<_>>()
    });
    lines.collect()
}

#[test]
fn keys_are_made_listed_replaced_and_revoked_and_no_secret_is_shown() {
    let world = World::new();
    manifest(&world);
    let mut said = String::new();
    let mut ok = |args: &[&str]| {
        let ran = world.ok(args);
        said.push_str(&ran.stdout);
        said.push_str(&ran.stderr);
        ran
    };
    let made = ok(&["keys", "new"]);
    let names: Vec<&str> = made
        .stdout
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(names, ["alpha", "bravo", "client", "operator"]);
    assert_eq!(ok(&["keys", "new"]).stdout, "", "a second time makes none");
    let before = ok(&["keys", "ls", "-o", "json"]).json();
    let row = |report: &serde_json::Value, name: &str| {
        let rows = report["keys"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["name"] == name).unwrap()
    };
    let may_dial = |name: &str| {
        let row = row(&before, name);
        let dials = row["may_dial"].as_array().unwrap().clone();
        let words = dials
            .iter()
            .map(|it| format!("{}>{}", it["link"], it["to"]));
        words.collect::<Vec<_>>().join(" ").replace('"', "")
    };
    assert_eq!(may_dial("alpha"), "votes>bravo");
    assert_eq!(may_dial("client"), "calls>alpha calls>bravo");
    assert_eq!(may_dial("operator"), "null>alpha null>bravo");
    let plan = ok(&["plan", "-o", "json"]).stdout;
    ok(&["keys", "rotate", "bravo", "--overlap", "1h"]);
    ok(&["keys", "revoke", "client"]);
    let after = ok(&["keys", "ls", "-o", "json"]).json();
    let (was, now) = (row(&before, "bravo"), row(&after, "bravo"));
    assert_ne!(was["public_key"], now["public_key"]);
    assert!(now["overlap_until"].is_string() && now["rotated"].is_string());
    assert_eq!(was["created"], now["created"]);
    assert!(row(&after, "client")["revoked"].is_string());
    let same = ok(&["plan", "-o", "json"]).stdout;
    assert_eq!(plan, same, "a plan holds names, whatever the keys are");
    for format in ["table", "yaml"] {
        ok(&["keys", "ls", "-o", format]);
    }
    ok(&["plan", "--explain"]);
    ok(&["env", "client"]);
    let secrets = secrets(&world.path("keys"));
    assert_eq!(secrets.len(), 5, "four, and the one before");
    for secret in secrets {
        assert!(!said.contains(&secret), "{said}");
    }
}

#[test]
fn a_name_that_cannot_be_leaves_nothing_behind() {
    let world = World::new();
    let refused = world.run(&["keys", "new", "one", "../up", "--keys", "made"]);
    assert_eq!(refused.code, 64, "{}", refused.stderr);
    assert!(!world.path("made").exists(), "{}", refused.stdout);
    world.ok(&["keys", "new", "one", "--keys", "made"]);
    let refused = world.run(&["keys", "rotate", "../up", "--keys", "made"]);
    let words = "`../up` is no name of an instance\n  help: a name is that of an instance";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
}

#[test]
fn a_key_is_never_made_over_another() {
    let world = World::new();
    manifest(&world);
    world.ok(&["keys", "new", "--keys", "mine", "zulu"]);
    assert!(!world.path("keys").exists(), "the directory was named");
    let again = world.run(&["keys", "new", "--keys", "mine", "zulu"]);
    assert_eq!(again.code, 1);
    assert!(
        again.stderr.contains("`zmqnet keys rotate zulu`"),
        "{}",
        again.stderr
    );
    let none = world.run(&["keys", "ls"]);
    assert_eq!(none.code, 66);
    assert!(
        none.stderr.contains("`zmqnet keys new` makes it"),
        "{}",
        none.stderr
    );
}

#[test]
fn what_others_can_open_is_refused_and_so_is_what_makes_no_sense() {
    let world = World::new();
    manifest(&world);
    world.ok(&["keys", "new"]);
    let loosened = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let dir = world.path("keys");
    loosened(&dir, 0o755);
    for args in [
        &["keys", "ls"][..],
        &["keys", "new"],
        &["keys", "revoke", "alpha"],
    ] {
        let refused = world.run(args);
        assert_eq!(refused.code, 66, "{args:?}");
        let typed = format!("chmod 700 {}", dir.display());
        assert!(refused.stderr.contains(&typed), "{}", refused.stderr);
    }
    let checked = world.ok(&["check"]);
    assert!(checked.stderr.contains("chmod 700"), "{}", checked.stderr);
    loosened(&dir, 0o700);
    loosened(&dir.join("alpha.key_secret"), 0o644);
    let refused = world.run(&["keys", "rotate", "alpha"]);
    assert_eq!(refused.code, 66);
    assert!(refused.stderr.contains("chmod 600 "), "{}", refused.stderr);
    // One that nobody asked for is refused too, whatever is done.
    for args in [&["keys", "rotate", "bravo"][..], &["keys", "new"]] {
        let refused = world.run(args);
        assert_eq!(refused.code, 66, "{args:?}");
        let typed = format!("chmod 600 {}", dir.join("alpha.key_secret").display());
        assert!(refused.stderr.contains(&typed), "{}", refused.stderr);
    }
    loosened(&dir.join("alpha.key_secret"), 0o600);
    world.ok(&["keys", "rotate", "bravo"]);
    for (args, code) in [
        (&["keys", "rotate", "../up"][..], 64),
        (&["keys", "new", "../up"], 64),
        (&["keys", "revoke", "nobody"], 1),
        (&["keys", "rotate", "nobody"], 1),
        (&["keys", "allow", "short", "--as", "x", "-n", "alpha"], 66),
        (
            &["keys", "allow", "keys/alpha.key", "--as", "x", "-n", "alpa"],
            64,
        ),
        (
            &[
                "keys",
                "allow",
                "keys/alpha.key",
                "--as",
                "x",
                "-n",
                "client",
            ],
            1,
        ),
    ] {
        let ran = world.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
    }
    world.ok(&[
        "keys",
        "allow",
        "keys/alpha.key",
        "--as",
        "guest",
        "-n",
        "quorum",
    ]);
    world.ok(&["keys", "revoke", "guest"]);
}

#[test]
fn what_is_no_directory_keeps_no_keys_and_nothing_is_written_through_a_link_to_nowhere() {
    let world = World::new();
    fs::write(world.path("file"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", world.path("link")).unwrap();
    for place in ["file", "link"] {
        for args in [["keys", "new", "one"].as_slice(), &["keys", "ls"]] {
            let ran = world.run(&[args, &["--keys", place]].concat());
            assert_eq!(ran.code, 66, "{args:?}: {}", ran.stderr);
            let words = format!("`{place}` is no directory\n  help: name another place");
            assert!(ran.stderr.contains(&words), "{args:?}: {}", ran.stderr);
        }
    }
    assert!(!world.path("nowhere").exists());
    assert_eq!(fs::read_to_string(world.path("file")).unwrap(), "mine");
}

#[test]
fn a_key_is_revoked_by_its_file_too_and_a_revoked_one_is_not_said_to_stay_good() {
    let world = World::new();
    world.ok(&["keys", "new", "--keys", "keys", "one"]);
    let revoked = world.ok(&["keys", "revoke", "--keys", "keys", "keys/one.key"]);
    assert!(revoked.stdout.starts_with("one  "), "{}", revoked.stdout);
    let rotated = world.ok(&["keys", "rotate", "--keys", "keys", "one"]);
    assert!(!rotated.stderr.contains("stays good"), "{}", rotated.stderr);
    let rotated = world.ok(&["keys", "rotate", "--keys", "keys", "one"]);
    assert!(rotated.stderr.contains("stays good"), "{}", rotated.stderr);
    let none = world.run(&["keys", "revoke", "--keys", "keys", "keys/two.key"]);
    assert_eq!(none.code, 66, "{}", none.stderr);
}

#[test]
fn a_key_that_the_manifest_holds_is_revoked_by_the_name_it_has_there() {
    let world = World::new();
    world.ok(&["keys", "new", "--keys", "theirs", "guest"]);
    let text = fs::read_to_string(world.path("theirs/guest.key")).unwrap();
    let key = text
        .lines()
        .find(|line| line.contains("public-key"))
        .unwrap();
    let key = key.split('"').nth(1).unwrap();
    let port = ports(1);
    world.write(
        "topology.yaml",
        &format!("{{zmqnet: 1, name: open, security: {{curve: always}}, nodes: {{alpha: {{kind: replica, port: {port}}}, guest: {{kind: external, key: '{key}'}}}}, links: {{calls: {{pattern: request, from: guest, to: alpha}}}}}}"),
    );
    world.ok(&["keys", "new"]);
    assert_eq!(world.run(&["keys", "revoke", "gest"]).code, 1);
    let revoked = world.ok(&["keys", "revoke", "guest"]);
    assert_eq!(revoked.stdout, format!("guest  {key}\n"));
    let noted = fs::read_to_string(world.path("keys/revoked")).unwrap();
    assert!(noted.contains(&format!("{key} guest ")), "{noted}");
    let listed = world.ok(&["keys", "ls", "-o", "json"]).json();
    let rows = listed["keys"].as_array().unwrap().clone();
    let row = rows.iter().find(|row| row["name"] == "guest").unwrap();
    assert!(row["revoked"].is_string(), "{row}");
    // By the key it is known whose it is, too.
    fs::remove_file(world.path("keys/revoked")).unwrap();
    let revoked = world.ok(&["keys", "revoke", key]);
    assert_eq!(revoked.stdout, format!("guest  {key}\n"));
}

#[test]
fn pyzmq_reads_our_files_and_we_read_its_with_what_people_wrote_in_them() {
    let world = World::new();
    world.ok(&["keys", "new", "--keys", "keys", "alpha"]);
    world.ok(&["keys", "rotate", "--keys", "keys", "alpha"]);
    let read = py(
        &world,
        "import zmq.auth, zmq\n\
         public, secret = zmq.auth.load_certificate('keys/alpha.key_secret')\n\
         alone, nothing = zmq.auth.load_certificate('keys/alpha.key')\n\
         assert public == alone and nothing is None, (public, alone)\n\
         assert zmq.curve_public(secret) == public\n\
         assert list(zmq.auth.load_certificates('keys')) == [public]\n\
         zmq.auth.create_certificates('keys', 'theirs', {'email': 'ann@example.org'})\n\
         print(zmq.auth.load_certificate('keys/theirs.key')[0].decode())\n",
        &[],
    );
    assert_eq!(read.code, 0, "{}", read.stderr);
    let theirs = read.stdout.trim();
    // pyzmq leaves its secret files open to others: that is refused, with the chmod.
    let secret = world.path("keys/theirs.key_secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let listed = world
        .ok(&["keys", "ls", "--keys", "keys", "-o", "json"])
        .json();
    let row = listed["keys"].as_array().unwrap().clone();
    let row = row.iter().find(|row| row["name"] == "theirs").unwrap();
    assert_eq!(row["public_key"], theirs);
    world.ok(&["keys", "rotate", "--keys", "keys", "theirs"]);
    let text = fs::read_to_string(&secret).unwrap();
    assert!(text.contains("email = \"ann@example.org\""), "{text}");
    assert!(
        text.contains(theirs),
        "the key before is kept for its overlap: {text}"
    );
}

#[test]
fn a_key_that_is_missing_on_another_host_is_named_with_where_to_copy_it_from() {
    let world = World::new();
    let first = ports(2);
    world.write(
        "topology.yaml",
        &format!(
            "{{zmqnet: 1, name: wide, hosts: {{here: {{address: 127.0.0.1}}, zeus: {{address: 192.0.2.7}}}}, nodes: {{near: {{kind: replica, host: here, port: {first}}}, far: {{kind: replica, host: zeus, port: {first}}}}}, links: {{votes: {{pattern: mesh, among: [near, far]}}}}}}"
        ),
    );
    let planned = world.ok(&["plan"]);
    assert!(
        planned.stdout.contains("`apply` makes"),
        "{}",
        planned.stdout
    );
    world.ok(&["keys", "new"]);
    let planned = world.ok(&["plan"]);
    assert!(
        planned.stdout.contains("`keys/far.key`"),
        "{}",
        planned.stdout
    );
    assert!(planned.stdout.contains("`zeus`"), "{}", planned.stdout);
    let listed = world.ok(&["keys", "ls", "-o", "json"]).json();
    let is = |name: &str| {
        let rows = listed["keys"].as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["name"] == name).unwrap();
        row["is"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (is("near"), is("far")),
        ("here".to_owned(), "missing".to_owned())
    );
    assert!(
        !world.path("keys/far.key_secret").exists(),
        "made by its own host"
    );
    let refused = world.run(&["apply"]);
    assert_eq!(refused.code, 1);
    let words = "a public key of another host is missing: `keys/far.key`";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    assert_eq!(world.ok(&["ls"]).stdout, "", "nothing was started");
    // What zeus made comes over, its public half alone.
    world.ok(&["keys", "new", "--keys", "zeus", "far"]);
    fs::copy(world.path("zeus/far.key"), world.path("keys/far.key")).unwrap();
    world.ok(&["apply"]);
    let args = ["send", "-n", "near", "-o", "json", "hello"];
    let sent = world.run(&args).json();
    assert_eq!(sent["delivered"], 1, "{sent}");
}
