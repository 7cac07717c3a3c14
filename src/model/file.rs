//! The model file: safetensors with the weights by layer, and one metadata key that holds as JSON
//! all that is needed to use them: the network, its inputs and target, and the fitted transform.
//!
//! The same model gives the same bytes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::prediction::{self, Forward};
use super::{Network, Outputs, Sizes};
use crate::data::transform::Transform;
use crate::data::window::{WindowSpec, Windows};

/// The metadata key.
const KEY: &str = "runner";
/// The version of the file's content. 1: the first.
const FORMAT: u32 = 1;

/// A trained network with all that is needed to use it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What it is.
    pub card: Card,
    /// Its parameters, in the order of [`Network::parameters`].
    pub weights: Vec<f32>,
}

/// What a model is: its network, what it reads, and what it predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The version of the file's content.
    pub format: u32,
    /// The network.
    pub network: Network,
    /// The feature columns in the order of the inputs.
    pub features: Vec<String>,
    /// The predicted column.
    pub target: String,
    /// Rows that a prediction sees.
    pub window: usize,
    /// Rows from the window's last row to the last predicted one.
    pub horizon: usize,
    /// Which rows up to the horizon are predicted.
    #[serde(default)]
    pub outputs: Outputs,
    /// The quantiles that are predicted for each of them, rising; none for a plain prediction.
    #[serde(default)]
    pub quantiles: Vec<f64>,
    /// Whether past values of the target are the last input.
    pub target_history: bool,
    /// Whether a window may begin in the rows of the split before that of the rows it predicts.
    #[serde(default)]
    pub across_splits: bool,
    /// The fitted transform, as `preprocess` wrote it.
    pub transform: Transform,
}

/// Why a model file could not be written, read or used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file system refused.
    #[error("`{}`: cannot {act}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file is not a model that this `runner` wrote, or it is damaged.
    #[error("`{}`: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The windows are not those that the model reads.
    #[error("the model reads {expected}, and the windows give {given}")]
    Windows {
        /// What the model reads.
        expected: String,
        /// What the windows give.
        given: String,
    },
}

impl Card {
    /// Gives how many rows a window predicts.
    pub fn steps(&self) -> usize {
        self.outputs.steps(self.horizon)
    }

    /// Gives the network's sizes.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            window: self.window,
            inputs: self.features.len() + usize::from(self.target_history),
            outputs: self.steps() * self.quantiles.len().max(1),
        }
    }
}

impl Model {
    /// Makes a model of windows like `windows`.
    pub fn new(
        network: &Network,
        windows: &Windows,
        outputs: Outputs,
        quantiles: &[f64],
        transform: Transform,
        weights: Vec<f32>,
    ) -> Model {
        let spec = windows.spec();
        let card = Card {
            format: FORMAT,
            network: network.clone(),
            features: windows.features().to_vec(),
            target: spec.target.clone(),
            window: spec.window,
            horizon: spec.horizon,
            outputs,
            quantiles: quantiles.to_vec(),
            target_history: spec.target_history,
            across_splits: false,
            transform,
        };
        Model { card, weights }
    }

    /// Gives the spec by which a split becomes the windows that the model reads.
    pub fn window_spec(&self) -> WindowSpec {
        WindowSpec {
            series: self.card.transform.series.clone(),
            time: self.card.transform.time.clone(),
            target: self.card.target.clone(),
            features: Some(self.card.features.clone()),
            window: self.card.window,
            horizon: self.card.horizon,
            steps: self.card.steps(),
            target_history: self.card.target_history,
        }
    }

    /// Predicts the target of every window, in their order and as it was scaled: flat values
    /// `[windows, steps, quantiles]`, of which the quantiles of a step rise.
    ///
    /// # Errors
    ///
    /// [`ModelError::Windows`] where the windows are not those that the model reads.
    pub fn predict(&self, windows: &Windows) -> Result<Vec<f32>, ModelError> {
        let describe = |features: &[String], spec: &WindowSpec| {
            let WindowSpec { window, horizon, steps, target_history, .. } = spec;
            let history = if *target_history { " and the target's past" } else { "" };
            let features = features.join(", ");
            format!("{window} rows, horizon {horizon}, steps {steps}, of {features}{history}")
        };
        let expected = describe(&self.card.features, &self.window_spec());
        let given = describe(windows.features(), windows.spec());
        if expected != given {
            return Err(ModelError::Windows { expected, given });
        }
        let card = &self.card;
        let device = burn::tensor::Device::flex();
        let forward = Forward::new(&card.network, card.sizes(), &self.weights, device);
        let mut predicted = prediction::of_windows(&forward, windows);
        prediction::order_quantiles(&mut predicted, card.quantiles.len());
        Ok(predicted)
    }

    /// Writes the model to `path`.
    ///
    /// # Errors
    ///
    /// [`ModelError::File`] where the file system refuses.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        fs::write(path, self.to_bytes()).map_err(|source| ModelError::File {
            path: path.to_owned(),
            act: "write the model",
            source,
        })
    }

    /// Reads the model that [`Model::save`] wrote to `path`.
    ///
    /// # Errors
    ///
    /// [`ModelError`] where it cannot be read, or is foreign or damaged.
    pub fn load(path: &Path) -> Result<Model, ModelError> {
        let bytes = fs::read(path).map_err(|source| ModelError::File {
            path: path.to_owned(),
            act: "read the model",
            source,
        })?;
        Model::from_bytes(&bytes)
            .map_err(|message| ModelError::Content { path: path.to_owned(), message })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.weights.iter().flat_map(|value| value.to_le_bytes()).collect();
        let parameters = self.card.network.parameters(self.card.sizes());
        let views = parameters.iter().map(|parameter| {
            let part = &bytes[4 * parameter.range.start..4 * parameter.range.end];
            let view = TensorView::new(Dtype::F32, parameter.shape.clone(), part);
            // A parameter's range has as many elements as its shape.
            (parameter.name.as_str(), view.expect("a view of a whole parameter"))
        });
        // A card is plain data with string keys, which JSON can always hold.
        let card = serde_json::to_string(&self.card).expect("a card serializes to JSON");
        let metadata = HashMap::from([(KEY.to_owned(), card)]);
        // Serializing to memory fails for nothing but views that do not fit their bytes.
        serialize(views, Some(metadata)).expect("whole views serialize")
    }

    fn from_bytes(bytes: &[u8]) -> Result<Model, String> {
        let unreadable = |error| format!("not a whole safetensors file: {error}");
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let card = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let card = card.ok_or("a safetensors file, but not a model of `runner`")?;
        let value: Value = serde_json::from_str(card)
            .map_err(|error| format!("the model's description cannot be read: {error}"))?;
        if value["format"] != FORMAT {
            return Err(format!("the model's format is {}, and not {FORMAT}", value["format"]));
        }
        let card: Card = serde_json::from_value(value)
            .map_err(|error| format!("the model's description cannot be read: {error}"))?;
        let mut model = Model { card, weights: Vec::new() };
        for parameter in model.card.network.parameters(model.card.sizes()) {
            let tensor = tensors.tensor(&parameter.name).map_err(|error| error.to_string())?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != parameter.shape {
                let name = parameter.name;
                return Err(format!("the weights `{name}` do not fit the model's network"));
            }
            let values = tensor.data().as_chunks().0.iter();
            model.weights.extend(values.map(|bytes| f32::from_le_bytes(*bytes)));
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Cyclical, Missing, TimeColumn, TimeUnit, Unseen};

    fn model() -> Model {
        let network = Network::Lstm { units: vec![3, 2], dropout: 0.1, bidirectional: false };
        let card = Card {
            format: FORMAT,
            features: vec!["cpu".to_owned(), "hour_sin".to_owned()],
            target: "time".to_owned(),
            window: 4,
            horizon: 1,
            outputs: Outputs::Point,
            quantiles: Vec::new(),
            target_history: true,
            across_splits: false,
            transform: Transform {
                version: 1,
                series: None,
                time: TimeColumn { column: "at".to_owned(), unit: TimeUnit::S },
                features: vec!["cpu".to_owned(), "hour_sin".to_owned()],
                numbers: Vec::new(),
                one_hot: Vec::new(),
                cyclical: vec![Cyclical::Hour],
                missing: Missing::Error,
                unseen: Unseen::Error,
            },
            network,
        };
        let weights = card.network.initial(card.sizes(), 7);
        Model { card, weights }
    }

    #[test]
    fn a_model_is_read_as_it_was_written_and_always_has_the_same_bytes() {
        let model = model();
        let bytes = model.to_bytes();
        assert_eq!(bytes, model.to_bytes());
        assert_eq!(Model::from_bytes(&bytes).unwrap(), model);
    }

    #[test]
    fn a_foreign_or_damaged_file_is_refused_with_a_reason() {
        let refused = |bytes: &[u8]| Model::from_bytes(bytes).unwrap_err();
        let bytes = model().to_bytes();
        assert!(refused(b"PK").starts_with("not a whole safetensors file"));
        assert!(refused(&bytes[..bytes.len() - 1]).starts_with("not a whole safetensors file"));
        let foreign = serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        assert_eq!(refused(&foreign), "a safetensors file, but not a model of `runner`");
        let mut other = model();
        other.card.format = 9;
        assert_eq!(refused(&other.to_bytes()), "the model's format is 9, and not 1");
        let mut other = model();
        other.card.features.push("memory".to_owned());
        other.weights = other.card.network.initial(other.card.sizes(), 7);
        let bytes = other.to_bytes();
        let (from, to) = (br#"\"hour_sin\",\"memory\""#, br#"\"hour_sin_and_memory\""#);
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        let mut bytes = bytes;
        bytes[at..at + from.len()].copy_from_slice(to);
        let message = refused(&bytes);
        assert_eq!(message, "the weights `lstm_0.kernel` do not fit the model's network");
    }
}
