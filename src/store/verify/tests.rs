use std::fs;

use super::*;
use crate::store::tests::{damage, entry, store};

#[test]
fn what_is_damaged_is_set_aside_whatever_the_stat_cache_believes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let [whole, flipped, cut] =
        ["whole", "flipped", "cut"].map(|name| entry(&store, name, name.as_bytes()));
    assert_eq!(store.verify(2).unwrap().findings, []);
    let digest = flipped.outputs["data"].digest;
    let blob = store.blob_path(digest);
    damage(&blob, |bytes| bytes[0] ^= 1);
    store.stats().record_placed(&blob, digest);
    assert!(store.has_blob(digest), "the stat cache is fooled");
    let record = store.sharded("entries", cut.manifest.fingerprint().0);
    damage(&record, |bytes| bytes.truncate(bytes.len() / 2));

    let verified = store.verify(2).unwrap();
    let [a, b, c] = &verified.findings[..] else { panic!("three findings: {verified:?}") };
    let found = [a, b, c].map(|finding| (finding.thing, &finding.problem));
    let missing = |(_, problem): &&(&str, &Problem)| matches!(problem, Problem::Missing { .. });
    assert_eq!(found.iter().filter(missing).count(), 1, "the entry of the blob is told: {found:?}");
    for finding in [a, b, c] {
        if let Problem::Damaged { set_aside } = &finding.problem {
            assert!(set_aside.exists() && !finding.path.exists());
        }
    }
    assert!(!store.has_blob(digest) && store.entry(cut.manifest.fingerprint()).is_none());
    assert_eq!(store.troubles(&whole), []);
    assert_eq!(verified.checked["blobs"].count, 3);

    // What is missing is still missing; what was damaged is not found twice.
    assert_eq!(store.verify(1).unwrap().findings.len(), 1);
}

#[test]
fn an_entry_under_another_name_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let [a, b] = ["a", "b"].map(|name| entry(&store, name, b"same"));
    let [from, to] = [a, b].map(|one| store.sharded("entries", one.manifest.fingerprint().0));
    fs::copy(from, &to).unwrap();
    let verified = store.verify(1).unwrap();
    assert_eq!(verified.findings.len(), 1);
    assert_eq!(verified.findings[0].path, to);
}
