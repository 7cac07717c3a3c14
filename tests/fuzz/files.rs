//! The files that `runner` reads back, written whole and then changed; half of the sealed ones are
//! sealed anew, so that the change gets past the seal.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use runner::data::transform::Transform;
use runner::fingerprint::{Digest, Fingerprint, Manifest};
use runner::model::checkpoint;
use runner::model::file::Model;
use runner::model::optimizer::Moments;
use runner::model::trainer::{Epoch, State};
use runner::store::stat_cache::{Stamp, StatCache};
use runner::store::{Entry, Store, files};
use runner::study::{Curve, CurvePoint};
use serde_json::{Value, json};

use super::Input;
use super::mutate::Draw;

/// A file that `runner` reads back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    Entry,
    Curve,
    Roots,
    Mark,
    Seen,
    StatCache,
    Checkpoint,
    Model,
    Transform,
    Version,
}

const READERS: [Reader; 10] = [
    Reader::Entry,
    Reader::Curve,
    Reader::Roots,
    Reader::Mark,
    Reader::Seen,
    Reader::StatCache,
    Reader::Checkpoint,
    Reader::Model,
    Reader::Transform,
    Reader::Version,
];

/// Bytes of a digest.
const DIGEST: usize = 32;

/// The key of the checkpoint.
const KEY: &str = "key";

/// Files that are hard to take in, none of which is whole; what is found comes to them.
pub fn hard() -> Vec<(Reader, Vec<u8>)> {
    let most = u64::MAX.to_le_bytes();
    let packed = |title: &str, numbers: &[u8]| {
        let sealed = [title.as_bytes(), numbers].concat();
        [&Digest::of(&sealed).0[..], &sealed].concat()
    };
    let nested = sealed("[".repeat(1_000_000).into_bytes());
    let header = format!(
        "{{\"best\":{{\"dtype\":\"F32\",\"shape\":[{0},{0}],\"data_offsets\":[0,{0}]}}}}",
        u64::MAX
    );
    let header = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let units = |units: &str| {
        let whole = String::from_utf8_lossy(&WHOLE[&Reader::Model]).into_owned();
        assert!(whole.contains("[3,2]"), "the card tells its units");
        with_header(Reader::Model, |text| text.replace("[3,2]", units))
    };
    vec![
        (Reader::Entry, nested.clone()),
        (Reader::Curve, nested.clone()),
        (Reader::Roots, nested),
        (Reader::Seen, packed("runner stages seen 1\n", &most)),
        (Reader::StatCache, packed("runner stat cache 3\n", &most)),
        (Reader::Checkpoint, most.to_vec()),
        (Reader::Checkpoint, header.clone()),
        (Reader::Model, most.to_vec()),
        (Reader::Model, header),
        (Reader::Model, units("[18446744073709551615]")),
        (Reader::Model, units("[9223372036854775808,2]")),
        (Reader::Model, units("[]")),
        (Reader::Transform, "[".repeat(1_000_000).into_bytes()),
        (Reader::Version, most.to_vec()),
    ]
}

/// Seals a body as the store does.
fn sealed(body: Vec<u8>) -> Vec<u8> {
    let mut bytes = format!("{}\n", Digest::of(&body)).into_bytes();
    bytes.extend(body);
    bytes
}

/// Gives a whole file with another header, whose length is told rightly.
fn with_header(reader: Reader, change: impl FnOnce(String) -> String) -> Vec<u8> {
    let bytes = &WHOLE[&reader];
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let (header, data) = bytes[8..].split_at(length as usize);
    let header = change(String::from_utf8_lossy(header).into_owned());
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Reader::Entry => "an entry",
            Reader::Curve => "a curve",
            Reader::Roots => "the roots",
            Reader::Mark => "the durability mark",
            Reader::Seen => "the stages seen",
            Reader::StatCache => "the stat cache",
            Reader::Checkpoint => "a checkpoint",
            Reader::Model => "a model",
            Reader::Transform => "a transform",
            Reader::Version => "the version",
        }
    }

    /// Where it lies in the store; what is no file of the store's lies beside.
    fn path(self) -> String {
        match self {
            Reader::Entry => {
                let name = fingerprint().to_string();
                format!("entries/{}/{}", &name[..2], &name[2..])
            }
            Reader::Roots => "roots/p".to_owned(),
            Reader::Mark => "durable/mark".to_owned(),
            Reader::Seen => "seen/p".to_owned(),
            Reader::StatCache => "stat-cache".to_owned(),
            Reader::Checkpoint => "state.safetensors".to_owned(),
            Reader::Version => "version".to_owned(),
            Reader::Curve | Reader::Model | Reader::Transform => self.name().to_owned(),
        }
    }
}

fn manifest() -> Manifest {
    serde_json::from_value(json!({
        "kind": "command", "version": 1, "params": { "run": "true" }, "inputs": {},
    }))
    .expect("a manifest")
}

fn fingerprint() -> Fingerprint {
    static OF_ENTRY: LazyLock<Fingerprint> = LazyLock::new(|| manifest().fingerprint());
    *OF_ENTRY
}

fn curve() -> Curve {
    let metrics = BTreeMap::from([("loss".to_owned(), 0.25)]);
    Curve { points: vec![CurvePoint { step: 1, metrics }] }
}

/// Writes each file whole, as `runner` does.
static WHOLE: LazyLock<HashMap<Reader, Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = folder.path();
    let store = Store::open(folder).expect("there is no store");
    store.create().expect("it can be made");
    let output = folder.join("output");
    fs::write(&output, "text").expect("a file can be written");
    let blob = store.put_blob(&output).expect("it is stored");
    let entry = Entry {
        manifest: manifest(),
        outputs: BTreeMap::from([("o".to_owned(), blob)]),
        metrics: BTreeMap::from([("loss".to_owned(), 0.5)]),
        curve: curve(),
        failure: None,
        accidents: 0,
        of_trial: false,
    };
    store.put_entry(&entry).expect("it is stored");
    let seen = store.see(fingerprint(), &entry).expect("it was written just now");
    store.put_seen("p", &HashMap::from([("s".to_owned(), seen)])).expect("it is written");
    let roots = BTreeMap::from([("s".to_owned(), fingerprint())]);
    store.put_roots("p", &roots, |_| true).expect("they are written");
    store.sync().expect("it is synced");
    store.save_stats().expect("they are written");
    files::write_sealed(&folder.join(Reader::Curve.path()), &curve()).expect("it is written");
    let epoch = Epoch { train_loss: 0.1, validation_loss: 0.3, learning_rate: 1e-3 };
    let moments = Moments { steps: 9, first: vec![0.5, 0.1], second: vec![1e-9, 2.0] };
    let state =
        State { weights: vec![1.5, -0.1], best: vec![0.2, 7.0], moments, curve: vec![epoch; 2] };
    checkpoint::save(folder, KEY, &state).expect("it is written");
    fs::write(folder.join(Reader::Transform.path()), transform().to_string())
        .expect("it is written");
    model().save(&folder.join(Reader::Model.path())).expect("it is written");
    let bytes = |reader: Reader| fs::read(folder.join(reader.path())).expect("it was written");
    READERS.into_iter().map(|reader| (reader, bytes(reader))).collect()
});

fn transform() -> Value {
    json!({
        "version": 1, "series": null, "time": { "column": "at", "unit": "s" },
        "features": ["cpu", "hour_sin"], "numbers": [], "one_hot": [], "cyclical": ["hour"],
        "missing": "error", "unseen": "error",
    })
}

fn model() -> Model {
    let card = json!({
        "format": 1, "features": ["cpu", "hour_sin"], "target": "time", "window": 4, "horizon": 1,
        "target_history": true, "transform": transform(),
        "network": { "kind": "lstm", "units": [3, 2], "dropout": 0.1, "bidirectional": false },
    });
    let card: runner::model::file::Card = serde_json::from_value(card).expect("a card");
    let weights = card.network.initial(card.sizes(), 7);
    Model { card, weights }
}

/// Draws a file of one of the kinds.
pub fn target(draw: &mut Draw, folder: &Path) -> Input {
    let reader = READERS[draw.below(READERS.len())];
    let mut bytes = WHOLE[&reader].clone();
    match draw.below(20) {
        0 => bytes = (0..draw.below(300)).map(|_| draw.next() as u8).collect(),
        1 => {}
        2..9 => draw.mutate(&mut bytes),
        _ => mutate_within(draw, reader, &mut bytes),
    }
    let (folder, given) = (folder.to_owned(), bytes.clone());
    Input { reader: reader.name(), bytes, read: Box::new(move || read(reader, &folder, &given)) }
}

/// Changes what a file says and seals it anew, or sets right the length of its header.
fn mutate_within(draw: &mut Draw, reader: Reader, bytes: &mut Vec<u8>) {
    match reader {
        Reader::Entry | Reader::Curve | Reader::Roots | Reader::Mark => {
            let line = bytes.iter().position(|byte| *byte == b'\n').expect("a seal") + 1;
            let mut body = bytes.split_off(line);
            draw.mutate(&mut body);
            *bytes = sealed(body);
        }
        Reader::Seen | Reader::StatCache => {
            let mut sealed = bytes.split_off(DIGEST);
            let title = sealed.iter().position(|byte| *byte == b'\n').expect("a title") + 1;
            let mut body = sealed.split_off(title);
            draw.mutate(&mut body);
            sealed.extend(body);
            *bytes = Digest::of(&sealed).0.to_vec();
            bytes.extend(sealed);
        }
        Reader::Checkpoint | Reader::Model => {
            let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
            let data = bytes.split_off(8 + length as usize);
            let mut header = bytes.split_off(8);
            draw.mutate(&mut header);
            *bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header);
            bytes.extend(data);
        }
        Reader::Transform | Reader::Version => draw.mutate(bytes),
    }
}

/// Has a file read back; says whether it was taken for whole.
pub fn read(reader: Reader, folder: &Path, bytes: &[u8]) -> bool {
    let folder = folder.join(format!("{reader:?}"));
    let path = folder.join(reader.path());
    files::create_parent(&path).expect("a folder can be made");
    fs::write(&path, bytes).expect("a file can be written");
    if let Reader::Version = reader {
        return Store::open(&folder).is_ok();
    }
    let store = || Store::open(&folder).expect("its version is known");
    match reader {
        Reader::Entry => store().entry(fingerprint()).is_some_and(|entry| {
            // Whoever has an entry asks what it is.
            let _ = (entry.manifest.fingerprint(), entry.manifest.differences(&manifest()));
            !store().troubles(&entry).is_empty()
        }),
        Reader::Curve => files::read_sealed::<Curve>(&path).is_some(),
        Reader::Roots => !store().pipelines().is_empty(),
        Reader::Mark => files::read_sealed::<runner::store::durability::Mark>(&path).is_some(),
        Reader::Seen => {
            let store = store();
            let seen = store.seen("p");
            let _ = seen.values().filter(|seen| store.is_as_seen(seen)).count();
            !seen.is_empty()
        }
        Reader::StatCache => {
            let cache = StatCache::load(&path, &folder);
            let _ = Stamp::of(&path).map(|stamp| cache.lookup(&path, stamp));
            files::digest(&path).is_ok() && format!("{cache:?}").contains("stamp")
        }
        Reader::Checkpoint => matches!(checkpoint::load(&folder, KEY), Ok(Some(_))),
        Reader::Model => Model::load(&path).is_ok_and(|model| {
            let _ = (model.window_spec(), model.card.steps());
            true
        }),
        Reader::Transform => Transform::read(&path).is_ok_and(|transform| {
            let _ = (transform.features.len(), transform.to_json());
            true
        }),
        Reader::Version => unreachable!("read above"),
    }
}
