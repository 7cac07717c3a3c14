use std::fs::File;

use super::*;
use crate::conversion::Conversion;
use crate::store::Entry;
use crate::store::tests::{damage, entry, put, store};

const ALONE: Limits =
    Limits { keep_runs: Some(1), older_than: None, max_size: None, dry_run: false };

fn fingerprint(entry: &Entry) -> Fingerprint {
    entry.manifest.fingerprint()
}

fn roots(store: &Store, stages: &[(&str, &Entry)]) {
    let roots = stages.iter().map(|(stage, entry)| ((*stage).to_owned(), fingerprint(entry)));
    store.put_roots("pipeline", &roots.collect(), |_| true).unwrap();
}

/// A new run in the same store.
fn again(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join(".runner")).unwrap()
}

fn has(store: &Store, entry: &Entry) -> bool {
    let found = store.entry(fingerprint(entry));
    assert_eq!(
        found.is_some(),
        store.has_blob(entry.outputs["data"].digest),
        "an entry and its bytes go together"
    );
    found.is_some()
}

#[test]
fn the_results_of_the_last_runs_stay() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder);
    let all = ["0", "1", "2", "3"].map(|name| entry(&first, name, name.as_bytes()));
    let beside = entry(&first, "beside", b"beside");
    for one in &all {
        let store = again(&folder);
        roots(&store, &[("stage", one), ("beside", &beside)]);
        roots(&store, &[("stage", one)]);
    }
    let store = again(&folder);
    let runs = |number| Limits { keep_runs: Some(number), ..ALONE };
    store.collect(&Limits::default(), &|_| None).unwrap();
    assert_eq!(all.each_ref().map(|one| has(&store, one)), [true; 4], "no limit, nothing goes");
    store.collect(&runs(3), &|_| None).unwrap();
    assert_eq!(all.each_ref().map(|one| has(&store, one)), [false, true, true, true]);
    store.collect(&runs(1), &|_| None).unwrap();
    assert_eq!(all.each_ref().map(|one| has(&store, one)), [false, false, false, true]);
    assert!(has(&store, &beside));
    // A stage that is no more protects nothing, once another run has passed.
    let current = again(&folder);
    let only = BTreeMap::from([("stage".to_owned(), fingerprint(&all[3]))]);
    current.put_roots("pipeline", &only, |stage| stage == "stage").unwrap();
    store.collect(&runs(2), &|_| None).unwrap();
    assert!(has(&store, &beside));
    store.collect(&runs(1), &|_| None).unwrap();
    assert!(!has(&store, &beside) && has(&store, &all[3]));
}

#[test]
fn a_link_goes_with_its_blob() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let [root, other] = ["root", "other"].map(|name| entry(&store, name, name.as_bytes()));
    roots(&store, &[("stage", &root)]);
    let link = |entry: &Entry| store.link(entry.outputs["data"].digest, "a-b[c=1]", "csv").unwrap();
    let links = [&root, &other].map(link);
    let planned = store.collect(&Limits { dry_run: true, ..ALONE }, &|_| None).unwrap();
    assert_eq!(planned.removed["links"].count, 1);
    assert!(links.iter().all(|link| link.is_symlink()));
    store.collect(&ALONE, &|_| None).unwrap();
    assert_eq!(links.map(|link| link.is_symlink()), [true, false]);
}

#[test]
fn the_cheapest_by_byte_go_first_and_no_more_than_must() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let large = |letter: u8| vec![letter; 100_000];
    let [root, dear, cheap, unknown] = ["root", "dear", "cheap", "unknown"]
        .map(|name| entry(&store, name, &large(name.as_bytes()[0])));
    roots(&store, &[("stage", &root)]);
    let seconds = |one| match one {
        one if one == fingerprint(&dear) => Some(100.0),
        one if one == fingerprint(&cheap) => Some(1.0),
        _ => None,
    };
    let most = |bytes| Limits { max_size: Some(bytes), ..Limits::default() };
    let total = files::size(&store.folder);
    let dry = Limits { dry_run: true, ..most(total - 1) };
    let would = store.collect(&dry, &seconds).unwrap();
    assert!(has(&store, &cheap), "a dry run removes nothing");
    let done = store.collect(&most(total - 1), &seconds).unwrap();
    assert_eq!(done.removed, would.removed);
    assert!(!has(&store, &cheap) && has(&store, &dear) && has(&store, &unknown));
    store.collect(&most(250_000), &seconds).unwrap();
    assert!(!has(&store, &dear) && has(&store, &unknown));
    let collected = store.collect(&most(0), &seconds).unwrap();
    assert!(!has(&store, &unknown) && has(&store, &root) && collected.left > 100_000);
}

#[test]
fn shared_bytes_stay_and_what_nothing_names_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let (root, other) = (entry(&store, "root", b"same"), entry(&store, "other", b"same"));
    roots(&store, &[("stage", &root)]);
    let orphan = put(&store, b"orphan");
    let csv = folder.path().join("input.csv");
    std::fs::write(&csv, "a\n1\n").unwrap();
    let conversion = Conversion::Table(crate::data::Format::Csv);
    let converted = store.converted(&csv, Digest::of(b"a\n1\n"), conversion).unwrap();
    std::fs::create_dir_all(store.checkpoint_path(fingerprint(&root))).unwrap();
    let open = Fingerprint(Digest::of(b"open"));
    std::fs::create_dir_all(store.checkpoint_path(open)).unwrap();

    let collected = store.collect(&Limits::default(), &|_| None).unwrap();
    assert!(store.entry(fingerprint(&other)).is_some());
    assert!(!store.has_blob(orphan.digest) && !store.has_blob(converted));
    assert!(!store.has_converted(Digest::of(b"a\n1\n"), conversion));
    assert!(!store.checkpoint_path(fingerprint(&root)).exists(), "its action has ended");
    assert!(store.checkpoint_path(open).exists());
    let counts: Vec<(&str, u64)> =
        collected.removed.iter().map(|(kind, amount)| (*kind, amount.count)).collect();
    assert_eq!(counts, [("blobs", 2), ("checkpoints", 1), ("conversions", 1)]);
    store.collect(&ALONE, &|_| None).unwrap();
    assert!(store.entry(fingerprint(&other)).is_none());
    assert_eq!(store.troubles(&root), []);
}

#[test]
fn what_is_older_goes_and_what_is_from_the_future_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let [root, old, young, future] =
        ["root", "old", "young", "future"].map(|name| entry(&store, name, name.as_bytes()));
    roots(&store, &[("stage", &root)]);
    let day = Duration::from_secs(24 * 60 * 60);
    let set = |entry: &Entry, moment: SystemTime| {
        let path = store.sharded("entries", fingerprint(entry).0);
        File::options().write(true).open(path).unwrap().set_modified(moment).unwrap();
    };
    let now = SystemTime::now();
    set(&root, now - 50 * day);
    set(&old, now - 40 * day);
    set(&young, now - 20 * day);
    set(&future, now + 40 * day);
    let limits = Limits { older_than: Some(30 * day), ..Limits::default() };
    store.collect(&limits, &|_| None).unwrap();
    let left = [&root, &old, &young, &future].map(|one| has(&store, one));
    assert_eq!(left, [true, false, true, true]);
}

#[test]
fn beside_a_run_nothing_goes_that_it_could_need() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let one = entry(&store, "one", b"one");
    let lease = store.lease();
    let collected = store.collect(&ALONE, &|_| None).unwrap();
    assert!(collected.busy && has(&store, &one));
    drop(lease);
    assert!(!store.collect(&ALONE, &|_| None).unwrap().busy);
    assert!(!has(&store, &one));
}

#[test]
fn damaged_roots_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let one = entry(&store, "one", b"one");
    roots(&store, &[("stage", &one)]);
    damage(&store.path("roots/pipeline"), |bytes| bytes.truncate(10));
    let error = store.collect(&ALONE, &|_| None).unwrap_err();
    assert!(matches!(error, StoreError::Roots { .. }) && has(&store, &one));
}
