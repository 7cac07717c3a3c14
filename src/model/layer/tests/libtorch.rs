//! Layers on libtorch: its own LSTM and the composed GRU.

use super::*;

fn autodiff(device: crate::model::Device) -> Device {
    device.open().unwrap().autodiff()
}

#[test]
fn the_three_agree() {
    let (cpu, libtorch) = (crate::model::Device::Cpu, crate::model::Device::Libtorch);
    for case in [Layer::Lstm, Layer::Gru].into_iter().flat_map(cases) {
        let run = |device, fused| {
            case.run_on(&autodiff(device), |layer, inputs| layer.pass(fused, inputs))
        };
        let (given, others) = (run(libtorch, true), [run(cpu, true), run(libtorch, false)]);
        for (index, given) in given.iter().enumerate() {
            let distances = others.each_ref().map(|other| distance(given, &other[index]));
            assert!(
                distances.iter().all(|distance| *distance < 1e-4),
                "result {index} of {case:?}: {distances:?}"
            );
        }
    }
}

#[test]
fn work_in_place_on_the_hidden_states_spares_the_tape() {
    let case = Case { layer: Layer::Lstm, steps: 4, batch: 3, inputs: 2, units: vec![5] };
    // burn takes the states' memory for the product, where nobody else holds it.
    let [given, kernel] =
        [crate::model::Device::Libtorch, crate::model::Device::Cpu].map(|device| {
            case.run_on(&autodiff(device), |layer, inputs| layer.pass(true, inputs) * 2.0)
        });
    for (given, kernel) in given.iter().zip(&kernel) {
        assert!(distance(given, kernel) < 1e-5);
    }
}
