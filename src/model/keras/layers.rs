//! A model as a stack of Keras's layers: their configs, and which weights are whose.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::NoLayers;
use crate::model::Network;
use crate::model::file::Model;

/// One of Keras's layers.
pub(super) struct Layer<'a> {
    /// Its class, such as `LSTM`.
    pub class: &'static str,
    /// Its name, which is ours: `lstm_0`, `dropout_0`, `dense`.
    pub name: String,
    /// The arguments of its class.
    pub config: Value,
    /// Its weights in Keras's order.
    pub weights: Vec<Weight<'a>>,
}

/// One weight of a layer.
pub(super) struct Weight<'a> {
    /// `forward` or `backward`, where the layer reads both ways.
    direction: Option<&'static str>,
    /// The cell of a recurrent layer, such as `lstm_cell`.
    pub cell: Option<&'static str>,
    /// What it is: `kernel`, `recurrent_kernel` or `bias`.
    role: String,
    /// Which of the layer's, or of the direction's, it is.
    pub number: usize,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: &'a [f32],
}

impl Weight<'_> {
    /// Gives the group below its layer's in which a `.keras` file has it.
    pub fn folder(&self) -> String {
        let direction = self.direction.map(|direction| format!("{direction}_layer"));
        let parts = [direction, self.cell.map(|_| "cell".to_owned())];
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    }
}

/// Gives the layers of a model, the input aside.
///
/// # Errors
///
/// [`NoLayers`] where Keras has none for its network.
pub(super) fn layers(model: &Model) -> Result<Vec<Layer<'_>>, NoLayers> {
    super::check(&model.card.network)?;
    let mut layers = Vec::new();
    match &model.card.network {
        Network::Lstm { units, dropout, bidirectional } => {
            recurrent(model, &LSTM, units, *dropout, *bidirectional, &mut layers);
        }
        Network::Gru { units, dropout, bidirectional } => {
            recurrent(model, &GRU, units, *dropout, *bidirectional, &mut layers);
        }
        Network::Mlp { units, dropout } => {
            layers.push(plain("Flatten", "flatten".to_owned(), json!({})));
            for (number, units) in units.iter().enumerate() {
                layers.push(dense(model, format!("dense_{number}"), *units, "relu"));
                layers.extend(drop(number, *dropout));
            }
        }
        Network::Dlinear { .. } | Network::Nlinear {} => unreachable!("`check` refuses them"),
    }
    layers.push(dense(model, "dense".to_owned(), model.card.sizes().outputs, "linear"));
    Ok(layers)
}

/// Gives the config of the whole stack; `of` writes one layer.
pub(super) fn sequential(
    model: &Model,
    layers: &[Layer<'_>],
    of: &dyn Fn(&Layer<'_>) -> Value,
) -> Value {
    let config = json!({ "name": "window", "batch_shape": input_shape(model), "dtype": "float32" });
    let input =
        Layer { class: "InputLayer", name: "window".to_owned(), config, weights: Vec::new() };
    let layers: Vec<Value> = std::iter::once(&input).chain(layers).map(of).collect();
    json!({
        "name": model_name(model),
        "layers": layers,
        "build_input_shape": input_shape(model),
    })
}

/// Writes a layer with the module in which Keras 3 looks for its class.
pub(super) fn in_full(layer: &Layer<'_>) -> Value {
    serialized(layer.class, &layer.config)
}

/// Gives the model's name: its network's kind, since a model file knows no stage.
pub(super) fn model_name(model: &Model) -> &'static str {
    match model.card.network {
        Network::Lstm { .. } => "lstm",
        Network::Gru { .. } => "gru",
        Network::Mlp { .. } => "mlp",
        Network::Dlinear { .. } => "dlinear",
        Network::Nlinear {} => "nlinear",
    }
}

/// Gives the shape of a batch of windows, whose size is open.
pub(super) fn input_shape(model: &Model) -> Value {
    let sizes = model.card.sizes();
    json!([null, sizes.window, sizes.inputs])
}

/// Gives a weight's path below its layer's group in an `.h5` file.
pub(super) fn legacy_path(model: &Model, layer: &Layer<'_>, weight: &Weight<'_>) -> String {
    let direction = weight.direction.map(|direction| format!("{direction}_{}", layer.name));
    let mut parts = vec![model_name(model), &layer.name];
    parts.extend(direction.as_deref());
    parts.extend(weight.cell);
    parts.push(&weight.role);
    parts.join("/")
}

/// Gives the groups that the layers have in a `.keras` file: their classes, numbered from the
/// second of a class on.
pub(super) fn folders(layers: &[Layer<'_>]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut folder = |layer: &Layer<'_>| {
        // No class here has more than one word, which Keras would part by `_`.
        let name = layer.class.to_lowercase();
        let number = seen.entry(layer.class).or_default();
        *number += 1;
        if *number == 1 { name } else { format!("{name}_{}", *number - 1) }
    };
    layers.iter().map(&mut folder).collect()
}

/// What tells one kind of recurrent layer from another.
struct Recurrent {
    class: &'static str,
    /// Its name in ours.
    name: &'static str,
    cell: &'static str,
}

const LSTM: Recurrent = Recurrent { class: "LSTM", name: "lstm", cell: "lstm_cell" };
const GRU: Recurrent = Recurrent { class: "GRU", name: "gru", cell: "gru_cell" };

fn recurrent<'a>(
    model: &'a Model,
    kind: &Recurrent,
    units: &[usize],
    dropout: f64,
    bidirectional: bool,
    layers: &mut Vec<Layer<'a>>,
) {
    for (number, &own) in units.iter().enumerate() {
        let name = format!("{}_{number}", kind.name);
        let is_last = number + 1 == units.len();
        let config = |name: &str, backward| config(kind, name, own, is_last, backward);
        let cell = Some(kind.cell);
        layers.push(if bidirectional {
            let way = |direction: &str, backward| {
                let name = format!("{direction}_{name}");
                serialized(kind.class, &config(&name, backward))
            };
            let config = json!({
                "name": name,
                "dtype": "float32",
                "merge_mode": "concat",
                "layer": way("forward", false),
                "backward_layer": way("backward", true),
            });
            let mut weights = weights(model, &name, Some("forward"), cell);
            weights.extend(self::weights(model, &name, Some("backward"), cell));
            Layer { class: "Bidirectional", name, config, weights }
        } else {
            let weights = weights(model, &name, None, cell);
            Layer { class: kind.class, config: config(&name, false), name, weights }
        });
        layers.extend(drop(number, dropout));
    }
}

fn config(kind: &Recurrent, name: &str, units: usize, is_last: bool, backward: bool) -> Value {
    let mut config = json!({
        "name": name,
        "dtype": "float32",
        "units": units,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": true,
        "return_sequences": !is_last,
        "go_backwards": backward,
    });
    if kind.class == GRU.class {
        config["reset_after"] = json!(true);
    }
    config
}

fn dense<'a>(model: &'a Model, name: String, units: usize, activation: &str) -> Layer<'a> {
    let config = json!({
        "name": name,
        "dtype": "float32",
        "units": units,
        "activation": activation,
        "use_bias": true,
    });
    let weights = weights(model, &name, None, None);
    Layer { class: "Dense", name, config, weights }
}

fn drop(number: usize, rate: f64) -> Option<Layer<'static>> {
    (rate > 0.0).then(|| plain("Dropout", format!("dropout_{number}"), json!({ "rate": rate })))
}

/// Makes a layer without weights.
fn plain(class: &'static str, name: String, mut config: Value) -> Layer<'static> {
    config["name"] = json!(name);
    config["dtype"] = json!("float32");
    Layer { class, name, config, weights: Vec::new() }
}

fn serialized(class: &str, config: &Value) -> Value {
    json!({
        "module": "keras.layers",
        "class_name": class,
        "config": config,
        "registered_name": null,
    })
}

/// Finds the parameters of a layer, or of one of its directions.
fn weights<'a>(
    model: &'a Model,
    layer: &str,
    direction: Option<&'static str>,
    cell: Option<&'static str>,
) -> Vec<Weight<'a>> {
    let direction_part = direction.map_or(String::new(), |direction| format!("{direction}."));
    let prefix = format!("{layer}.{direction_part}");
    let parameters = model.card.network.parameters(model.card.sizes()).into_iter();
    let own = parameters.filter_map(|parameter| {
        let role = parameter.name.strip_prefix(&prefix)?.to_owned();
        Some((role, parameter.shape, &model.weights[parameter.range]))
    });
    own.enumerate()
        .map(|(number, (role, shape, values))| Weight {
            direction,
            cell,
            role,
            number,
            shape,
            values,
        })
        .collect()
}
