//! Keras's own model files, made of ours: `.h5`, its older format of one HDF5 file, and `.keras`,
//! the format of Keras 3.
//!
//! | format | holds |
//! |---|---|
//! | `.h5` | HDF5: the attributes `model_config`, `keras_version` and `backend`, and the weights by layer under `model_weights` with the names in `layer_names` and `weight_names` |
//! | `.keras` | a zip of `config.json`, `metadata.json` and `model.weights.h5`, whose weights lie by the class of their layer and are numbered |
//!
//! Both were read off files that Keras 3.15 wrote and off its loaders (`keras/src/legacy/saving`,
//! `keras/src/saving/saving_lib.py`). Our gates lie in Keras's order, so weights pass as they are.
//! Layers have our names, and the model's card goes along as JSON: as the attribute `runner` of an
//! `.h5`, as the field `runner` of `metadata.json` in a `.keras` (a fourth file in the archive would
//! make Keras unpack all of it to disk).
//!
//! The same model gives the same bytes: an archive's dates are the earliest that a zip can hold.
//! This module knows nothing of exports or the store.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::Network;
use super::file::{Model, ModelError};

use hdf5::{Array, Attribute, Group};
use layers::Layer;

mod hdf5;
mod layers;
#[cfg(test)]
mod tests;

/// The version of what [`convert`] writes. 1: the first.
pub const VERSION: u32 = 1;

/// The version of Keras whose files these are.
const KERAS_VERSION: &str = "3.15.1";
/// The backend that an `.h5` file names; the weights are the same for all.
const BACKEND: &str = "tensorflow";
/// The key of our card.
const KEY: &str = "runner";

/// A format of Keras's.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Format {
    /// One HDF5 file, which older versions of Keras wrote.
    H5,
    /// The zip archive of Keras 3.
    Keras,
}

impl Format {
    /// Gives the format's word, which is also its files' ending.
    pub fn name(self) -> &'static str {
        match self {
            Format::H5 => "h5",
            Format::Keras => "keras",
        }
    }

    /// Finds the format that a file's ending names.
    pub fn from_extension(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?;
        let is = |format: &Format| ending.eq_ignore_ascii_case(format.name());
        [Format::H5, Format::Keras].into_iter().find(is)
    }
}

/// Why a model could not be written as Keras's.
#[derive(Debug, thiserror::Error)]
pub enum KerasError {
    /// The model file cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network is none of Keras's layers.
    #[error(transparent)]
    Network(#[from] NoLayers),
    /// The weights cannot be laid out in HDF5.
    #[error("the weights cannot be written as HDF5: {0}")]
    Hdf5(#[from] hdf5_pure::Error),
    /// The archive cannot be made.
    #[error("the archive cannot be written: {0}")]
    Archive(#[from] zip::result::ZipError),
    /// The file system refused.
    #[error("`{}`: cannot write the model: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// A network that no stack of Keras's layers computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Keras has no layers for the network `{kind}`: {}", Self::HELP)]
pub struct NoLayers {
    /// The network's kind.
    pub kind: &'static str,
}

impl NoLayers {
    /// The way out.
    pub const HELP: &str = "export it as `.safetensors`, or train an `lstm`, `gru` or `mlp`";
}

/// Checks that a network can be written as Keras's layers.
///
/// # Errors
///
/// [`NoLayers`] where it is one of the linear networks.
pub fn check(network: &Network) -> Result<(), NoLayers> {
    match network {
        Network::Lstm { .. } | Network::Gru { .. } | Network::Mlp { .. } => Ok(()),
        Network::Dlinear { .. } => Err(NoLayers { kind: "dlinear" }),
        Network::Nlinear {} => Err(NoLayers { kind: "nlinear" }),
    }
}

/// Writes the model file at `from` in a format of Keras's to `to`.
///
/// # Errors
///
/// [`KerasError`] where `from` is no model of ours or one that Keras cannot have, or `to` cannot be
/// written.
pub fn convert(from: &Path, to: &Path, format: Format) -> Result<(), KerasError> {
    let bytes = to_bytes(&Model::load(from)?, format)?;
    fs::write(to, bytes).map_err(|source| KerasError::File { path: to.to_owned(), source })
}

fn to_bytes(model: &Model, format: Format) -> Result<Vec<u8>, KerasError> {
    let layers = layers::layers(model)?;
    match format {
        Format::H5 => h5(model, &layers),
        Format::Keras => archive(model, &layers),
    }
}

fn h5(model: &Model, layers: &[Layer<'_>]) -> Result<Vec<u8>, KerasError> {
    // The older format names no modules on its outer layers.
    let of = |layer: &Layer<'_>| json!({ "class_name": layer.class, "config": layer.config });
    let sequential = layers::sequential(model, layers, &of);
    let config = json!({ "class_name": "Sequential", "config": sequential });
    let versions = || {
        let text = |value: &str| Attribute::Text(value.to_owned());
        [("keras_version", text(KERAS_VERSION)), ("backend", text(BACKEND))]
    };
    let mut root = Group::default();
    root.attributes.extend(versions());
    root.attributes.push(("model_config", Attribute::Text(config.to_string())));
    root.attributes.push((KEY, Attribute::Text(card(model).to_string())));
    let weights = root.at("model_weights");
    weights.attributes.extend(versions());
    let names = layers.iter().map(|layer| layer.name.clone()).collect();
    weights.attributes.push(("layer_names", Attribute::Texts(names)));
    for layer in layers {
        let group = weights.at(&layer.name);
        let path = |weight| layers::legacy_path(model, layer, weight);
        let paths: Vec<String> = layer.weights.iter().map(path).collect();
        for (path, weight) in paths.iter().zip(&layer.weights) {
            group.put(path, Array { shape: &weight.shape, values: weight.values });
        }
        group.attributes.push(("weight_names", Attribute::Texts(paths)));
    }
    let rest = weights.at("top_level_model_weights");
    rest.attributes.push(("weight_names", Attribute::Texts(Vec::new())));
    Ok(root.to_bytes()?)
}

fn archive(model: &Model, layers: &[Layer<'_>]) -> Result<Vec<u8>, KerasError> {
    let sequential = layers::sequential(model, layers, &layers::in_full);
    let config = json!({
        "module": "keras",
        "class_name": "Sequential",
        "config": sequential,
        "registered_name": null,
        "build_config": { "input_shape": layers::input_shape(model) },
        "compile_config": null,
    });
    let metadata = json!({ "keras_version": KERAS_VERSION, KEY: card(model) });
    let mut root = Group::default();
    root.name_variables(layers::model_name(model));
    for (layer, folder) in layers.iter().zip(layers::folders(layers)) {
        let group = root.at(&format!("layers/{folder}"));
        group.name_variables(&layer.name);
        for weight in &layer.weights {
            let place = group.at(&weight.folder());
            if let Some(cell) = weight.cell {
                place.name_variables(cell);
            }
            let array = Array { shape: &weight.shape, values: weight.values };
            place.put(&format!("vars/{}", weight.number), array);
        }
    }
    zipped(&[
        ("metadata.json", metadata.to_string().as_bytes()),
        ("config.json", config.to_string().as_bytes()),
        ("model.weights.h5", &root.to_bytes()?),
    ])
}

/// Zips files as they are, for weights do not get smaller.
fn zipped(files: &[(&str, &[u8])]) -> Result<Vec<u8>, KerasError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, options)?;
        archive.write_all(bytes).map_err(zip::result::ZipError::from)?;
    }
    Ok(archive.finish()?.into_inner())
}

fn card(model: &Model) -> Value {
    // A card is plain data with string keys, which JSON can always hold.
    serde_json::to_value(&model.card).expect("a card serializes to JSON")
}
