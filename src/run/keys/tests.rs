use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zn-keys-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }

    fn made(name: &str) -> (Self, KeyDir) {
        let scratch = Self::new(name);
        let dir = KeyDir::make_dir(&scratch.0.join("keys")).unwrap();
        (scratch, dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn guarded(dir: &KeyDir, allow: &[&str]) -> Guarded {
    let allow = allow.iter().map(|who| Admitted {
        who: (*who).into(),
        key: None,
    });
    Guarded {
        keys: dir.path().to_owned(),
        name: "bravo".into(),
        node: "quorum".into(),
        allow: allow.collect(),
        admits_operator: true,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn key(made: Made) -> PublicKey {
    match made {
        Made::New(key) => key,
        Made::Present(_) => panic!("it was there"),
    }
}

#[test]
fn a_key_is_made_once_and_closed_to_others() {
    let (_scratch, dir) = Scratch::made("once");
    let made = key(dir.make("bravo").unwrap());
    assert_eq!(dir.make("bravo").unwrap(), Made::Present(made));
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&dir.secret_file("bravo")), 0o600);
    let ignored = fs::read_to_string(dir.path().join(".gitignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "*.key_secret"));
    assert_eq!(dir.own("bravo").unwrap()[0].public, made);
    assert_eq!(dir.public("bravo").unwrap(), [made]);
    assert_eq!(dir.who(&made).as_deref(), Some("bravo"));
    assert_eq!(dir.names().unwrap().len(), 1, "no file is left beside them");
}

#[test]
fn what_is_open_to_others_is_refused_with_the_chmod_to_type() {
    let (_scratch, dir) = Scratch::made("loose");
    dir.make("bravo").unwrap();
    let loosen = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let secret = dir.secret_file("bravo");
    loosen(&secret, 0o640);
    let refused = dir.own("bravo").unwrap_err();
    let help = format!("chmod 600 {}", secret.display());
    assert_eq!(refused.help(), Some(help), "{refused}");
    let listed = dir.facts("bravo").unwrap_err();
    assert_eq!(listed.to_string(), refused.to_string());
    loosen(&secret, 0o600);
    assert!(dir.own("bravo").is_ok());
    loosen(dir.path(), 0o710);
    let refused = KeyDir::open(dir.path()).unwrap_err();
    let help = format!("chmod 700 {}", dir.path().display());
    assert_eq!(refused.help(), Some(help), "{refused}");
}

#[test]
fn a_key_is_never_made_over_one_that_is_there() {
    let (_scratch, dir) = Scratch::made("over");
    dir.make("bravo").unwrap();
    let public = fs::read(dir.public_file("bravo")).unwrap();
    fs::remove_file(dir.public_file("bravo")).unwrap();
    dir.make("bravo").unwrap();
    assert_eq!(fs::read(dir.public_file("bravo")).unwrap(), public);
    fs::remove_file(dir.secret_file("bravo")).unwrap();
    let refused = dir.make("bravo").unwrap_err();
    assert!(matches!(refused, KeyDirError::NoSecret { .. }), "{refused}");
    let refused = dir.make("../bravo").unwrap_err();
    assert!(matches!(refused, KeyDirError::BadName(_)), "{refused}");
}

#[test]
fn a_ring_has_exactly_who_is_named_and_what_was_allowed() {
    let (_scratch, dir) = Scratch::made("ring");
    for name in ["bravo", "alpha", "stranger"] {
        dir.make(name).unwrap();
    }
    let names = |ring: &Ring| -> Vec<String> { ring.allow.values().cloned().collect() };
    let wanted = guarded(&dir, &["alpha", "far"]);
    let ring = dir.ring(&wanted).unwrap();
    assert_eq!(names(&ring), ["alpha"]);
    assert!(ring.missing.contains("far"));
    dir.make(OPERATOR).unwrap();
    let guest = dir.public("stranger").unwrap()[0];
    dir.allow(guest, "guest", "quorum").unwrap();
    dir.allow(guest, "guest", "quorum").unwrap();
    assert_eq!(dir.allowed().unwrap().len(), 1);
    let mut admitted = names(&dir.ring(&wanted).unwrap());
    admitted.sort();
    assert_eq!(admitted, ["alpha", "guest", "operator"]);
    dir.revoke(&[(guest, Some("guest".to_owned()))]).unwrap();
    let ring = dir.ring(&wanted).unwrap();
    assert_eq!(ring.revoked[&guest], "guest");
    assert!(!ring.allow.contains_key(&guest));
    let refused = dir.allow(guest, "guest", "quorum").unwrap_err();
    assert!(matches!(refused, KeyDirError::Revoked(_)), "{refused}");
}

#[test]
fn a_rotated_key_and_the_one_before_are_both_admitted_until_its_end() {
    let (_scratch, dir) = Scratch::made("rotate");
    dir.make("bravo").unwrap();
    let before = key(dir.make("alpha").unwrap());
    let (after, stays) = dir.rotate("alpha", Duration::from_secs(60)).unwrap();
    assert!(stays);
    let wanted = guarded(&dir, &["alpha"]);
    let ring = dir.ring(&wanted).unwrap();
    assert!(ring.allow.contains_key(&before) && ring.allow.contains_key(&after));
    assert!(ring.good_until.is_some());
    assert_eq!(dir.own("alpha").unwrap().len(), 2);
    assert_eq!(dir.public("alpha").unwrap(), [after, before]);
    // One that is revoked is not kept by a rotation.
    dir.revoke(&[(after, None)]).unwrap();
    let (last, stays) = dir.rotate("alpha", Duration::from_secs(60)).unwrap();
    assert!(!stays);
    assert_eq!(dir.public("alpha").unwrap(), [last, before]);
    // No overlap: the one before is good for nothing at once.
    let (alone, stays) = dir.rotate("bravo", Duration::ZERO).unwrap();
    assert!(!stays);
    assert_eq!(dir.public("bravo").unwrap(), [alone]);
}

#[test]
fn a_line_that_is_not_understood_revokes_nothing_silently() {
    let (_scratch, dir) = Scratch::made("line");
    dir.make("bravo").unwrap();
    fs::write(dir.path().join(REVOKED), "# KEY NAME SINCE\nnonsense\n").unwrap();
    let refused = dir.ring(&guarded(&dir, &[])).unwrap_err();
    assert!(
        matches!(refused, KeyDirError::Line { line: 2, .. }),
        "{refused}"
    );
}

#[test]
fn where_no_watch_is_left_a_change_is_seen_all_the_same() {
    let (_scratch, dir) = Scratch::made("times");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let within = Duration::from_secs(10);
        let mut watch = Watch::by_times(dir.path());
        let quiet = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(quiet.is_err(), "nothing changed");
        dir.make("bravo").unwrap();
        tokio::time::timeout(within, watch.changed()).await.unwrap();
        let key = dir.public("bravo").unwrap()[0];
        dir.revoke(&[(key, None)]).unwrap();
        tokio::time::timeout(within, watch.changed()).await.unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(quiet.is_err(), "nothing more changed");
    });
}

#[test]
fn a_change_is_told_and_so_is_the_end_of_an_overlap() {
    let (scratch, dir) = Scratch::made("watch");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let within = Duration::from_secs(10);
    runtime.block_on(async {
        let mut watch = Watch::new(dir.path()).unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(quiet.is_err(), "nothing changed");
        dir.make("bravo").unwrap();
        tokio::time::timeout(within, watch.changed()).await.unwrap();
        watch.due_at(Some(SystemTime::now() + Duration::from_millis(20)));
        tokio::time::timeout(within, watch.changed()).await.unwrap();
        // A directory that is taken away and comes back is watched again.
        let away = scratch.0.join("away");
        fs::rename(dir.path(), &away).unwrap();
        tokio::time::timeout(within, watch.changed()).await.unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(1_200), watch.changed()).await;
        assert!(quiet.is_err(), "that it is gone is said once");
        fs::rename(&away, dir.path()).unwrap();
        tokio::time::timeout(within, watch.changed()).await.unwrap();
        assert!(watch.look_at.is_none(), "it is watched again");
        drop(tokio::time::timeout(Duration::from_millis(50), watch.changed()).await);
        dir.make("alpha").unwrap();
        tokio::time::timeout(within, watch.changed()).await.unwrap();
    });
}
