//! Tests of key sets: their times, and what a file may hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::SeededEntropy;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const NOW: i64 = 1_000_000;
const ROTATION: KeyRotation =
    KeyRotation { algorithm: KeyAlgorithm::EdDSA, activate_after: 600, overlap: 86_400 };

fn entropy(seed: u64) -> SeededEntropy {
    SeededEntropy::new(seed)
}

fn set() -> KeySet {
    KeySet::generate(KeyAlgorithm::EdDSA, NOW, &entropy(1)).unwrap()
}

/// The ids with their states, in order.
fn states(set: &KeySet, now: i64) -> Vec<(&str, &'static str)> {
    set.keys().map(|key| (key.kid(), set.state(key, now).name())).collect()
}

fn published(set: &KeySet, now: i64) -> Vec<String> {
    set.public(now).keys.into_iter().map(|key| key.common.key_id.unwrap()).collect()
}

#[test]
fn one_key_follows_another_and_exactly_one_signs_at_any_moment() {
    let mut set = set();
    let first = set.signing(NOW).kid().to_owned();
    let second = set.rotate(ROTATION, NOW + 10, &entropy(2)).unwrap();
    let (signs, gone) = (NOW + 610, NOW + 610 + 86_400);
    for (now, expected) in [
        (NOW + 10, ["signing", "next"]),
        (signs - 1, ["signing", "next"]),
        (signs, ["retired", "signing"]),
        (gone - 1, ["retired", "signing"]),
        (gone, ["gone", "signing"]),
        (i64::MAX, ["gone", "signing"]),
        // A clock that was set back.
        (0, ["signing", "next"]),
    ] {
        assert_eq!(
            states(&set, now),
            [(first.as_str(), expected[0]), (second.as_str(), expected[1])],
            "{now}"
        );
    }
    assert_eq!(
        published(&set, NOW + 10),
        [first.as_str(), second.as_str()],
        "the next key is known before it signs"
    );
    assert_eq!(published(&set, gone), [second.as_str()]);
    assert!(set.verifying(&first, gone - 1).is_some() && set.verifying(&first, gone).is_none());
    assert!(set.verifying("other", NOW).is_none());
}

#[test]
fn a_second_rotation_waits_for_the_first_and_takes_what_is_gone_away() {
    let mut set = set();
    let second = set.rotate(ROTATION, NOW, &entropy(2)).unwrap();
    let refused = set.rotate(ROTATION, NOW + 599, &entropy(3)).unwrap_err();
    assert!(matches!(&refused, KeySetError::NextWaiting { kid } if *kid == second), "{refused}");
    let third = set.rotate(ROTATION, NOW + 600 + 86_400, &entropy(3)).unwrap();
    assert_eq!(states(&set, NOW + 600 + 86_400), [(second.as_str(), "signing"), (third.as_str(), "next")]);
    let at_once = KeyRotation { activate_after: 0, ..ROTATION };
    let mut fast = super::tests::set();
    fast.rotate(at_once, NOW, &entropy(2)).unwrap();
    assert_eq!(fast.keys().map(KeyPair::signs_from).collect::<Vec<_>>(), [NOW, NOW + 1], "one a second");
    KeySet::decode(&fast.encode().unwrap()).unwrap();
}

#[test]
fn a_key_taken_out_is_refused_at_once_and_another_signs() {
    let now = NOW + 700;
    let rotated = || {
        let mut set = set();
        let first = set.signing(NOW).kid().to_owned();
        let second = set.rotate(ROTATION, NOW, &entropy(2)).unwrap();
        (set, first, second)
    };
    // The one that signs, while the next waits.
    let (mut set, first, second) = rotated();
    assert_eq!(set.retire(&first, NOW + 5, &entropy(3)).unwrap(), None);
    assert_eq!(states(&set, NOW + 5), [(second.as_str(), "signing")]);
    assert!(set.verifying(&first, NOW + 5).is_none());
    KeySet::decode(&set.encode().unwrap()).unwrap();
    // The one that waits.
    let (mut set, first, second) = rotated();
    assert_eq!(set.retire(&second, NOW + 5, &entropy(3)).unwrap(), None);
    assert_eq!(states(&set, i64::MAX), [(first.as_str(), "signing")], "nobody follows it any more");
    KeySet::decode(&set.encode().unwrap()).unwrap();
    // The one that is retired.
    let (mut set, first, second) = rotated();
    assert_eq!(set.retire(&first, now, &entropy(3)).unwrap(), None);
    assert_eq!(states(&set, now), [(second.as_str(), "signing")]);
    // The one that signs, with nobody to follow: a new one of its kind.
    let (mut set, first, second) = rotated();
    let third = set.retire(&second, now, &entropy(3)).unwrap().unwrap();
    assert_eq!(states(&set, now), [(first.as_str(), "retired"), (third.as_str(), "signing")]);
    KeySet::decode(&set.encode().unwrap()).unwrap();
    // Long after: what is gone leaves as well.
    let (mut set, _, second) = rotated();
    set.retire(&second, NOW + 10_000_000, &entropy(3)).unwrap();
    assert_eq!(set.keys().count(), 1);
    KeySet::decode(&set.encode().unwrap()).unwrap();
    assert!(matches!(set.retire(&second, now, &entropy(4)), Err(KeySetError::NoSuchKey(_))));
}

#[test]
fn a_set_is_a_jwk_set_that_reads_back_and_its_public_half_has_no_secret() {
    let mut set = set();
    set.rotate(ROTATION, NOW, &entropy(2)).unwrap();
    let text = set.encode().unwrap();
    let stored: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(stored["keys"][0]["kty"], "OKP");
    assert_eq!(stored["keys"][0]["crv"], "Ed25519");
    let again = KeySet::decode(&text).unwrap();
    assert_eq!(*again.encode().unwrap(), *text);
    let public = serde_json::to_value(again.public(NOW)).unwrap();
    let members = |key: &Value| key.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for key in public["keys"].as_array().unwrap() {
        let mut members = members(key);
        members.sort();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
        assert_eq!((&key["alg"], &key["use"]), (&json!("EdDSA"), &json!("sig")));
    }
    assert!(!format!("{set:?}").contains(stored["keys"][0]["d"].as_str().unwrap()));
}

#[test]
fn rsa_keys_are_of_2048_bits_and_show_only_modulus_and_exponent() {
    let set = KeySet::generate(KeyAlgorithm::RS256, NOW, &entropy(5)).unwrap();
    let again = KeySet::decode(&set.encode().unwrap()).unwrap();
    let public = serde_json::to_value(again.public(NOW)).unwrap();
    let key = public["keys"][0].as_object().unwrap();
    let mut members: Vec<_> = key.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
    assert_eq!((&key["e"], key["n"].as_str().unwrap().len()), (&json!("AQAB"), 342));
}

#[test]
fn anything_that_breaks_a_rule_is_refused_without_quoting_it() {
    let mut good = set();
    good.rotate(ROTATION, NOW, &entropy(2)).unwrap();
    let good: Value = serde_json::from_slice(&good.encode().unwrap()).unwrap();
    let secret = good["keys"][0]["d"].as_str().unwrap().to_owned();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value["keys"]);
        value.to_string()
    };
    let other_x = good["keys"][1]["x"].clone();
    let cases = [
        ("nothing", String::new()),
        ("no JSON", secret.clone()),
        ("cut off", good.to_string()[..200].to_owned()),
        ("no keys", json!({ "keys": [] }).to_string()),
        ("an unknown member", with(&|keys| keys[0]["extra"] = json!(1))),
        ("no kid", with(&|keys| drop(keys[0].as_object_mut().unwrap().remove("kid")))),
        ("a kid that is none", with(&|keys| keys[0]["kid"] = json!("a b"))),
        ("one kid twice", with(&|keys| keys[0]["kid"] = keys[1]["kid"].clone())),
        ("another use", with(&|keys| keys[0]["use"] = json!("enc"))),
        ("another curve", with(&|keys| keys[0]["crv"] = json!("Ed448"))),
        ("an algorithm of another kind", with(&|keys| keys[0]["alg"] = json!("RS256"))),
        ("a symmetric algorithm", with(&|keys| keys[0]["alg"] = json!("HS256"))),
        ("halves of two keys", with(&|keys| keys[0]["x"] = other_x.clone())),
        ("a short private half", with(&|keys| keys[0]["d"] = json!("AAAA"))),
        ("no base64url", with(&|keys| keys[0]["d"] = json!("+/+/"))),
        ("the wrong order", with(&|keys| keys.as_array_mut().unwrap().reverse())),
        ("a gap", with(&|keys| keys[0]["verifies_until"] = json!(NOW + 599))),
        (
            "an open end in the middle",
            with(&|keys| drop(keys[0].as_object_mut().unwrap().remove("verifies_until"))),
        ),
        ("an end of the last", with(&|keys| keys[1]["verifies_until"] = json!(i64::MAX))),
        ("a time that is none", with(&|keys| keys[0]["signs_from"] = json!("soon"))),
    ];
    KeySet::decode(good.to_string().as_bytes()).unwrap();
    for (what, text) in cases {
        let refused = KeySet::decode(text.as_bytes()).expect_err(what).to_string();
        assert!(!refused.contains(&secret), "{what}: {refused}");
    }
}

#[test]
fn the_file_is_its_owners_alone_and_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = KeySetFile::new(dir.path().join("state/keys.json"));
    assert!(matches!(file.load(), Err(KeyFileError::Missing(_))));
    assert!(file.load().unwrap_err().is_absence() && file.stamp().is_none());
    file.create(&set()).unwrap();
    assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(file.create(&set()), Err(KeyFileError::Exists(_))));
    let before = file.stamp().unwrap();
    let (after, kid) = file.update(|set| set.rotate(ROTATION, NOW, &entropy(2))).unwrap();
    assert_ne!(file.stamp().unwrap(), before);
    assert_eq!(*file.load().unwrap().encode().unwrap(), *after.encode().unwrap());
    assert_eq!(after.keys().nth(1).unwrap().kid(), kid);

    let refused = file.update(|set| set.retire("none", NOW, &entropy(2))).unwrap_err();
    assert!(refused.is_absence(), "{refused}");
    assert_eq!(
        *file.load().unwrap().encode().unwrap(),
        *after.encode().unwrap(),
        "a refused change changes nothing"
    );
    let mut names: Vec<_> =
        fs::read_dir(dir.path().join("state")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["keys.json", "keys.json.lock"], "no temporary file stays");

    let link = KeySetFile::new(dir.path().join("link.json"));
    symlink(file.path(), link.path()).unwrap();
    link.update(|set| set.retire(&kid, NOW, &entropy(2))).unwrap();
    assert!(fs::symlink_metadata(link.path()).unwrap().is_symlink());
    assert_eq!(file.load().unwrap().keys().count(), 1);

    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(file.load(), Err(KeyFileError::Readable { mode: 0o640, .. })));
}

#[test]
fn of_changes_made_at_once_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let file = KeySetFile::new(dir.path().join("keys.json"));
    file.create(&set()).unwrap();
    let rotation = KeyRotation { activate_after: 0, ..ROTATION };
    std::thread::scope(|scope| {
        for turn in 0..8 {
            let file = file.clone();
            // Each at a later time, so that none finds another waiting.
            scope.spawn(move || {
                file.update(|set| {
                    let now = set.keys().last().map_or(NOW, |last| last.signs_from() + 1);
                    set.rotate(rotation, now, &entropy(10 + turn))
                })
                .unwrap();
            });
        }
    });
    assert_eq!(file.load().unwrap().keys().count(), 9);
}
