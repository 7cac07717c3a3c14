//! Checkpoints of a training: written aside and renamed, so that a kill leaves the one before.
//!
//! A checkpoint is a safetensors file of a [`State`] with the digest of its content and a key of
//! whoever wrote it: one that is cut short, damaged, or of another training is not used.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::optimizer::Moments;
use super::trainer::{Epoch, State};

/// The file in a training's checkpoint folder.
const FILE: &str = "state.safetensors";
/// The version of the file's content.
const FORMAT: &str = "runner-checkpoint-1";

/// Why a checkpoint was not written or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("`{}`: cannot {act}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file is not a whole checkpoint of this training.
    #[error("`{}`: {message}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// Writes `state` to `folder`, which need not exist yet; `key` identifies the training.
///
/// # Errors
///
/// [`CheckpointError::File`] where the file system refuses.
pub fn save(folder: &Path, key: &str, state: &State) -> Result<(), CheckpointError> {
    let path = folder.join(FILE);
    let aside = folder.join(format!("{FILE}.new"));
    let error = |act| move |source| CheckpointError::File { path: folder.join(FILE), act, source };
    fs::create_dir_all(folder).map_err(error("make its folder"))?;
    fs::write(&aside, encode(key, state)).map_err(error("write the checkpoint"))?;
    fs::rename(&aside, &path).map_err(error("put the checkpoint in its place"))
}

/// Reads the state that [`save`] wrote to `folder` under `key`; `None` where there is none.
///
/// # Errors
///
/// [`CheckpointError`] where it cannot be read, is damaged, or is of another training.
pub fn load(folder: &Path, key: &str) -> Result<Option<State>, CheckpointError> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => match decode(key, &bytes) {
            Ok(state) => Ok(Some(state)),
            Err(message) => Err(CheckpointError::Unusable { path, message }),
        },
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::File { path, act: "read the checkpoint", source }),
    }
}

/// The tensors of a state by name, as little-endian bytes.
fn parts(state: &State) -> [(&'static str, Dtype, Vec<u8>); 6] {
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let curve = state
        .curve
        .iter()
        .flat_map(|epoch| [epoch.train_loss, epoch.validation_loss, epoch.learning_rate])
        .flat_map(f64::to_le_bytes);
    [
        ("best", Dtype::F32, floats(&state.best)),
        ("curve", Dtype::F64, curve.collect()),
        ("first", Dtype::F32, floats(&state.moments.first)),
        ("second", Dtype::F32, floats(&state.moments.second)),
        ("steps", Dtype::U64, state.moments.steps.to_le_bytes().to_vec()),
        ("weights", Dtype::F32, floats(&state.weights)),
    ]
}

fn encode(key: &str, state: &State) -> Vec<u8> {
    let parts = parts(state);
    let digest = digest(key, parts.iter().map(|(name, _, bytes)| (*name, &bytes[..])));
    let metadata = HashMap::from([("digest".to_owned(), digest)]);
    let views = parts.iter().map(|(name, dtype, bytes)| {
        let length = bytes.len() * 8 / dtype.bitsize();
        // The length is that of the bytes by construction.
        (*name, TensorView::new(*dtype, vec![length], bytes).expect("a view of whole elements"))
    });
    // Serializing to memory fails for nothing but views that do not fit their bytes.
    serialize(views, Some(metadata)).expect("whole views serialize")
}

fn decode(key: &str, bytes: &[u8]) -> Result<State, String> {
    let unreadable = |error| format!("the checkpoint cannot be read: {error}");
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
    let names = ["best", "curve", "first", "second", "steps", "weights"];
    let mut data = Vec::with_capacity(names.len());
    for name in names {
        data.push((name, tensors.tensor(name).map_err(unreadable)?.data()));
    }
    let written = metadata.metadata().as_ref().and_then(|metadata| metadata.get("digest"));
    if written != Some(&digest(key, data.iter().copied())) {
        return Err("the checkpoint is damaged, or of another training".to_owned());
    }
    let floats = |index: usize| -> Vec<f32> {
        data[index].1.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let curve: Vec<f64> =
        data[1].1.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let steps = data[4].1.as_chunks().0.first().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let epoch = |&[train_loss, validation_loss, learning_rate]: &[f64; 3]| Epoch {
        train_loss,
        validation_loss,
        learning_rate,
    };
    Ok(State {
        weights: floats(5),
        best: floats(0),
        moments: Moments { steps, first: floats(2), second: floats(3) },
        curve: curve.as_chunks().0.iter().map(epoch).collect(),
    })
}

fn digest<'a>(key: &str, parts: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    add(FORMAT.as_bytes());
    add(key.as_bytes());
    for (name, bytes) in parts {
        add(name.as_bytes());
        add(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_a_damaged_or_foreign_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep/er");
        let epoch = Epoch { train_loss: 0.1, validation_loss: 1.0 / 3.0, learning_rate: 1e-3 };
        let state = State {
            weights: vec![1.5, -0.1],
            best: vec![0.25, 7.0],
            moments: Moments { steps: 9, first: vec![0.5, 0.1], second: vec![1e-9, 2.0] },
            curve: vec![epoch; 2],
        };
        assert_eq!(load(&folder, "key").unwrap(), None);
        save(&folder, "key", &state).unwrap();
        assert_eq!(load(&folder, "key").unwrap(), Some(state));
        assert!(matches!(load(&folder, "other"), Err(CheckpointError::Unusable { .. })));
        let mut bytes = fs::read(folder.join(FILE)).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        fs::write(folder.join(FILE), &bytes).unwrap();
        assert!(matches!(load(&folder, "key"), Err(CheckpointError::Unusable { .. })));
        fs::write(folder.join(FILE), &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(load(&folder, "key"), Err(CheckpointError::Unusable { .. })));
    }
}
