use std::fs;
use std::path::PathBuf;

use super::*;
use crate::store::Blob;
use crate::store::tests::{damage, put};

/// A store as it is in a boot of the machine.
fn in_boot(folder: &tempfile::TempDir, boot: &str) -> Store {
    let store = Store::open_in(&folder.path().join(".runner"), boot.to_owned()).unwrap();
    store.create().unwrap();
    store
}

/// Zeroes a blob so that nothing but its bytes tells, as a loss of power may: the stat cache that
/// was saved has the stamps of the zeroed file.
fn lose(store: &Store, blob: &Blob) {
    let path = store.blob_path(blob.digest);
    damage(&path, |bytes| bytes.fill(0));
    store.stats().record_placed(&path, blob.digest);
    store.save_stats().unwrap();
}

fn is_believed(store: &Store, blob: &Blob) -> bool {
    store.known_digest(&store.blob_path(blob.digest)).is_some()
}

#[test]
fn what_was_not_synced_is_hashed_after_another_boot_and_what_was_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_boot(&folder, "first");
    let synced = put(&store, b"synced");
    store.sync().unwrap();
    let [lost, kept, forgotten] = [b"lost", b"kept", b"late"].map(|bytes| put(&store, bytes));
    [&lost, &forgotten].into_iter().for_each(|blob| lose(&store, blob));

    let same = in_boot(&folder, "first");
    assert!(same.has_blob(lost.digest), "in one boot nothing is lost, so nothing is hashed");

    let second = in_boot(&folder, "second");
    assert!(is_believed(&second, &synced));
    assert!(!is_believed(&second, &kept));
    assert!(second.has_blob(kept.digest) && !second.has_blob(lost.digest));
    put(&second, b"lost");
    assert!(second.has_blob(lost.digest));
    second.sync().unwrap();

    for boot in ["second", "third"] {
        let later = in_boot(&folder, boot);
        assert!(is_believed(&later, &lost), "{boot}: it was synced meanwhile");
        assert!(!is_believed(&later, &forgotten), "{boot}: nobody has looked at it since");
        assert!(!later.has_blob(forgotten.digest));
    }
}

#[test]
fn what_was_saved_without_a_sync_holds_in_its_boot_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = in_boot(&folder, "first");
    let blob = put(&first, b"bytes");
    first.save_stats().unwrap();
    assert!(is_believed(&in_boot(&folder, "first"), &blob));
    assert!(!is_believed(&in_boot(&folder, "second"), &blob));
    assert!(!is_believed(&in_boot(&folder, ""), &blob), "an unknown boot is another");
}

#[test]
fn nothing_is_synced_where_nothing_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_boot(&folder, "first");
    let mark = |store: &Store| Mark::read(&store.folder).sequence;
    store.sync().unwrap();
    assert_eq!(mark(&store), 0);
    put(&store, b"bytes");
    store.sync().unwrap();
    store.sync().unwrap();
    assert_eq!(mark(&store), 1);
    put(&store, b"bytes");
    store.sync().unwrap();
    assert_eq!(mark(&store), 1, "the store had these bytes");
    put(&store, b"others");
    store.sync().unwrap();
    assert_eq!(mark(&store), 2);
}

#[test]
fn a_damaged_mark_or_copy_is_no_reason_to_believe() {
    for file in ["durable/mark", "durable/stat-cache"] {
        let folder = tempfile::tempdir().unwrap();
        let store = in_boot(&folder, "first");
        let blob = put(&store, b"bytes");
        store.sync().unwrap();
        let path: PathBuf = store.path(file);
        assert!(is_believed(&in_boot(&folder, "second"), &blob));
        fs::write(&path, b"").unwrap();
        let boot = if file == "durable/mark" { "first" } else { "second" };
        let after = in_boot(&folder, boot);
        // Without a mark the copy is still what was synced.
        assert_eq!(is_believed(&after, &blob), file == "durable/mark");
        assert!(after.has_blob(blob.digest));
    }
}
