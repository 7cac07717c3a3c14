use super::super::diagnostic::Place;
use super::super::schema::schemas;
use super::super::tree;
use super::Walk;
use crate::stage::{Params, StageKind};

/// Checks params, and gives each message with the text that it points at.
fn said(kind: StageKind, params: &str) -> Vec<String> {
    let (node, _) = tree::parse(params, 0, 0).unwrap();
    let schemas = schemas();
    let mut walk =
        Walk { schemas, subject: "stage `s`".to_owned(), partial: false, problems: Vec::new() };
    walk.params(&node, Place::new(0, 0, 0), schemas.of(kind));
    if walk.problems.is_empty() {
        Params::from_value(kind, node.to_value()).expect("what the walk accepts fits the type");
    }
    let shown = walk.problems.into_iter().map(|problem| {
        let place = problem.labels[0].0;
        format!("{} @ {}", problem.message, &params[place.start..place.end])
    });
    shown.collect()
}

#[test]
fn what_fits_is_accepted() {
    let train = "{ target: R, network: { kind: lstm, units: [1, 4096], dropout: 0 }, loss: huber, \
                 early_stopping: null, gradient_clip: 1, features: [a, b] }";
    assert_eq!(said(StageKind::Train, train), [""; 0]);
    let tune = "{ stage: s, trials: 1, objective: { maximize: x }, sampler: { kind: grid }, search: \
                { a.b: { choice: [[1], x, { y: null }] }, c: { int: [-9223372036854775808, 0], \
                when: { a.b: [x] } } } }";
    assert_eq!(said(StageKind::Tune, tune), [""; 0]);
    assert_eq!(said(StageKind::Command, "{ run: ls, with: { any: [thing] } }"), [""; 0]);
    assert_eq!(said(StageKind::Command, "{ run: [ls, -l] }"), [""; 0]);
}

#[test]
fn integers_keep_to_the_bounds_of_their_type() {
    let search = |int: &str| {
        let tune = "stage: s, trials: 1, objective: { maximize: x }";
        said(StageKind::Tune, &format!("{{ {tune}, search: {{ a: {{ int: {int} }} }} }}"))
    };
    assert_eq!(search("[0, 9223372036854775807]"), [""; 0]);
    assert_eq!(
        search("[0, 9223372036854775808]"),
        ["`search.a.int.1` of stage `s` must be a whole number from -9223372036854775808 to \
          9223372036854775807, not `9223372036854775808` @ 9223372036854775808"]
    );
    assert_eq!(
        search("[0]"),
        [
            "`search.a.int` of stage `s` must be a list of 2 items, each a whole number, not of 1 @ [0]"
        ]
    );
}

#[test]
fn a_value_that_could_be_several_things_is_told_all_of_them() {
    assert_eq!(
        said(StageKind::Command, "{ run: { a: 1 } }"),
        [
            "`run` of stage `s` must be a text or a list of at least 1, each a text, not a map @ { a: 1 }"
        ]
    );
    assert_eq!(
        said(StageKind::Command, "{ run: [] }"),
        ["`run` of stage `s` must be a list of at least 1, each a text, not of 0 @ []"]
    );
    assert_eq!(
        said(StageKind::Command, "{ run: [1, two] }"),
        ["`run.0` of stage `s` must be a text, not `1` @ 1"]
    );
}

#[test]
fn maps_that_are_told_apart_by_their_one_key() {
    let objective = |text: &str| {
        let tune = "stage: s, trials: 1, search: { a: { int: [1, 2] } }";
        said(StageKind::Tune, &format!("{{ {tune}, objective: {text} }}"))
    };
    assert_eq!(
        objective("{ minimize: a, maximize: b }"),
        [
            "`objective` of stage `s` must be a map with one key, one of `minimize`, `maximize`, not a \
          map @ { minimize: a, maximize: b }"
        ]
    );
    assert_eq!(
        objective("{ minimise: a }"),
        ["`objective` of stage `s` has no field `minimise` @ minimise"]
    );
    assert_eq!(
        objective("{ minimize: 1 }"),
        ["`objective.minimize` of stage `s` must be a text, not `1` @ 1"]
    );
}
