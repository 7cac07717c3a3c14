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

/// Files that once did harm.
pub const FINDS: &[&str] = &[];

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
    if draw.chance(65) {
        draw.mutate(&mut bytes);
    }
    let mut others = Others::new();
    for name in ["one.yaml", "two.yaml"] {
        if draw.chance(30) {
            let mut text = pipeline(draw).replacen("name: ", "description: ", 1).into_bytes();
            if draw.chance(30) {
                draw.mutate(&mut text);
            }
            others.insert(name, text);
        }
    }
    if draw.chance(30) {
        others.insert("vars.yaml", variables(draw).into_bytes());
    }
    let mut sets = Vec::new();
    while draw.chance(20) {
        let name =
            draw.one(&["a", "b", "c", "s0.params.rows", "s1.params.with.x", "s0.kind", "", "."]);
        let mut set = format!("{name}={}", value(draw, 2)).into_bytes();
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
            let _ = writeln!(text, "{name}: {}", value(draw, 2));
        }
    }
    text
}

/// Writes a value in YAML's flow style.
fn value(draw: &mut Draw, depth: usize) -> String {
    match draw.below(if depth == 0 { 8 } else { 11 }) {
        0 => draw.below(5).to_string(),
        1 => draw.one(&["1.5", "-1", "1e9", "18446744073709551615", ".inf", "0.0"]).to_owned(),
        2 => draw.one(&["true", "false", "null", "''", "x", "ü", "日本"]).to_owned(),
        3..=5 => format!("\"${{{}}}\"", draw.one(&["a", "b", "c", "matrix.x", "matrix.y", "d.e"])),
        6 => format!("\"p-${{{}}}-${{{}}}\"", draw.one(&["a", "b"]), draw.one(&["matrix.x", "c"])),
        7 => draw.one(&["&k 1", "*k", "!!str 1", "[1, 2, 3]", "{ lr: 0.1 }"]).to_owned(),
        8 | 9 => {
            let all: Vec<String> = (0..draw.below(4)).map(|_| value(draw, depth - 1)).collect();
            format!("[{}]", all.join(", "))
        }
        _ => {
            let names = ["k", "x", "seed"];
            let all = names[..draw.below(4)]
                .iter()
                .map(|name| format!("{name}: {}", value(draw, depth - 1)));
            format!("{{ {} }}", all.collect::<Vec<_>>().join(", "))
        }
    }
}

fn pipeline(draw: &mut Draw) -> String {
    let mut text = String::new();
    if draw.chance(70) {
        text += "name: p\n";
    }
    if draw.chance(20) {
        let files =
            draw.one(&["one.yaml", "[one.yaml, two.yaml]", "p.yaml", "[none.yaml]", "two.yaml"]);
        let _ = writeln!(text, "include: {files}");
    }
    match draw.below(6) {
        0 => text += "vars: vars.yaml\n",
        1 => text += "vars: [vars.yaml, { a: 1 }]\n",
        2 => {}
        _ => {
            let [a, b, c] = [(); 3].map(|()| value(draw, 2));
            let _ = writeln!(text, "vars: {{ a: {a}, b: {b}, c: {c} }}");
        }
    }
    if draw.chance(20) {
        let _ = writeln!(
            text,
            "defaults: {{ command: {{ tags: [t], params: {{ with: {{ x: {} }} }} }} }}",
            value(draw, 1)
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
        let (x, y) = (value(draw, 1), value(draw, 1));
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
        if draw.chance(7) {
            let _ = writeln!(text, "    {field}: {}", draw.one(values));
        }
    }
    match draw.below(6) {
        0 => {
            let _ = writeln!(
                text,
                "    kind: generate\n    params: {{ dataset: lambda, rows: {} }}",
                draw.one(&["100", "\"${a}\"", "0", "18446744073709551615"])
            );
        }
        1 => {
            let _ = writeln!(
                text,
                "    kind: preprocess\n    inputs: {{ data: s{other}.data }}\n    params: {{ time: {{ column: x, unit: s }}, scale: minmax, split: {{ by: time, train: 0.7, validation: 0.15, test: 0.15 }} }}"
            );
        }
        2 => {
            let _ = writeln!(
                text,
                "    kind: train\n    inputs: {{ data: s{other} }}\n    params: {{ target: y, window: {}, network: {{ kind: lstm, units: {} }}, epochs: 2 }}",
                draw.one(&["8", "0", "4294967296"]),
                draw.one(&["[4]", "[]", "\"${a}\"", "[18446744073709551615]"])
            );
        }
        3 => {
            let search = [
                "{ with.x: { int: [1, 9] } }",
                "{ with.x: { choice: [1, [2], { a: 3 }] } }",
                "{ with.x: { float: [1, 0] }, with.k: { log_float: [0, 1] } }",
                "{ with: { int: [-9223372036854775808, 9223372036854775807] } }",
            ];
            let sampler = ["random", "tpe", "grid", "cmaes", "sobol"];
            let _ = writeln!(
                text,
                "    kind: tune\n    params: {{ stage: s{other}, search: {}, sampler: {{ kind: {}, seed: 1 }}, objective: {{ minimize: loss }}, trials: {} }}",
                draw.one(&search),
                draw.one(&sampler),
                draw.one(&["3", "0", "18446744073709551615"])
            );
        }
        _ => {
            let input = [
                format!("s{other}.o"),
                format!("s{other}"),
                "{ file: data/x.csv }".to_owned(),
                "{ glob: \"data/**/*.csv\" }".to_owned(),
                "{ file: data }".to_owned(),
                format!("\"s{other}[x=1].o\""),
            ];
            if draw.chance(60) {
                let _ = writeln!(text, "    inputs: {{ x: {} }}", input[draw.below(input.len())]);
            }
            let run = [
                "\"cat ${inputs.x} > ${outputs.o}\"",
                "[cat, \"${a}\"]",
                "\"echo ${with.x} ${matrix.x} > ${outputs.o}\"",
                "true",
                ">-\n        echo a;\n        echo ${with.x} > ${outputs.o}",
            ];
            let _ = writeln!(
                text,
                "    kind: command\n    params:\n      run: {}\n      with: {{ x: {}, k: 1 }}\n      outputs: {{ o: o.txt }}",
                draw.one(&run),
                value(draw, 1)
            );
            if draw.chance(20) {
                let _ = writeln!(
                    text,
                    "    export: {{ o: {} }}",
                    draw.one(&["o.txt", "\"${matrix.x}.txt\"", "../o.txt", "o.csv"])
                );
            }
        }
    }
}
