use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;

use super::artifacts::Artifact;
use super::*;
use crate::conversion::Conversion;
use crate::data::Format;
use crate::stage::StageKind;

pub(super) fn store(folder: &tempfile::TempDir) -> Store {
    let store = Store::open(&folder.path().join(".runner")).unwrap();
    store.create().unwrap();
    store
}

pub(super) fn put(store: &Store, bytes: &[u8]) -> Blob {
    let file = store.path("incoming");
    fs::write(&file, bytes).unwrap();
    store.put_blob(&file).unwrap()
}

pub(super) fn entry(store: &Store, name: &str, bytes: &[u8]) -> Entry {
    let manifest = Manifest {
        kind: StageKind::Generate,
        version: 1,
        params: json!({ "name": name }),
        inputs: BTreeMap::new(),
        env: BTreeMap::new(),
        base: None,
    };
    let outputs = BTreeMap::from([("data".to_owned(), put(store, bytes))]);
    let entry = Entry {
        manifest,
        outputs,
        metrics: BTreeMap::from([("loss".to_owned(), 0.1)]),
        curve: Curve::default(),
        failure: None,
        accidents: 0,
        of_trial: false,
    };
    store.put_entry(&entry).unwrap();
    entry
}

/// Writes into a read-only blob, as a failing disk would.
pub(super) fn damage(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_entry_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let entry = entry(&store, "a", b"rows");
    assert_eq!(store.entry(entry.manifest.fingerprint()), Some(entry.clone()));
    assert_eq!(store.troubles(&entry), []);
}

#[test]
fn a_truncated_entry_is_a_miss() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let fingerprint = entry(&store, "a", b"rows").manifest.fingerprint();
    let path = store.sharded("entries", fingerprint.0);
    damage(&path, |bytes| bytes.truncate(bytes.len() - 2));
    assert_eq!(store.entry(fingerprint), None);
}

#[test]
fn a_flipped_byte_in_a_blob_is_found_and_mended_by_writing_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let entry = entry(&store, "a", b"rows");
    let path = store.blob_path(entry.outputs["data"].digest);
    damage(&path, |bytes| bytes[0] ^= 1);
    assert!(matches!(&store.troubles(&entry)[..], [DirtyReason::OutputDamaged { .. }]));
    put(&store, b"rows");
    assert_eq!(store.troubles(&entry), []);
    fs::remove_file(&path).unwrap();
    assert!(matches!(&store.troubles(&entry)[..], [DirtyReason::OutputMissing { .. }]));
}

#[test]
fn an_edit_within_one_tick_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let file = folder.path().join("input.csv");
    for content in ["a,b\n1,2\n", "a,b\n1,3\n", "a,b\n1,4\n"] {
        fs::write(&file, content).unwrap();
        assert_eq!(store.digest(&file).unwrap(), Digest::of(content.as_bytes()));
    }
}

#[test]
fn dropped_outputs_keep_their_digest_and_bytes_that_others_have() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let of_trial = |name: &str, bytes: &[u8]| {
        let entry = Entry { of_trial: true, ..entry(&store, name, bytes) };
        store.put_entry(&entry).unwrap();
        entry
    };
    let (shared, alone) = (of_trial("shared", b"same"), of_trial("alone", b"other"));
    let (root, of_stage) = (of_trial("root", b"root"), entry(&store, "stage", b"stage"));
    let kept = entry(&store, "kept", b"same");
    let roots = BTreeMap::from([("stage".to_owned(), root.manifest.fingerprint())]);
    store.put_roots("pipeline", &roots, |_| true).unwrap();
    let all = [&shared, &alone, &root, &of_stage].map(|entry| entry.manifest.fingerprint());
    store.drop_outputs(&all).unwrap();
    for entry in [&kept, &root, &of_stage] {
        assert_eq!(store.troubles(entry), []);
    }
    let alone = store.entry(alone.manifest.fingerprint()).unwrap();
    assert_eq!(alone.outputs["data"].digest, Digest::of(b"other"));
    assert!(matches!(&store.troubles(&alone)[..], [DirtyReason::OutputDropped { .. }]));

    let path = store.sharded("entries", alone.manifest.fingerprint().0);
    let written = || fs::metadata(&path).unwrap().ino();
    let before = written();
    store.drop_outputs(&[alone.manifest.fingerprint()]).unwrap();
    assert_eq!(written(), before, "what is dropped is not written again");
}

#[test]
fn roots_of_runs_at_the_same_time_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let fingerprint = |name: &str| Fingerprint(Digest::of(name.as_bytes()));
    let names: Vec<String> = (0..8).map(|number| format!("stage{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                let roots = BTreeMap::from([(name.clone(), fingerprint(name))]);
                store.put_roots("pipeline", &roots, |_| true).unwrap();
            });
        }
    });
    let kept: HashSet<Fingerprint> = store.roots().collect();
    assert_eq!(kept, names.iter().map(|name| fingerprint(name)).collect());
}

#[test]
fn an_edited_artifact_is_set_aside_and_a_lost_one_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let artifacts = folder.path().join("artifacts");
    let place = |digest| {
        let artifact =
            Artifact { stage: "generate".to_owned(), path: "generate/data.csv".into(), digest };
        store.place("lambda", &artifacts, &[artifact]).unwrap()
    };
    let (first, second) = (put(&store, b"first").digest, put(&store, b"second").digest);
    let path = artifacts.join("generate/data.csv");

    assert_eq!(place(first).len(), 1);
    assert_eq!(place(first), []);
    fs::remove_dir_all(&artifacts).unwrap();
    assert_eq!(place(first)[0].set_aside, None);
    assert_eq!(fs::read(&path).unwrap(), b"first");

    assert_eq!(place(second)[0].set_aside, None, "what we placed ourselves is no edit");
    fs::write(&path, b"mine").unwrap();
    let aside = place(second)[0].set_aside.clone().unwrap();
    assert_eq!(fs::read(aside).unwrap(), b"mine");
    assert_eq!(fs::read(&path).unwrap(), b"second");
}

#[test]
fn what_was_placed_without_a_record_is_no_edit() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder);
    let artifacts = folder.path().join("artifacts");
    let place = |store: &Store, digest| {
        let artifact =
            Artifact { stage: "generate".to_owned(), path: "generate/data.csv".into(), digest };
        store.place("lambda", &artifacts, &[artifact]).unwrap()
    };
    let digests = [b"1", b"2", b"3"].map(|bytes| put(&first, bytes).digest);
    place(&first, digests[0]);
    // A kill after the artifact was written, before the record was.
    fs::write(artifacts.join("generate/data.csv"), b"2").unwrap();
    assert_eq!(place(&first, digests[2])[0].set_aside, None);

    // The store alone is lost, and a run gives the same bytes: nothing to write but the record.
    fs::remove_dir_all(first.path("")).unwrap();
    let second = store(&folder);
    assert_eq!(place(&second, put(&second, b"3").digest), []);
    files::remove_file(&second.blob_path(digests[2])).unwrap();
    assert_eq!(place(&second, put(&second, b"4").digest)[0].set_aside, None);
}

#[test]
fn a_conversion_of_a_changed_file_is_not_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let file = folder.path().join("rows.csv");
    let csv = Conversion::Table(Format::Csv);
    let convert = |hashed: &[u8]| store.converted(&file, Digest::of(hashed), csv);
    let (before, after) = (b"a\n1\n", b"a\n2\n");
    fs::write(&file, after).unwrap();
    assert!(matches!(convert(before), Err(StoreError::Changed { .. })));
    fs::write(&file, before).unwrap();
    let converted = convert(before).unwrap();
    assert_eq!(fs::read(store.blob_path(converted)).unwrap(), before);
}

#[test]
fn a_sweep_removes_what_killed_writes_left_long_ago() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let [old, young] = ["old", "young"].map(|name| store.temporaries().join(name));
    fs::write(&young, b"").unwrap();
    let long_ago = std::time::SystemTime::now() - ABANDONED * 2;
    fs::File::create(&old).unwrap().set_modified(long_ago).unwrap();
    store.sweep();
    assert!(!old.exists() && young.exists());
}

#[test]
fn the_stat_cache_survives_and_a_damaged_one_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder);
    let blob = put(&first, b"rows");
    first.save_stats().unwrap();
    let again = Store::open(&folder.path().join(".runner")).unwrap();
    assert_eq!(again.known_digest(&again.blob_path(blob.digest)), Some(blob.digest));
    fs::write(first.path("stat-cache"), b"nonsense").unwrap();
    let empty = Store::open(&folder.path().join(".runner")).unwrap();
    assert_eq!(empty.known_digest(&empty.blob_path(blob.digest)), None);
    assert!(empty.has_blob(blob.digest));
}

#[test]
fn an_actions_lock_is_held_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = lock::try_action(&path).unwrap();
    assert!(held.is_some());
    assert!(lock::try_action(&path).unwrap().is_none());
    drop(held);
    assert!(lock::try_action(&path).unwrap().is_some());
}

#[test]
fn a_working_folder_is_handed_on_empty_and_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    store.begin_work("first").unwrap();
    let first = store.attempt_path("first");
    let inode = fs::metadata(&first).unwrap().ino();
    fs::create_dir(first.join("outputs/left")).unwrap();
    fs::write(first.join("outputs/left/file"), b"left").unwrap();
    fs::write(first.join(work::METRICS), b"{}").unwrap();
    store.end_work("first", true);

    store.begin_work("second").unwrap();
    let second = store.attempt_path("second");
    assert!(!first.exists());
    assert_eq!(fs::metadata(&second).unwrap().ino(), inode);
    let names = |path: &Path| files::list(path).len();
    assert_eq!((names(&second), names(&second.join("outputs"))), (1, 0));

    // Rights that a program took away are no other's to find.
    fs::set_permissions(second.join("outputs"), fs::Permissions::from_mode(0o500)).unwrap();
    store.end_work("second", true);
    store.begin_work("third").unwrap();
    let third = store.attempt_path("third");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&third.join("outputs")), mode(&third));
    store.end_work("third", true);
    store.leave_work();
    assert_eq!(names(&store.path("work")), 0);
}

#[test]
fn a_link_leads_to_its_blob_whatever_a_program_has_put_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let blob = put(&store, b"rows");
    let link = || store.link(blob.digest, "rows", "csv").unwrap();
    assert_eq!(fs::read(link()).unwrap(), b"rows");
    assert_eq!(link().extension().unwrap(), "csv");
    let inode = || fs::symlink_metadata(link()).unwrap().ino();
    assert_eq!(inode(), inode());
    let path = link();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"other").unwrap();
    assert_eq!(link(), path);
    assert_eq!(fs::read(path).unwrap(), b"rows");
}

#[test]
fn a_sweep_leaves_the_folders_of_a_process_that_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (store, other) = (store(&folder), store(&folder));
    store.begin_work("first").unwrap();
    other.sweep();
    assert!(store.attempt_path("first").exists());
    store.end_work("first", true);
    other.sweep();
    assert_eq!(files::list(&store.path("work")).len(), 1);
    // Dies without a word.
    drop(store);
    other.begin_work("second").unwrap();
    assert_eq!(files::list(&other.path("work")), [other.attempt_path("second").parent().unwrap()]);
}
