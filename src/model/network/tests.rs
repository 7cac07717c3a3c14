use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::Device;
use rand::RngExt;

use super::*;

#[test]
fn recurrent_weights_are_orthogonal_and_the_forget_bias_is_one() {
    let network = Network::Lstm { units: vec![6], dropout: 0.0, bidirectional: false };
    let sizes = Sizes { window: 4, inputs: 3, outputs: 1 };
    let parameters = network.parameters(sizes);
    let values = network.initial(sizes, 7);
    assert_eq!(values.len(), 3 * 24 + 6 * 24 + 24 + 6 + 1);
    let recurrent = &values[parameters[1].range.clone()];
    for (i, left) in recurrent.chunks_exact(24).enumerate() {
        for (j, right) in recurrent.chunks_exact(24).enumerate() {
            let dot: f32 = left.iter().zip(right).map(|(l, r)| l * r).sum();
            assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-5, "{i} {j} {dot}");
        }
    }
    let bias = &values[parameters[2].range.clone()];
    assert_eq!(bias.iter().map(|value| *value as usize).sum::<usize>(), 6);
    assert_eq!(&bias[6..12], &[1.0; 6]);
    assert_ne!(values, network.initial(sizes, 8));
}

#[test]
fn biases_but_the_forget_gates_start_at_zero_and_kernels_do_not() {
    for network in networks() {
        let values = network.initial(SIZES, 3);
        for parameter in network.parameters(SIZES) {
            let values = &values[parameter.range];
            let (bias, lstm) =
                (parameter.name.ends_with("bias"), parameter.name.starts_with("lstm"));
            let zeros = values.iter().filter(|value| **value == 0.0).count();
            let expected = match (bias, lstm) {
                (true, true) => values.len() * 3 / 4,
                (true, false) => values.len(),
                (false, _) => 0,
            };
            assert_eq!(zeros, expected, "{} of {network:?}", parameter.name);
        }
    }
}

const SIZES: Sizes = Sizes { window: 4, inputs: 2, outputs: 3 };
const BATCH: usize = 2;

fn networks() -> Vec<Network> {
    let units = || vec![3, 2];
    let dropout = 0.0;
    vec![
        Network::Lstm { units: units(), dropout, bidirectional: false },
        Network::Lstm { units: units(), dropout, bidirectional: true },
        Network::Gru { units: units(), dropout, bidirectional: false },
        Network::Gru { units: units(), dropout, bidirectional: true },
        Network::Mlp { units: units(), dropout },
        Network::Dlinear { average: 3 },
        Network::Nlinear {},
    ]
}

fn draw(purpose: &str, count: usize) -> Vec<f64> {
    let mut generator = generator(5, purpose, &[]);
    // Numbers that an `f32` holds whole.
    (0..count).map(|_| f64::from(generator.random_range(-1.0_f32..1.0))).collect()
}

/// Parameters that a reference in `f64` takes one by one.
struct Reading<'a> {
    parameters: std::slice::Iter<'a, Parameter>,
    values: &'a [f64],
}

impl Reading<'_> {
    fn next(&mut self) -> &[f64] {
        let parameter = self.parameters.next().expect("there is another parameter");
        &self.values[parameter.range.clone()]
    }

    /// Gives `x` times a kernel plus its bias.
    fn dense(&mut self, x: &[f64]) -> Vec<f64> {
        let kernel = self.next().to_vec();
        let bias = self.next();
        let columns = bias.len();
        let column = |at: usize| {
            bias[at] + x.iter().enumerate().map(|(k, x)| x * kernel[k * columns + at]).sum::<f64>()
        };
        (0..columns).map(column).collect()
    }

    /// Gives the states of a recurrent layer over the steps of one window, as they are read.
    fn recurrent(&mut self, kind: &Network, units: usize, steps: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let [kernel, recurrent, bias] = [(); 3].map(|()| self.next().to_vec());
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (mut h, mut c) = (vec![0.0; units], vec![0.0; units]);
        let width = kernel.len() / steps[0].len();
        let mut states = Vec::new();
        for x in steps {
            let product = |row: &[f64], matrix: &[f64], column: usize| -> f64 {
                row.iter().enumerate().map(|(k, x)| x * matrix[k * width + column]).sum()
            };
            let before = h.clone();
            for unit in 0..units {
                let from_x = |gate: usize| product(x, &kernel, gate * units + unit);
                let from_h = |gate: usize| product(&before, &recurrent, gate * units + unit);
                let bias = |row: usize, gate: usize| bias[row * width + gate * units + unit];
                if let Network::Lstm { .. } = kind {
                    let z = |gate: usize| from_x(gate) + from_h(gate) + bias(0, gate);
                    c[unit] = sigmoid(z(1)) * c[unit] + sigmoid(z(0)) * z(2).tanh();
                    h[unit] = sigmoid(z(3)) * c[unit].tanh();
                } else {
                    let a = |gate: usize| from_x(gate) + bias(0, gate);
                    let b = |gate: usize| from_h(gate) + bias(1, gate);
                    let (z, r) = (sigmoid(a(0) + b(0)), sigmoid(a(1) + b(1)));
                    h[unit] = z * before[unit] + (1.0 - z) * (a(2) + r * b(2)).tanh();
                }
            }
            states.push(h.clone());
        }
        states
    }
}

/// Gives a network's outputs for one window, written from the definitions in `f64`.
fn reference(network: &Network, values: &[f64], window: &[Vec<f64>]) -> Vec<f64> {
    let parameters = network.parameters(SIZES);
    let mut reading = Reading { parameters: parameters.iter(), values };
    let flat = |steps: &[Vec<f64>]| steps.concat();
    match network {
        Network::Lstm { units, bidirectional, .. } | Network::Gru { units, bidirectional, .. } => {
            let mut steps = window.to_vec();
            let mut ended = Vec::new();
            for &units in units {
                let forward = reading.recurrent(network, units, &steps);
                ended = forward.last().expect("a step").clone();
                if *bidirectional {
                    steps.reverse();
                    let mut backward = reading.recurrent(network, units, &steps);
                    ended.extend_from_slice(backward.last().expect("a step"));
                    backward.reverse();
                    steps =
                        forward.into_iter().zip(backward).map(|(f, b)| [f, b].concat()).collect();
                } else {
                    steps = forward;
                }
            }
            reading.dense(&ended)
        }
        Network::Mlp { units, .. } => {
            let mut hidden = flat(window);
            for _ in units {
                hidden = reading.dense(&hidden).into_iter().map(|x| x.max(0.0)).collect();
            }
            reading.dense(&hidden)
        }
        Network::Dlinear { average } => {
            let last = window.len() as i64 - 1;
            let half = *average as i64 / 2;
            let mean = |step: i64, input: usize| {
                let rows = (step - half..=step + half).map(|row| row.clamp(0, last) as usize);
                rows.map(|row| window[row][input]).sum::<f64>() / *average as f64
            };
            let trend: Vec<Vec<f64>> = (0..=last)
                .map(|step| (0..SIZES.inputs).map(|input| mean(step, input)).collect())
                .collect();
            let (whole, trend) = (flat(window), flat(&trend));
            let rest: Vec<f64> = whole.iter().zip(&trend).map(|(x, mean)| x - mean).collect();
            let first = reading.dense(&trend);
            first.iter().zip(reading.dense(&rest)).map(|(a, b)| a + b).collect()
        }
        Network::Nlinear {} => {
            let mut steps = window.to_vec();
            let last = window[SIZES.window - 1][SIZES.inputs - 1];
            steps.iter_mut().for_each(|step| step[SIZES.inputs - 1] -= last);
            reading.dense(&flat(&steps)).into_iter().map(|output| output + last).collect()
        }
    }
}

/// Gives the outputs of the network itself and the gradient of their sum by `weights`.
fn given(network: &Network, values: &[f64], x: &[Vec<Vec<f64>>], weights: &[f64]) -> [Vec<f32>; 2] {
    let device = Device::flex().autodiff();
    let parameters = network.parameters(SIZES);
    let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
    let (lying, shape) = match network.layout() {
        Layout::WindowsFirst => (x.concat().concat(), [BATCH, SIZES.window, SIZES.inputs]),
        Layout::StepsFirst => {
            let step = |step: usize| x.iter().map(move |window| window[step].clone());
            let rows: Vec<Vec<f64>> = (0..SIZES.window).flat_map(step).collect();
            (rows.concat(), [SIZES.window, BATCH, SIZES.inputs])
        }
    };
    let x = Tensor::<3>::from_data(TensorData::new(narrow(&lying), shape), &device);
    let own = Weights::new(network, &parameters, &narrow(values), &device);
    let outputs = own.forward(x, None);
    assert_eq!(outputs.dims(), [BATCH, SIZES.outputs]);
    let weights = TensorData::new(narrow(weights), [BATCH, SIZES.outputs]);
    let loss = (outputs.clone() * Tensor::from_data(weights, &device)).sum();
    let mut flat = vec![f32::NAN; values.len()];
    own.take_gradients(&mut loss.backward(), &mut flat);
    [outputs.into_data().try_to_vec().unwrap(), flat]
}

#[test]
fn every_network_is_that_of_its_definition_and_so_are_its_gradients() {
    for network in networks() {
        let parameters = network.parameters(SIZES);
        let count = parameters.last().expect("a parameter").range.end;
        let mut values = draw("values", count);
        let numbers = draw("x", BATCH * SIZES.window * SIZES.inputs);
        let rows: Vec<Vec<f64>> = numbers.chunks(SIZES.inputs).map(<[f64]>::to_vec).collect();
        let x: Vec<Vec<Vec<f64>>> = rows.chunks(SIZES.window).map(<[Vec<f64>]>::to_vec).collect();
        let weights = draw("weights", BATCH * SIZES.outputs);
        let [outputs, gradient] = given(&network, &values, &x, &weights);
        let all = |values: &[f64]| -> Vec<f64> {
            x.iter().flat_map(|window| reference(&network, values, window)).collect()
        };
        let apart = |left: f32, right: f64| (f64::from(left) - right).abs();
        for (given, expected) in outputs.iter().zip(all(&values)) {
            assert!(apart(*given, expected) < 1e-5, "{network:?}: {given}, not {expected}");
        }
        let sum = |values: &[f64]| -> f64 {
            all(values).iter().zip(&weights).map(|(output, weight)| output * weight).sum()
        };
        for (place, given) in gradient.iter().enumerate() {
            let own = values[place];
            let mut moved = |by: f64| {
                values[place] = own + by;
                sum(&values)
            };
            let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            values[place] = own;
            let name = &parameters.iter().find(|one| one.range.contains(&place)).unwrap().name;
            let near = apart(*given, expected) < 2e-5 * expected.abs().max(1.0);
            assert!(near, "{name} of {network:?}: {given}, not {expected}");
        }
    }
}
