//! Bad pipeline files through the real binary: exit code 2, one message a mistake with its place,
//! the source line and a way out, and nothing left on disk.

mod common;

use common::{Output, Project};

/// Checks a file, and that checking it left nothing behind.
fn check(text: impl AsRef<[u8]>) -> Output {
    let project = Project::new().file("p.yaml", text);
    let before = project.files();
    let output = project.run(&["check", "p.yaml"]);
    assert_eq!(project.files(), before, "nothing may be left on disk");
    assert!(!project.path(".runner").exists() && !project.path("artifacts").exists());
    output
}

/// Checks that a file has exactly these mistakes: for each, the place, what the message says, the
/// source text that is underlined, and what the help says.
#[track_caller]
fn mistakes(text: &str, expected: &[(&str, &str, &str, &str)]) {
    let output = check(text).expect(2);
    assert_eq!(output.stdout, "");
    let messages: Vec<&str> = output.stderr.split("\n\n").collect();
    let (summary, messages) = messages.split_last().expect("a summary");
    assert_eq!(messages.len(), expected.len(), "\n{}", output.stderr);
    for (message, (place, says, underlined, help)) in messages.iter().zip(expected) {
        let head = message.lines().next().unwrap_or_default();
        assert!(head.starts_with("error: ") && head.contains(says), "{says:?} in\n{message}");
        assert!(message.contains(&format!("╭─[p.yaml:{place}]")), "{place} in\n{message}");
        let (line, column) = place.split_once(':').expect("line:column");
        let number: usize = line.parse().expect("a line");
        let source = text.lines().nth(number - 1).expect("the line exists");
        assert!(message.contains(&format!(" {line} │ {source}")), "the line in\n{message}");
        let column: usize = column.parse().expect("a column");
        assert!(source[column - 1..].starts_with(underlined), "{underlined:?} at {place}");
        assert!(message.contains("  help: ") && message.contains(help), "{help:?} in\n{message}");
    }
    let count = expected.len();
    let errors = if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
    assert!(summary.starts_with(&format!("p.yaml: {errors}")), "{summary}");
}

const GENERATE: &str = "  g:
    kind: generate
    params: { dataset: lambda, rows: 100 }
";

const TRAIN: &str = "  pre:
    kind: preprocess
    inputs: { data: g.data }
    params:
      time: { column: Timestamp }
      split: { by: time, train: 0.7, validation: 0.15, test: 0.15 }
  train:
    kind: train
    inputs: { data: pre }
    params: { target: ResponseTime, network: { kind: lstm, units: [8] } }
";

#[test]
fn a_good_file_is_said_to_be_good() {
    let output = check(format!("stages:\n{GENERATE}{TRAIN}")).expect(0);
    assert_eq!(output.stdout, "p.yaml: pipeline `p` with 3 stages, no mistakes\n");
    assert_eq!(output.stderr, "");
}

#[test]
fn a_message_looks_like_this() {
    let text = format!("stages:\n{GENERATE}{TRAIN}").replace("g.data", "gg.data");
    let output = check(text).expect(2);
    let expected = "\
error: stage `pre` reads `gg.data`, which no stage gives
   ╭─[p.yaml:7:21]
 7 │     inputs: { data: gg.data }
   ·                     ───────
  help: did you mean `g.data`?

p.yaml: 1 error; nothing was run
";
    assert_eq!(output.stderr, expected);
}

#[test]
fn a_cycle_is_named_whole_with_each_of_its_edges() {
    let stage = |name: &str, reads: &str| {
        format!(
            "  {name}:\n    kind: command\n    inputs: {{ x: {reads} }}\n    params: {{ run: [cp, \
             \"${{inputs.x}}\", \"${{outputs.out}}\"], outputs: {{ out: o.txt }} }}\n"
        )
    };
    let text =
        format!("stages:\n{}{}{}", stage("a", "c.out"), stage("b", "a.out"), stage("c", "b"));
    let cycle = "in a cycle: `a` -> `c` -> `b` -> `a`";
    mistakes(&text, &[("4:18", cycle, "c.out", "remove one")]);
    let output = check(&text);
    for edge in ["`a` reads `c`", "`b` reads `a`", "`c` reads `b`"] {
        assert!(output.stderr.contains(edge), "{}", output.stderr);
    }
}

#[test]
fn a_stage_that_reads_itself_and_a_tune_that_its_base_reads_are_cycles() {
    let own = "stages:\n  a:\n    kind: command\n    inputs: { x: a.o }\n    params: { run: [ls], outputs: { o: o.txt } }\n";
    mistakes(own, &[("4:18", "reads its own output `a.o`", "a.o", "outputs of others")]);
    let tune = "stages:
  base:
    kind: command
    inputs: { x: tune.best }
    params: { run: [ls], with: { lr: 1.0 } }
  tune:
    kind: tune
    params:
      stage: base
      search: { with.lr: { float: [0.1, 1.0] } }
      objective: { minimize: loss }
      trials: 3
";
    mistakes(tune, &[("4:18", "`base` -> `tune` -> `base`", "tune.best", "remove one")]);
}

#[test]
fn references_lead_somewhere() {
    let text = "stages:
  g:
    kind: generate
    params: { dataset: lambda, rows: 100 }
  pre:
    kind: preprocess
    inputs: { data: g, datta: g.data }
    needs: [h]
    params:
      time: { column: Timestamp }
      split: { by: time, train: 0.7, validation: 0.15, test: 0.15 }
  train:
    kind: train
    inputs: { data: pre.train }
    params: { target: R, network: { kind: lstm, units: [8] } }
  more:
    kind: train
    inputs: { data: { file: x.csv } }
    params: { target: R, network: { kind: lstm, units: [8] } }
  less:
    kind: train
    inputs: { data: g }
    params: { target: R, network: { kind: lstm, units: [8] } }
  none:
    kind: preprocess
    params:
      time: { column: Timestamp }
      split: { by: time, train: 0.7, validation: 0.15, test: 0.15 }
  show:
    kind: command
    inputs: { a: g.dat, b: { file: no.csv }, c: { file: ../x.csv }, d: { from: train.model, as: csv } }
    params: { run: [ls] }
";
    mistakes(
        text,
        &[
            ("7:21", "is one file, and stage `g` gives 2", "g", "name one: `g.data`, `g.truth`"),
            ("7:24", "has no input `datta`", "datta", "did you mean `data`?"),
            ("8:13", "needs `h`, which is no stage", "h", "stages: `g`"),
            ("14:21", "takes a whole stage, not one output", "pre.train", "write `pre`"),
            ("18:29", "takes a whole stage, not a file", "x.csv", "A `preprocess` stage"),
            ("22:21", "gives no `train`", "g", "A `preprocess` stage"),
            ("24:3", "lacks the input `data`", "none", "`data`: The table"),
            ("31:18", "reads `g.dat`, which no stage", "g.dat", "did you mean `g.data`?"),
            ("31:36", "`no.csv` of input `b` of stage `show` does not exist", "no.csv", "root"),
            ("31:57", "lies outside the root", "../x.csv", "absolute path"),
            ("31:97", "`model.safetensors`, which is no table", "csv", "`.csv` and `.parquet`"),
        ],
    );
}

#[test]
fn kinds_fields_and_params_are_known() {
    let text = "stages:
  g:
    kind: generat
  h:
    kind: generate
    tag: [a]
    rows: 100
    params: { dataset: lambda, rows: 100, sed: 3 }
  i:
    params: {}
pipelines: {}
";
    mistakes(
        text,
        &[
            ("3:11", "no kind `generat`", "generat", "did you mean `generate`?"),
            ("6:5", "stage `h` has no field `tag`", "tag", "did you mean `tags`?"),
            ("7:5", "stage `h` has no field `rows`", "rows", "under `params:`"),
            ("8:43", "stage `h` has no param `sed`", "sed", "did you mean `seed`?"),
            ("9:3", "stage `i` lacks a `kind`", "i", "kinds: `generate`"),
            ("11:1", "a pipeline has no field `pipelines`", "pipelines", "fields: `name`"),
        ],
    );
}

#[test]
fn values_have_their_types_and_ranges() {
    let text = "stages:
  g:
    kind: generate
    params: { dataset: lambda, rows: ten, functions: 0, interval: 1.5 }
  pre:
    kind: preprocess
    inputs: { data: g.data }
    params:
      time: { unit: s }
      scale: no
      drop: ColdStart
      split: { by: time, train: 0.7, validation: 1.15, test: 0.15 }
  train:
    kind: train
    inputs: { data: pre }
    params:
      target: 5
      target_history: yes
      network: { kind: lstm, units: [], dropout: \"0.1\" }
      optimizer: adam
      schedule: { kind: step, every: 2, factor: 0.5, patience: 3 }
      loss: [mse]
      gradient_clip:
";
    mistakes(
        text,
        &[
            ("4:38", "must be a whole number from 1 to", "ten", "`rows`: Rows in all"),
            ("4:54", "from 1 to 100000, not `0`", "0", "`functions`: How many"),
            ("4:67", "not `1.5`", "1.5", "Seconds between"),
            ("9:7", "`time` of stage `pre` lacks the field `column`", "time", "column's name"),
            ("10:14", "cannot be the text `no`", "no", "`none`"),
            ("11:13", "must be a list", "ColdStart", "write `[ColdStart]`"),
            ("12:50", "from 0 to 1, not `1.15`", "1.15", "The share that validates"),
            ("17:15", "`target` of stage `train` must be a text, not `5`", "5", "in quotes"),
            ("18:23", "must be `true` or `false`, not the text `yes`", "yes", "booleans"),
            ("19:37", "must be a list of at least 1", "[]", "`units`: The units"),
            ("19:50", "must be a number from 0 to 0.95", "\"0.1\"", "without quotes"),
            ("20:18", "must be a map with `kind`", "adam", "write `{ kind: adam }`"),
            ("21:54", "with `kind: step` has no field `patience`", "patience", "fields: "),
            ("22:13", "must be one of", "[mse]", "`loss`: What is"),
        ],
    );
}

#[test]
fn a_reader_gets_every_mistake_of_a_file_at_once() {
    let text = "vars: { rows: 5, unused: 1 }
stages:
  g:
    kind: generate
    params: { dataset: lambda, rows: \"${row}\", seed: -1 }
    export: { data: d.csv, truth: d.csv, dat: e.csv }
    export: { data: other.csv }
  t:
    kind: tune
    inputs: { data: g.data }
    params: { stage: g, search: {}, objective: { minimize: loss }, trials: 0 }
";
    mistakes_and_warnings(
        text,
        &[
            ("5:41", "no variable `row`"),
            ("5:54", "must be a whole number of at least 0, not `-1`"),
            ("6:35", "`d.csv` is exported twice"),
            ("6:42", "no output `dat`"),
            ("7:5", "the key `export` is given twice"),
            ("10:5", "reads the inputs of its base"),
            ("11:22", "cannot tune `g`, whose kind is `generate`"),
            ("11:25", "must not be empty"),
            ("11:76", "must be a whole number from 1 to 1000000, not `0`"),
        ],
        &["`rows` is never used", "`unused` is never used"],
    );
}

#[track_caller]
fn mistakes_and_warnings(text: &str, errors: &[(&str, &str)], warnings: &[&str]) {
    let output = check(text).expect(2);
    let heads = |word: &str| {
        let lines = output.stderr.lines().filter(|line| line.starts_with(word));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let said = heads("error: ");
    assert_eq!(said.len(), errors.len(), "\n{}", output.stderr);
    for (head, (place, says)) in said.iter().zip(errors) {
        assert!(head.contains(says), "{says:?} in {head:?}");
        assert!(output.stderr.contains(&format!("[p.yaml:{place}]")), "{place}");
    }
    let said = heads("warning: ");
    assert_eq!(said.len(), warnings.len(), "\n{}", output.stderr);
    for (head, says) in said.iter().zip(warnings) {
        assert!(head.contains(says), "{says:?} in {head:?}");
    }
}

#[test]
fn a_key_given_twice_is_shown_at_both_places() {
    let text = format!("name: a\nstages:\n{GENERATE}name: b\n");
    let output = check(text).expect(2);
    assert_eq!(
        output.stderr,
        "\
error: the key `name` is given twice
   ╭─[p.yaml:1:1]
 1 │ name: a
   · ──┬─
   ·   ╰── first given here
   ╭─[p.yaml:6:1]
 6 │ name: b
   · ────
  help: remove one of the two

p.yaml: 1 error; nothing was run
"
    );
}

#[test]
fn a_file_name_is_exported_once() {
    let text = format!(
        "stages:\n{GENERATE}    export: {{ data: a/out.csv, truth: ./a/out.csv }}\n  \
         a: {{ kind: command, params: {{ run: [ls], outputs: {{ x: x.txt }} }}, export: {{ x: y.csv }} }}\n"
    );
    mistakes(
        &text,
        &[
            ("5:21", "in the folder of stage `a`", "a/out.csv", "another name"),
            ("5:39", "in the folder of stage `a`", "./a/out.csv", "another name"),
            ("6:82", "cannot be written as `y.csv`", "y.csv", "known for `x` is `.txt`"),
        ],
    );
    let text = format!("stages:\n{GENERATE}    export: {{ data: out.csv, truth: ./out.csv }}\n");
    let output = check(text).expect(2);
    assert!(output.stderr.contains("the file `out.csv` is exported twice"), "{}", output.stderr);
    assert!(output.stderr.contains("also here"), "{}", output.stderr);
    let text = format!("stages:\n{GENERATE}{TRAIN}    export: {{ model: m.onnx }}\n");
    mistakes(
        &text,
        &[("15:22", "cannot be written as `m.onnx`", "m.onnx", "`.safetensors`, `.h5`")],
    );
}

#[test]
fn a_network_that_keras_does_not_have_is_not_exported_to_it() {
    let lstm = "{ kind: lstm, units: [8] }";
    let nlinear = TRAIN.replace(lstm, "{ kind: nlinear }");
    assert_ne!(nlinear, TRAIN);
    let tune = |search: &str| {
        format!(
            "  u:\n    kind: tune\n    params: {{ stage: train, objective: {{ minimize: validation_loss }}, \
             trials: 2, search: {{ {search} }} }}\n    export: {{ model: u.keras }}\n"
        )
    };
    let text = format!(
        "stages:\n{GENERATE}{nlinear}    export: {{ model: t.h5 }}\n{}",
        tune("window: { int: [2, 4] }")
    );
    let says = |name: &str| format!("cannot be written as `{name}`");
    mistakes(
        &text,
        &[
            ("15:22", &says("t.h5"), "t.h5", "no layers for the network `nlinear`"),
            ("19:22", &says("u.keras"), "u.keras", "train an `lstm`, `gru` or `mlp`"),
        ],
    );
    // Which network is best is not known before the trials.
    let choice = format!("network: {{ choice: [{lstm}, {{ kind: nlinear }}] }}");
    check(format!("stages:\n{GENERATE}{nlinear}{}", tune(&choice))).expect(0);
    // Only a training's file is known to be a model of ours.
    let text = "stages:\n  c:\n    kind: command\n    params: { run: [ls], outputs: { m: m.safetensors } }\n    \
                export: { m: m.keras }\n";
    mistakes(text, &[("5:18", "cannot be written as `m.keras`", "m.keras", "`.safetensors`")]);
}

#[test]
fn a_search_names_params_of_its_base() {
    let text = format!(
        "stages:\n{GENERATE}{TRAIN}  tune:
    kind: tune
    params:
      stage: train
      search:
        network.unitz: {{ choice: [[8], [16]] }}
        network.dropout: {{ float: [0.0, 7.0] }}
      objective: {{ minimize: validation_los }}
      trials: 3
"
    );
    let output = check(text).expect(2);
    for says in ["[p.yaml:20:9]", "`network.unitz`", "did you mean `network.units`?"] {
        assert!(output.stderr.contains(says), "{says:?} in\n{}", output.stderr);
    }
    assert!(output.stderr.contains("[p.yaml:22:30]"), "\n{}", output.stderr);
}

#[test]
fn several_objectives_and_repeats_are_checked_beside_the_base() {
    let text = |tail: &str| {
        format!(
            "stages:\n{GENERATE}{TRAIN}  tune:
    kind: tune
    params:
      stage: train
      search: {{ network.dropout: {{ float: [0.0, 0.5] }} }}
      trials: 3
{tail}"
        )
    };
    let objectives =
        "      objectives: [{ minimize: validation_loss }, { minimize: parameters }]\n";
    let cases: [(&str, &[&str]); 4] = [
        ("", &["[p.yaml:17:5]", "no `objective` says what is best"]),
        ("      pruner: { kind: median }\n", &["[p.yaml:22:7]", "cannot be pruned"]),
        ("      repeats: 2\n      repeat_by: sead\n", &["[p.yaml:23:18]", "no `sead`"]),
        (
            "      objective: { minimize: train_loss }\n",
            &["[p.yaml:21:19]", "put it in their list"],
        ),
    ];
    for (extra, says) in cases {
        let tail = if extra.is_empty() { String::new() } else { format!("{objectives}{extra}") };
        let output = check(text(&tail)).expect(2);
        for one in says {
            assert!(output.stderr.contains(one), "{one:?} in\n{}", output.stderr);
        }
    }
    check(text(&format!("{objectives}      repeats: 3\n"))).expect(0);
}

#[test]
fn what_is_no_yaml_is_said_with_its_place() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = format!("*a{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let output = check(bomb).expect(2);
    assert!(output.stderr.contains("the aliases expand to more than"), "{}", output.stderr);
    assert!(output.stderr.contains("╭─[p.yaml:"), "{}", output.stderr);

    let output = check("stages:\n  g: { kind: generate\n  h: 3\n").expect(2);
    assert!(output.stderr.contains("error: not valid YAML: "), "{}", output.stderr);
    assert!(output.stderr.contains("╭─[p.yaml:3:4]"), "{}", output.stderr);

    mistakes("a: 1\n---\nb: 2\n", &[("3:1", "second YAML document", "b: 2", "one file")]);
    mistakes("- a\n", &[("1:1", "must be a map, not a list", "- a", "`stages:`")]);
    mistakes("name: x\n", &[("1:1", "a pipeline needs `stages`", "name", "`stages:`")]);
    mistakes("stages: {}\n", &[("1:1", "at least one stage", "stages", "`stages:`")]);
}

#[test]
fn what_is_no_text_is_said() {
    for empty in ["", "\n\n", "# nothing\n"] {
        let output = check(empty).expect(2);
        assert!(output.stderr.starts_with("error: the file is empty\n"), "{}", output.stderr);
        assert!(output.stderr.contains("[p.yaml:1:1]"), "{}", output.stderr);
    }
    let output = check(b"stages:\n  \xff\x00\x01\n").expect(2);
    assert!(output.stderr.contains("the pipeline is no text: byte 0xff"), "{}", output.stderr);
    assert!(output.stderr.contains("╭─[p.yaml:2:3]"), "{}", output.stderr);
    let output = check(b"stages:\n  a\x00b\n").expect(2);
    assert!(output.stderr.contains("byte 0x00"), "{}", output.stderr);
    assert!(!output.stderr.contains('\0'), "no control character reaches the terminal");
}

#[test]
fn a_file_that_is_not_there_is_said_with_those_that_are() {
    let project = Project::new().file("pipelines/lambda.yaml", "x").file("folder/x.txt", "x");
    let output = project.run(&["check", "pipelines/lambada.yaml"]).expect(2);
    let says = "error: cannot read the pipeline `pipelines/lambada.yaml`: there is no such file\n  \
                help: did you mean `pipelines/lambda.yaml`?\n";
    assert!(output.stderr.starts_with(says), "{}", output.stderr);
    let output = project.run(&["check", "folder"]).expect(2);
    assert!(output.stderr.contains("`folder`: it is a folder"), "{}", output.stderr);
}

#[test]
fn an_unused_variable_is_a_warning_and_no_mistake() {
    let text = format!("vars: {{ rows: 100, idle: 1 }}\nstages:\n{GENERATE}")
        .replace("rows: 100 }", "rows: \"${rows}\" }");
    let output = check(text).expect(0);
    assert_eq!(
        output.stderr,
        "\
warning: the variable `idle` is never used
   ╭─[p.yaml:1:20]
 1 │ vars: { rows: 100, idle: 1 }
   ·                    ────
  help: use it as `${idle}`, or remove it
"
    );
    assert!(output.stdout.ends_with("no mistakes\n"));
}

#[test]
fn a_mistake_on_the_command_line_is_shown_there() {
    let text = format!("vars: {{ rows: 100 }}\nstages:\n{GENERATE}{TRAIN}")
        .replace("rows: 100 }\n  pre", "rows: \"${rows}\" }\n  pre");
    let project = Project::new().file("p.yaml", &text);
    let set = |set: &str| project.run(&["check", "p.yaml", "--set", set]);
    set("rows=5").expect(0);
    set("train.params.network.units=[4, 4]").expect(0);
    set("train.params.network.units.0=4").expect(0);
    set("train.params.early_stopping.patience=2").expect(0);
    for (words, place, says, help) in [
        ("rowz=5", "1:1", "no variable `rowz`", "did you mean `rows`?"),
        ("rows=many", "5:38", "must be a whole number", "rows"),
        ("trai.params.epochs=5", "1:1", "no stage `trai`", "did you mean `train`?"),
        ("train.params.epoch=5", "1:14", "has no param `epoch`", "did you mean `epochs`?"),
        ("train.params.epochs=five", "1:21", "must be a whole number", "Passes over"),
        ("train.params.network.units.5=4", "1:14", "no item `5`", "it has 1"),
        ("train.params.epochs=[", "1:21", "not valid YAML", "brackets"),
        ("train.epochs=5", "1:1", "neither a variable nor a param", "train.params.epochs"),
        ("epochs", "1:1", "needs a name and a value", "--set rows=1000"),
    ] {
        let output = set(words).expect(2);
        let file = if words == "rows=many" { "p.yaml" } else { "--set" };
        for part in [&format!("╭─[{file}:{place}]"), says, help] {
            assert!(output.stderr.contains(part), "{part:?} of {words:?} in\n{}", output.stderr);
        }
    }
}

#[test]
fn a_command_declares_what_it_names() {
    let project = Project::new().file("script.py", "").file("data.csv", "").file(
        "p.yaml",
        "stages:
  a:
    kind: command
    inputs: { data: { file: data.csv } }
    params:
      run: [python3, script.py, data.csv, \"${inputs.dat}\", \"${outputs.out}\", \"${with.lr}\", \"$${HOME}\"]
      outputs: { out: sub/out.txt }
      with: { rate: 0.1 }
      metrics: score
",
    );
    let output = project.run(&["check", "p.yaml"]).expect(2);
    for part in [
        "warning: stage `a`: the command names `script.py`, which is no input",
        "╭─[p.yaml:6:22]",
        "error: stage `a`: `${inputs.dat}` names an input that the stage does not have",
        "╭─[p.yaml:6:44]",
        "did you mean `data`?",
        "error: stage `a`: `${with.lr}` names a parameter that the stage does not have",
        "error: stage `a`: output `out` has `sub/out.txt`, which is no plain file name",
        "╭─[p.yaml:7:23]",
        "error: stage `a`: `metrics` names `score`, which is no output",
        "p.yaml: 4 errors and 1 warning; nothing was run",
    ] {
        assert!(output.stderr.contains(part), "{part:?} in\n{}", output.stderr);
    }
}

#[test]
fn colour_and_drawing_follow_the_environment() {
    let project = Project::new().file("p.yaml", "stages: {}\n");
    let stderr = |configure: &dyn Fn(&mut std::process::Command), words: &[&str]| {
        let mut command = project.command(words);
        configure(&mut command);
        Output::of(&mut command).expect(2).stderr
    };
    let plain = stderr(&|_| {}, &["check", "p.yaml"]);
    assert!(!plain.contains('\u{1b}') && plain.contains('╭'));
    let ascii = stderr(
        &|command| {
            command.env("LC_ALL", "C");
        },
        &["check", "p.yaml"],
    );
    assert!(ascii.is_ascii(), "{ascii}");
    let coloured = stderr(&|_| {}, &["check", "p.yaml", "--color", "always"]);
    assert!(coloured.contains('\u{1b}'));
}

#[test]
fn the_root_is_where_the_store_is() {
    let text = "stages:\n  a:\n    kind: command\n    inputs: { x: { file: data.csv } }\n    \
                params: { run: [cat, \"${inputs.x}\"] }\n";
    let project = Project::new().file("data.csv", "").file("deep/p.yaml", text);
    let check = || {
        let mut command = project.command(&["check", "p.yaml"]);
        Output::of(command.current_dir(project.path("deep")))
    };
    check().expect(2);
    std::fs::create_dir(project.path(".runner")).expect("a folder can be made");
    check().expect(0);
}
