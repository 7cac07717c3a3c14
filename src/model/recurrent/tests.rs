use pulp::Arch;
use rand::RngExt;

use super::{Cell, Gradients, Keep, Passed, Shape, Weights, backward, forward_on};
use crate::model::gru::Gru;
use crate::model::lstm::Lstm;
use crate::model::team;
use crate::random::generator;

/// Gives hidden states and all gradients of a layer of drawn values.
fn run<C: Cell>(arch: Arch, shape: Shape) -> [Vec<f32>; 5] {
    let Shape { steps, batch, inputs, units } = shape;
    let width = C::INPUT.len() * units;
    let mut generator = generator(7, "layer", &[]);
    let mut draw = |count: usize| -> Vec<f32> {
        (0..count).map(|_| generator.random_range(-0.5..0.5)).collect()
    };
    let (x, above) = (draw(steps * batch * inputs), draw(steps * batch * units));
    let [input, recurrent, bias] = [inputs, units, C::BIASES].map(|rows| draw(rows * width));
    let weights = Weights { input: &input, recurrent: &recurrent, bias: &bias };
    let mut hidden = vec![f32::NAN; steps * batch * units];
    forward_on::<C>(arch, shape, &x, weights, &mut hidden, Keep::Nothing);
    let unkept = hidden.clone();
    let tape = forward_on::<C>(arch, shape, &x, weights, &mut hidden, Keep::Slots);
    assert_eq!(unkept, hidden);
    let [mut of_x, mut of_input, mut of_recurrent, mut of_bias] =
        [x.len(), input.len(), recurrent.len(), bias.len()].map(|length| vec![f32::NAN; length]);
    let gradients = Gradients {
        x: Some(&mut of_x),
        input: &mut of_input,
        recurrent: &mut of_recurrent,
        bias: &mut of_bias,
    };
    let passed = Passed { x: &x, weights, hidden: &hidden };
    backward::<C>(shape, passed, tape, &above, gradients);
    [hidden, of_x, of_input, of_recurrent, of_bias]
}

/// Shapes with work enough to be shared, sizes that divide nothing, and one of one step.
const SHAPES: [Shape; 4] = [
    Shape { steps: 7, batch: 31, inputs: 18, units: 67 },
    Shape { steps: 1, batch: 131, inputs: 37, units: 97 },
    Shape { steps: 23, batch: 5, inputs: 65, units: 81 },
    Shape { steps: 3, batch: 37, inputs: 1, units: 130 },
];

#[test]
fn the_number_of_threads_changes_no_bit() {
    for shape in SHAPES {
        for arch in arches() {
            let both = || (run::<Lstm>(arch, shape), run::<Gru>(arch, shape));
            let alone = both();
            for threads in [2, 3, 7] {
                let shared = team::with(threads, both);
                assert!(shared == alone, "{shape:?} by {arch:?} on {threads} threads");
            }
        }
    }
}

#[test]
fn instruction_sets_agree() {
    fn compare<C: Cell>(shape: Shape) {
        let reference = run::<C>(Arch::Scalar, shape);
        for arch in arches() {
            for (index, (one, other)) in run::<C>(arch, shape).iter().zip(&reference).enumerate() {
                let largest = other.iter().fold(1e-9, |most: f32, value| most.max(value.abs()));
                for (one, other) in one.iter().zip(other) {
                    let apart = (one - other).abs() / largest;
                    assert!(apart < 1e-5, "result {index} of {shape:?} by {arch:?}: {apart}");
                }
            }
        }
    }
    for shape in SHAPES {
        compare::<Lstm>(shape);
        compare::<Gru>(shape);
    }
}

/// Lists the instruction sets of this machine.
fn arches() -> Vec<Arch> {
    #[cfg(target_arch = "x86_64")]
    {
        let narrower = pulp::x86::V3::try_new().map(Arch::V3);
        narrower.into_iter().chain([Arch::new()]).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    vec![Arch::new()]
}
