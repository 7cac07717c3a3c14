use std::io::Read;

use hdf5_pure::{AttrValue, File};

use super::*;
use crate::data::{Missing, TimeColumn, TimeUnit, Transform, Unseen};
use crate::model::Outputs;
use crate::model::file::Card;

/// A model of three inputs (two features and the target's past) and a window of five rows.
fn model(network: Network) -> Model {
    let features = vec!["cpu".to_owned(), "hour_sin".to_owned()];
    let transform = Transform {
        version: 1,
        series: None,
        time: TimeColumn { column: "at".to_owned(), unit: TimeUnit::S },
        features: features.clone(),
        numbers: Vec::new(),
        one_hot: Vec::new(),
        cyclical: Vec::new(),
        missing: Missing::Error,
        unseen: Unseen::Error,
    };
    let card = Card {
        format: 1,
        network,
        features,
        target: "time".to_owned(),
        window: 5,
        horizon: 2,
        outputs: Outputs::Path,
        quantiles: vec![0.1, 0.5, 0.9],
        target_history: true,
        across_splits: false,
        transform,
    };
    let weights = card.network.initial(card.sizes(), 7);
    Model { card, weights }
}

fn lstm(bidirectional: bool) -> Network {
    Network::Lstm { units: vec![4, 2], dropout: 0.1, bidirectional }
}

fn gru() -> Network {
    Network::Gru { units: vec![4, 2], dropout: 0.0, bidirectional: true }
}

fn mlp() -> Network {
    Network::Mlp { units: vec![4, 2], dropout: 0.1 }
}

/// Unpacks one file of a `.keras` archive.
fn unpacked(bytes: &[u8], name: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<_> = archive.file_names().map(Result::unwrap).collect();
    assert_eq!(names, ["metadata.json", "config.json", "model.weights.h5"]);
    let mut bytes = Vec::new();
    archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Checks that the file has each parameter at its path, in order, and with its shape.
fn holds(file: &File, model: &Model, paths: &[&str]) {
    let parameters = model.card.network.parameters(model.card.sizes());
    assert_eq!(parameters.len(), paths.len());
    for (parameter, path) in parameters.iter().zip(paths) {
        let dataset = file.dataset(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let shape: Vec<usize> = dataset.shape().unwrap().iter().map(|&n| n as usize).collect();
        assert_eq!(shape, parameter.shape, "{path}");
        assert_eq!(dataset.read_f32().unwrap(), model.weights[parameter.range.clone()], "{path}");
    }
}

fn text(value: &AttrValue) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn an_h5_file_names_its_layers_and_holds_their_weights() {
    let model = model(lstm(true));
    let file = File::from_bytes(to_bytes(&model, Format::H5).unwrap()).unwrap();
    let root = file.root().attrs().unwrap();
    assert_eq!(text(&root["keras_version"]), KERAS_VERSION);
    let config: Value = serde_json::from_str(text(&root["model_config"])).unwrap();
    let layers = config["config"]["layers"].as_array().unwrap();
    let names: Vec<&Value> = layers.iter().map(|layer| &layer["config"]["name"]).collect();
    assert_eq!(names, ["window", "lstm_0", "dropout_0", "lstm_1", "dropout_1", "dense"]);
    assert_eq!(layers[0]["config"]["batch_shape"], json!([null, 5, 3]));
    assert_eq!(layers[1]["config"]["backward_layer"]["config"]["go_backwards"], true);
    assert_eq!(layers[5]["config"]["units"], 6);
    let card: Card = serde_json::from_str(text(&root["runner"])).unwrap();
    assert_eq!(card, model.card);
    let weights = file.group("model_weights").unwrap().attrs().unwrap();
    let names = weights["layer_names"].as_strings().unwrap();
    assert_eq!(names, ["lstm_0", "dropout_0", "lstm_1", "dropout_1", "dense"]);
    let names = |layer: &str| {
        let attributes = file.group(&format!("model_weights/{layer}")).unwrap().attrs().unwrap();
        attributes["weight_names"].as_strings().map(<[String]>::to_vec)
    };
    assert_eq!(names("dropout_0"), None);
    let all = ["lstm_0", "lstm_1", "dense"].map(|layer| (layer, names(layer).unwrap()));
    assert_eq!(all[0].1[4], "lstm/lstm_0/backward_lstm_0/lstm_cell/recurrent_kernel");
    let paths = all.iter().flat_map(|(layer, names)| {
        names.iter().map(move |name| format!("model_weights/{layer}/{name}"))
    });
    let paths: Vec<String> = paths.collect();
    holds(&file, &model, &paths.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_keras_file_numbers_its_weights_by_the_class_of_their_layer() {
    let model = model(gru());
    let bytes = to_bytes(&model, Format::Keras).unwrap();
    let config: Value = serde_json::from_slice(&unpacked(&bytes, "config.json")).unwrap();
    let layer = &config["config"]["layers"][1]["config"]["layer"];
    assert_eq!(
        (&layer["class_name"], &layer["config"]["reset_after"]),
        (&json!("GRU"), &json!(true))
    );
    let metadata: Value = serde_json::from_slice(&unpacked(&bytes, "metadata.json")).unwrap();
    assert_eq!(metadata["runner"]["target"], "time");
    let file = File::from_bytes(unpacked(&bytes, "model.weights.h5")).unwrap();
    let directions = |folder: &str| {
        ["forward", "backward"].map(|way| {
            ["0", "1", "2"].map(|n| format!("layers/{folder}/{way}_layer/cell/vars/{n}"))
        })
    };
    let recurrent = [directions("bidirectional"), directions("bidirectional_1")];
    let mut paths: Vec<&str> = recurrent.iter().flatten().flatten().map(String::as_str).collect();
    paths.extend(["layers/dense/vars/0", "layers/dense/vars/1"]);
    holds(&file, &model, &paths);
    let name = file.group("layers/bidirectional_1/vars").unwrap().attrs().unwrap();
    assert_eq!(text(&name["name"]), "gru_1");
}

#[test]
fn a_dense_network_reads_the_window_flattened() {
    let model = model(mlp());
    let bytes = to_bytes(&model, Format::Keras).unwrap();
    let config: Value = serde_json::from_slice(&unpacked(&bytes, "config.json")).unwrap();
    let layers = config["config"]["layers"].as_array().unwrap();
    let classes: Vec<&Value> = layers.iter().map(|layer| &layer["class_name"]).collect();
    let expected = ["InputLayer", "Flatten", "Dense", "Dropout", "Dense", "Dropout", "Dense"];
    assert_eq!(classes, expected);
    let activations = [2, 4, 6].map(|layer: usize| &layers[layer]["config"]["activation"]);
    assert_eq!(activations, ["relu", "relu", "linear"]);
    let file = File::from_bytes(unpacked(&bytes, "model.weights.h5")).unwrap();
    let folders = ["dense", "dense_1", "dense_2"];
    let paths = folders.map(|folder| [0, 1].map(|n| format!("layers/{folder}/vars/{n}")));
    holds(&file, &model, &paths.iter().flatten().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn the_same_model_gives_the_same_bytes_and_another_gives_others() {
    for network in [lstm(false), lstm(true), gru(), mlp()] {
        let (mut one, other) = (model(network.clone()), model(network));
        for format in [Format::H5, Format::Keras] {
            let bytes = |model: &Model| to_bytes(model, format).unwrap();
            assert_eq!(bytes(&one), bytes(&other));
            let last = one.weights.len() - 1;
            one.weights[last] += 1.0;
            assert_ne!(bytes(&one), bytes(&other));
            one.weights[last] = other.weights[last];
        }
    }
}

#[test]
fn a_model_that_keras_cannot_have_or_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    model(Network::Nlinear {}).save(&path("linear.safetensors")).unwrap();
    let refused = |from: &str, format| {
        let error = convert(&path(from), &path("out"), format).unwrap_err();
        assert!(!path("out").exists());
        error.to_string()
    };
    let message = refused("linear.safetensors", Format::Keras);
    assert!(message.starts_with("Keras has no layers for the network `nlinear`: "), "{message}");
    fs::write(path("table.safetensors"), "a,b\n").unwrap();
    assert!(refused("table.safetensors", Format::H5).contains("not a whole safetensors file"));
}
