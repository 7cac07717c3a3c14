//! Pipeline files by a grammar, then changed: each is loaded, and where it loads planned and judged.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use runner::freshness;
use runner::history::History;
use runner::pipeline::{self, Look, Settings};
use runner::plan::Plan;
use runner::store::Store;

use super::Input;
use super::mutate::Draw;

/// Files that are hard to take in, none of which is a pipeline; what is found comes to them.
pub fn hard() -> Vec<String> {
    let command = "stages: { s: { kind: command, params: { run: ls } } }\n";
    let bomb = (1..40).fold("vars:\n  a0: &a0 [x, x]\n".to_owned(), |text, level| {
        let below = format!("*a{}", level - 1);
        text + &format!("  a{level}: &a{level} [{below}, {below}, {below}]\n")
    });
    vec![
        "[".repeat(100_000),
        "{ a: ".repeat(100_000),
        "- ".repeat(100_000),
        (0..3_000).fold(String::new(), |text, level| text + &" ".repeat(level) + "a:\n"),
        bomb + command,
        format!("include: [p.yaml]\n{command}"),
        format!("vars: {{ a: \"${{b}}\", b: \"${{a}}\" }}\n{command}"),
        "stages: { s: { kind: command, matrix: { x: &x [1, *x] }, params: { run: ls } } }"
            .to_owned(),
        format!("{}\u{feff}\0", command.repeat(2)),
        command.replace("run: ls", "run: \"${with.x}\", with: { x: \"${with.x}\" }"),
    ]
}

/// Pipelines that the project shows.
const SHOWN: [&str; 4] = [
    include_str!("../../pipelines/lambda.yaml"),
    include_str!("../../pipelines/lambda-tune.yaml"),
    include_str!("../../pipelines/etth1.yaml"),
    include_str!("../../pipelines/python.yaml"),
];

/// The folder from which paths start: deep, that a path that leads out of it soon finds nothing.
const ROOT: &str = "a/b/c/d";

/// Files that lie beside the pipeline, by name.
type Others = BTreeMap<&'static str, Vec<u8>>;

/// Draws a pipeline, with what it may include and what the command line sets.
pub fn target(draw: &mut Draw, folder: &Path) -> Input {
    let mut bytes = match draw.below(10) {
        0 => draw.one(&SHOWN).as_bytes().to_vec(),
        1 => nest(draw).into_bytes(),
        _ => pipeline(draw).into_bytes(),
    };
    if draw.chance(50) {
        draw.mutate(&mut bytes);
    }
    let mut others = Others::new();
    for name in ["one.yaml", "two.yaml"] {
        if draw.chance(80) {
            let mut text = pipeline(draw).replacen("name: ", "description: ", 1).into_bytes();
            if draw.chance(30) {
                draw.mutate(&mut text);
            }
            others.insert(name, text);
        }
    }
    if draw.chance(80) {
        others.insert("vars.yaml", variables(draw).into_bytes());
    }
    let mut sets = Vec::new();
    while draw.chance(20) {
        let name =
            draw.one(&["a", "b", "c", "s0.params.rows", "s1.params.with.x", "s0.kind", "", "."]);
        let mut set = format!("{name}={}", value(draw, 2, WILD)).into_bytes();
        if draw.chance(30) {
            draw.mutate(&mut set);
        }
        sets.push(String::from_utf8_lossy(&set).into_owned());
    }
    let folder = folder.to_owned();
    let given = bytes.clone();
    let read = Box::new(move || read(&folder, &given, &others, &sets));
    let reader = "pipeline::load, Plan::new, freshness::of_plan";
    Input { reader, bytes, read }
}

/// Loads a pipeline; where it has no mistake, plans it and judges its stages.
pub fn read(folder: &Path, bytes: &[u8], others: &Others, sets: &[String]) -> bool {
    let root = folder.join(ROOT);
    fs::create_dir_all(root.join("data")).expect("a folder can be made");
    fs::write(root.join("data/x.csv"), "x,y\n1,2\n").expect("a file can be written");
    for name in ["one.yaml", "two.yaml", "vars.yaml"] {
        match others.get(name) {
            Some(text) => fs::write(root.join(name), text).expect("a file can be written"),
            None => drop(fs::remove_file(root.join(name))),
        }
    }
    let path = root.join("p.yaml");
    fs::write(&path, bytes).expect("a file can be written");
    let vars =
        if others.contains_key("vars.yaml") { vec![root.join("vars.yaml")] } else { Vec::new() };
    let settings = Settings { sets: sets.to_vec(), vars };
    let look = Look { colour: false, unicode: true };
    let loaded = match pipeline::load(&path, &root, &settings, None) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            assert!(!invalid.errors.is_empty(), "it is refused without a reason");
            for diagnostic in invalid.errors.iter().chain(&invalid.warnings) {
                assert!(!diagnostic.render(look).is_empty());
            }
            return false;
        }
    };
    let pipeline = Arc::new(loaded.pipeline);
    let plan = Plan::new(&pipeline, &[]).expect("all stages can be wanted");
    let store = Store::open(&root.join(".runner")).expect("there is no store");
    let history = History::look(&root.join(".runner/history.sqlite"));
    // A file that it reads may be absent; then it says which.
    if let Ok(judged) = freshness::of_plan(&plan, &root, &store, &history) {
        assert_eq!(judged.len(), plan.order.len());
    }
    true
}

/// Writes what is hard to take in: deep, wide or full of aliases.
fn nest(draw: &mut Draw) -> String {
    let depth = 1 + draw.below(300);
    match draw.below(5) {
        0 => format!("stages: {}{}", "[".repeat(depth), "]".repeat(depth)),
        1 => format!("vars: {}1{}", "{ a: ".repeat(depth), " }".repeat(depth)),
        2 => (0..depth).fold(String::new(), |text, level| text + &" ".repeat(level) + "a:\n"),
        3 => {
            let width = 1 + draw.below(12);
            let mut text = "vars:\n  a0: &a0 [x]\n".to_owned();
            for level in 1..1 + draw.below(12) {
                let aliases = vec![format!("*a{}", level - 1); width].join(", ");
                // Writing to a string cannot fail.
                let _ = writeln!(text, "  a{level}: &a{level} [{aliases}]");
            }
            text + "stages: { s: { kind: command, params: { run: ls } } }\n"
        }
        _ => {
            let mut text = "vars:\n".to_owned();
            let count = 1 + draw.below(60);
            for at in 0..count {
                let next = draw.below(count);
                let _ = writeln!(text, "  v{at}: \"${{v{next}}}${{v{}}}\"", (at + 1) % (count + 1));
            }
            text + "stages: { s: { kind: command, params: { run: \"echo ${v0}\" } } }\n"
        }
    }
}

fn variables(draw: &mut Draw) -> String {
    let mut text = String::new();
    for name in ["a", "b", "c"] {
        if draw.chance(70) {
            let _ = writeln!(text, "{name}: {}", value(draw, 2, &[]));
        }
    }
    text
}

/// Names that may stand in a value: in a wild one, some that stand nowhere or lead in a circle.
const WILD: &[&str] = &["a", "b", "c", "matrix.x", "matrix.y", "d.e"];

/// Writes a value in YAML's flow style, with variables of those names.
fn value(draw: &mut Draw, depth: usize, names: &[&str]) -> String {
    let is_wild = names == WILD;
    match draw.below(if depth == 0 { 8 } else { 11 }) {
        0 | 1 => draw.below(5).to_string(),
        2 => draw
            .one(&["true", "false", "null", "''", "x", "ü", "日本", "1.5", "-1", "1e9"])
            .to_owned(),
        3 if is_wild => {
            draw.one(&["&k 1", "*k", "!!str 1", ".inf", "18446744073709551615"]).to_owned()
        }
        4 => draw.one(&["[1, 2, 3]", "{ lr: 0.1 }", "[a, b]", "&k [x]"]).to_owned(),
        5..=7 if names.is_empty() => "7".to_owned(),
        5 | 6 => format!("\"${{{}}}\"", draw.one(names)),
        7 => format!("\"p-${{{}}}-${{{}}}\"", draw.one(names), draw.one(names)),
        8 | 9 => {
            let all: Vec<String> =
                (0..draw.below(4)).map(|_| value(draw, depth - 1, names)).collect();
            format!("[{}]", all.join(", "))
        }
        _ => {
            let all = ["k", "x", "seed"][..draw.below(4)]
                .iter()
                .map(|name| format!("{name}: {}", value(draw, depth.saturating_sub(1), names)));
            format!("{{ {} }}", all.collect::<Vec<_>>().join(", "))
        }
    }
}

fn pipeline(draw: &mut Draw) -> String {
    let mut text = "name: p\n".to_owned();
    let is_wild = draw.chance(25);
    if draw.chance(20) {
        let files = if is_wild { "[p.yaml, none.yaml]" } else { "[one.yaml, two.yaml]" };
        let _ = writeln!(text, "include: {files}");
    }
    let names: [&[&str]; 3] = if is_wild { [WILD; 3] } else { [&[], &["a"], &["a", "b"]] };
    let [a, b, c] = names.map(|names| value(draw, 2, names));
    let _ = match draw.below(4) {
        0 => writeln!(text, "vars: [vars.yaml, {{ a: {a}, b: {b}, c: {c} }}]"),
        _ => writeln!(text, "vars: {{ a: {a}, b: {b}, c: {c} }}"),
    };
    if draw.chance(20) {
        let x = value(draw, 1, &["a"]);
        let _ = writeln!(
            text,
            "defaults: {{ command: {{ tags: [t], params: {{ with: {{ x: {x} }} }} }} }}"
        );
    }
    text += "stages:\n";
    let count = 1 + draw.below(5);
    for number in 0..count {
        let _ = writeln!(text, "  s{number}:");
        stage(draw, &mut text, number, count);
    }
    text
}

/// Writes a stage, which mostly reads those before it.
fn stage(draw: &mut Draw, text: &mut String, number: usize, count: usize) {
    let other = if draw.chance(90) { draw.below(number.max(1)) } else { draw.below(count) };
    if draw.chance(30) {
        let (x, y) = (value(draw, 1, &["a"]), value(draw, 1, &["b"]));
        let matrix = [
            format!("{{ x: [1, 2], y: [{y}] }}"),
            "{ x: [1, 2], y: [a, b], exclude: [{ x: 1, y: a }], include: [{ x: 9 }] }".to_owned(),
            format!("{{ x: {x} }}"),
            "{ x: \"${a}\", y: \"${b}\" }".to_owned(),
            "{ x: [1, 2, 3, 4, 5, 6, 7, 8, 9], y: [1, 2, 3, 4, 5, 6, 7, 8, 9], z: [1, 2, 3] }"
                .to_owned(),
        ];
        let _ = writeln!(text, "    matrix: {}", matrix[draw.below(matrix.len())]);
    }
    for (field, values) in [
        ("when", &["true", "\"${a}\"", "false", "1"]),
        ("retries", &["3", "{ attempts: 2, backoff: 1s }", "-1", "{ attempts: 99999999999 }"]),
        ("timeout", &["10s", "1000000h", "0s", "\"${a}\""]),
        (
            "resources",
            &["{ cpus: 2 }", "{ memory: 1GiB, gpus: 1 }", "{ cpus: 0 }", "{ memory: 9e99 }"],
        ),
        ("priority", &["1", "-9223372036854775808", "9223372036854775808", "x"]),
        ("cache", &["false", "true", "null", "0"]),
        ("secrets", &["[TOKEN]", "[A, A]", "[]", "[\"${a}\"]"]),
        ("needs", &["[s0]", "[s1]", "s0", "[\"s0[x=1]\"]"]),
    ] {
        if draw.chance(4) {
            let _ = writeln!(text, "    {field}: {}", draw.one(values));
        }
    }
    match if number == 0 { draw.below(2) * 5 } else { draw.below(6) } {
        0 => {
            let rows = draw.one(&["100", "100", "250", "\"${a}\"", "0", "18446744073709551615"]);
            let _ = writeln!(text, "    kind: generate");
            let _ = writeln!(text, "    params: {{ dataset: lambda, rows: {rows} }}");
        }
        1 => {
            let _ = writeln!(text, "    kind: preprocess\n    inputs: {{ data: s0.data }}");
            let split = "{ by: time, train: 0.7, validation: 0.15, test: 0.15 }";
            let time = "{ column: x, unit: s }";
            let _ = writeln!(text, "    params: {{ time: {time}, scale: minmax, split: {split} }}");
        }
        2 => {
            let _ = writeln!(text, "    kind: train\n    inputs: {{ data: s{other} }}");
            let window = draw.one(&["8", "0", "4294967296"]);
            let units = draw.one(&["[4]", "[]", "\"${a}\"", "[18446744073709551615]"]);
            let network = format!("{{ kind: lstm, units: {units} }}");
            let params =
                format!("{{ target: y, window: {window}, network: {network}, epochs: 2 }}");
            let _ = writeln!(text, "    params: {params}");
        }
        3 => tune(draw, text, other),
        _ => command(draw, text, other, number == 0),
    }
}

fn tune(draw: &mut Draw, text: &mut String, base: usize) {
    let search = draw.one(&[
        "{ with.x: { int: [1, 9] } }",
        "{ with.x: { choice: [1, [2], { a: 3 }] } }",
        "{ with.x: { float: [1, 0] }, with.k: { log_float: [0, 1] } }",
        "{ with.k: { int: [-9223372036854775808, 9223372036854775807] } }",
    ]);
    let sampler = draw.one(&["random", "tpe", "grid", "cmaes", "sobol"]);
    let trials = draw.one(&["3", "100", "0", "18446744073709551615"]);
    let _ = writeln!(text, "    kind: tune\n    params:\n      stage: s{base}");
    let _ = writeln!(text, "      search: {search}\n      trials: {trials}");
    let _ = writeln!(text, "      sampler: {{ kind: {sampler} }}");
    let _ = writeln!(text, "      objective: {{ minimize: loss }}");
}

fn command(draw: &mut Draw, text: &mut String, other: usize, is_first: bool) {
    let inputs = [
        "{ file: data/x.csv }".to_owned(),
        "{ glob: \"data/**/*.csv\" }".to_owned(),
        "{ file: data }".to_owned(),
        format!("s{other}.o"),
        format!("s{other}"),
        format!("\"s{other}[x=1].o\""),
    ];
    let run = match draw.below(10) {
        0 => "\"echo ${with.x} ${matrix.x} > ${outputs.o}\"",
        1..4 => "[cat, \"${a}\", \"${outputs.o}\"]",
        4 => "true",
        5 => ">-\n        echo a;\n        echo ${with.x} > ${outputs.o}",
        _ => {
            let input = &inputs[draw.below(if is_first { 3 } else { inputs.len() })];
            let _ = writeln!(text, "    inputs: {{ x: {input} }}");
            "\"cat ${inputs.x} > ${outputs.o}\""
        }
    };
    let x = value(draw, 1, &["a", "b", "c"]);
    let _ = writeln!(text, "    kind: command\n    params:\n      run: {run}");
    let _ = writeln!(text, "      with: {{ x: {x}, k: 1 }}\n      outputs: {{ o: o.txt }}");
    if draw.chance(10) {
        let file = draw.one(&["o.txt", "\"${matrix.x}.txt\"", "../o.txt", "o.csv"]);
        let _ = writeln!(text, "    export: {{ o: {file} }}");
    }
}
