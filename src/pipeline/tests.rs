use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::model::keras;

const LAMBDA: &str = include_str!("../../pipelines/lambda.yaml");

fn checked(text: &str, sets: &[&str]) -> Result<Loaded, Invalid> {
    let file = SourceFile { path: "p.yaml".into(), text: text.to_owned() };
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let settings = Settings { sets, vars: Vec::new() };
    check::check(&Arc::new(file), Path::new("."), &settings)
}

fn output(stage: &str, output: &str) -> Source {
    Source::Output { stage: stage.to_owned(), output: output.to_owned() }
}

#[test]
fn the_main_pipeline_is_what_its_file_says() {
    let Loaded { pipeline, warnings, .. } = checked(LAMBDA, &[]).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(pipeline.name, "lambda");
    assert_eq!(pipeline.vars["rows"], 20000);
    let names: Vec<&String> = pipeline.stages.keys().collect();
    assert_eq!(names, ["generate", "preprocess", "train", "tune", "evaluate"]);
    let train = &pipeline.stages["train"];
    let inputs: Vec<&String> = train.inputs.keys().collect();
    assert_eq!(inputs, ["data.train", "data.transform", "data.validation"]);
    let tune = &pipeline.stages["tune"];
    assert_eq!(tune.inputs, train.inputs);
    let outputs: Vec<&str> = tune.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(outputs[..6], ["model", "history", "metrics", "trials", "best", "importance"]);
    assert_eq!(outputs[6..], ["trials_plot", "importance_plot", "parallel_plot"]);
    let evaluate = &pipeline.stages["evaluate"];
    assert_eq!(evaluate.inputs["model"].from, output("tune", "model"));
    assert_eq!(evaluate.inputs["data.test"].from, output("preprocess", "test"));
    let export = &pipeline.stages["generate"].exports["data"];
    assert_eq!(export.file, Path::new("lambda_functions_sample_data.csv"));
    assert_eq!(export.conversion, Some(Conversion::Table(Format::Csv)));
    assert_eq!(tune.exports["model"].conversion, Some(Conversion::Model(keras::Format::Keras)));
    assert_eq!(&LAMBDA[tune.place.start..tune.place.end], "tune");
}

#[test]
fn a_param_remembers_its_variables_and_obeys_the_command_line() {
    let sets = ["rows=500", "train.params.epochs=3", "train.params.network.dropout=0.5"];
    let Loaded { pipeline, .. } = checked(LAMBDA, &sets).unwrap();
    let generate = &pipeline.stages["generate"];
    assert_eq!(generate.params.to_value()["rows"], 500);
    assert_eq!(generate.variables["rows"], ["rows"]);
    assert_eq!(pipeline.stages["tune"].variables["sampler.seed"], ["seed"]);
    assert_eq!(pipeline.vars["rows"], 500);
    let train = pipeline.stages["train"].params.to_value();
    assert_eq!(train["epochs"], 3);
    assert_eq!(train["network"]["dropout"], 0.5);
}

#[test]
fn a_format_is_kept_only_where_it_differs() {
    let text = "stages:
  g: { kind: generate, params: { dataset: lambda, rows: 10 } }
  c:
    kind: command
    inputs: { a: { from: g.data, as: csv }, b: { from: g.data, as: parquet }, c: g.truth }
    params: { run: [ls], outputs: { t: t.csv } }
    export: { t: t.parquet }
";
    let Loaded { pipeline, .. } = checked(text, &[]).unwrap();
    let stage = &pipeline.stages["c"];
    assert_eq!(stage.inputs["a"].format, Some(Format::Csv));
    assert_eq!(stage.inputs["b"].format, None);
    assert_eq!(stage.inputs["c"].format, None);
    assert_eq!(stage.exports["t"].conversion, Some(Conversion::Table(Format::Parquet)));
}

/// Everything of the language that the main pipeline does not use.
const WHOLE: &str = "\
vars: [{ on: true, net: { units: [8, 16] } }, { seeds: [1, 2] }]
defaults: { command: { tags: [x], params: { with: { lr: 0.1, net: \"${net}\" } } } }
stages:
  fit:
    kind: command
    matrix: { seed: \"${seeds}\", net: [{ units: 8 }, [1, 2], a/b], exclude: [{ seed: 2, net: a/b }], include: [{ seed: 9 }] }
    when: \"${on}\"
    params: { run: \"echo ${with.lr} ${matrix.seed} > ${outputs.o}\", outputs: { o: o.txt } }
    export: { o: \"o-${matrix.seed}-x.csv\" }
  each:
    kind: command
    matrix: { seed: [1, 2] }
    inputs: { x: fit.o, y: \"fit[seed=9].o\", z: { glob: \"src/**/*.rs\" }, d: { file: src } }
    needs: [fit]
    params: { run: [cat, \"${inputs.x}\", \"${inputs.z}\"] }
  all:
    kind: command
    inputs: { x: fit }
    params: { run: \"cat ${inputs.x} ${inputs.x.table}\" }
  tuned:
    kind: tune
    matrix: { seed: [1] }
    params: { stage: each, search: { with.lr: { float: [0.1, 1.0] } }, objective: { minimize: loss }, trials: 3 }
";

#[test]
fn the_whole_language_is_read() {
    let text =
        WHOLE.replace("-x.csv", "-${matrix.net}.txt").replace(", include: [{ seed: 9 }]", "");
    let text = text.replace("seed=9", "seed=1,net=x33cefba1a8");
    let Err(Invalid { errors, .. }) = checked(&text, &[]) else {
        panic!("a digest is not guessed")
    };
    let help = errors[0].help.as_deref().unwrap();
    let odd = help.split('`').find(|name| name.contains("net=x")).unwrap();
    let text = text.replace("fit[seed=1,net=x33cefba1a8]", odd);
    let Loaded { pipeline, .. } = checked(&text, &[]).unwrap();
    let names: Vec<&str> = pipeline.stages.keys().map(String::as_str).collect();
    assert_eq!(names.len(), 5 + 2 + 1 + 1, "{names:?}");
    assert!(names.contains(&"fit[seed=2,net=1+2]"), "{names:?}");
    let tuned = &pipeline.stages["tuned[seed=1]"];
    assert_eq!(tuned.params.to_value()["stage"], "each[seed=1]");
    let each = &pipeline.stages["each[seed=2]"];
    let inputs: Vec<&str> = each.inputs.keys().map(String::as_str).collect();
    assert_eq!(inputs.len(), 1 + 2 + 3, "{inputs:?}");
    assert!(matches!(each.inputs["x.table"].from, Source::Table(_)));
    assert!(matches!(each.inputs["d"].from, Source::Folder(_)));
    let off = checked(&text, &["on=false"]).unwrap_err();
    assert!(off.errors.iter().all(|error| error.message.contains("`when` leaves out")), "{off:?}");
}

/// Words that mean something in a pipeline file or in YAML.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    LAMBDA
        .split([' ', '\n'])
        .chain([
            "",
            "&a",
            "*a",
            "<<: *a",
            "${rows}",
            "$${",
            "${",
            "tune",
            "tune.best",
            "kind",
            "\t",
        ])
        .chain([
            "matrix:",
            "exclude:",
            "include:",
            "[tests]",
            "when:",
            "false",
            "glob:",
            "${matrix.x}",
        ])
        .chain(["defaults:", "fit[seed=1]", "fit", "vars:", "[[1]]", "{ a: [1, 2] }", "each[", "]"])
        .chain(["null", "-1", "1e400", "99999999999999999999", "[]", "{}", "'", "\"", "ü", "---"])
        .chain(["file: x", "as: csv", "needs: [tune]", "command", "run: ls", "\n", "\n  ", ":"])
        .collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_change_to_a_file_makes_the_checks_panic(
        changes in prop::collection::vec((any::<Index>(), 0..8_usize, any::<Index>()), 1..6),
        set in "[a-z.=\\[{$]{0,12}",
        whole in any::<bool>(),
    ) {
        let text = if whole { WHOLE } else { LAMBDA };
        let mut pieces: Vec<&str> = text.split_inclusive([' ', '\n', ',']).collect();
        for (at, removed, word) in &changes {
            let at = at.index(pieces.len());
            let end = (at + removed).min(pieces.len());
            pieces.splice(at..end, [*word.get(&WORDS), " "]);
        }
        let text = pieces.concat();
        let sets: &[&str] = if set.is_empty() { &[] } else { &[&set] };
        match checked(&text, sets) {
            Ok(loaded) => prop_assert!(!loaded.pipeline.stages.is_empty()),
            Err(invalid) => {
                prop_assert!(!invalid.errors.is_empty(), "no error for\n{text}");
                for diagnostic in invalid.errors.iter().chain(&invalid.warnings) {
                    let drawn = diagnostic.render(Look { colour: false, unicode: true });
                    prop_assert!(drawn.contains("─["), "no place in\n{drawn}");
                    let error = diagnostic.severity == Severity::Error;
                    prop_assert!(!error || diagnostic.help.is_some(), "no help in\n{drawn}");
                }
            }
        }
    }
}
