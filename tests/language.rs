//! The language of pipeline files through the real binary: several files, defaults, stages that are
//! off, folders and patterns as inputs, and matrices.

mod common;

use std::fs;

use common::{Project, run};

/// Runs the binary with these words, which must find mistakes; gives all that it said of them.
#[track_caller]
fn mistakes(project: &Project, words: &[&str]) -> String {
    let output = project.run(words).expect(2);
    assert_eq!(output.stdout, "");
    assert!(!project.path(".runner").exists(), "nothing may be left on disk");
    output.stderr
}

/// A stage that writes a text to its output `out`.
fn echo(name: &str, text: &str) -> String {
    format!(
        "  {name}:\n    kind: command\n    params: {{ run: \"echo {text} > ${{outputs.out}}\", \
         outputs: {{ out: out.txt }} }}\n"
    )
}

#[test]
fn variables_come_from_files_and_the_last_wins() {
    let text = format!(
        "vars: [conf/params.yaml, {{ b: main }}]\nstages:\n{}",
        echo("say", "${a} ${b} ${train.epochs} ${c}")
    );
    let project = Project::new()
        .file("p.yaml", text)
        .file(
            "conf/params.yaml",
            "c: \"<${b}>\"\na: file\nb: file\ntrain: { epochs: 5 }\nunused: 1\n",
        )
        .file("more.yaml", "a: more\n");
    let said = |words: &[&str]| {
        let mut all = vec!["run", "p.yaml"];
        all.extend(words);
        let output = project.run(&all).expect(0);
        assert!(!output.stderr.contains("never used"), "{}", output.stderr);
        project.read("artifacts/p/say/out.txt")
    };
    // `<main>` is a redirection to the shell, so the text is quoted by nobody: it is read back as is.
    project.write(
        "p.yaml",
        project.read("p.yaml").replace("echo ${a}", "echo '${a}'").replace("${c}", "'${c}'"),
    );
    assert_eq!(said(&[]), "file main 5 <main>\n");
    assert_eq!(said(&["--vars", "more.yaml"]), "more main 5 <main>\n");
    assert_eq!(said(&["--vars", "more.yaml", "--set", "a=set", "--set", "b=x"]), "set x 5 <x>\n");
}

#[test]
fn a_mistake_in_a_file_of_variables_is_shown_there() {
    let project = Project::new()
        .file(
            "p.yaml",
            format!("vars: [a.yaml, b.yaml]\nstages:\n{}", echo("say", "${net.unit} ${rows}")),
        )
        .file("a.yaml", "rows: \"${row}\"\nnet: { units: 5 }\n")
        .file("b.yaml", "x: \"${y}\"\ny: \"${x}\"\n");
    assert_eq!(
        mistakes(&project, &["check", "p.yaml"]),
        "\
error: the variable `net` has no `unit`: there is a map
   ╭─[p.yaml:5:28]
 5 │     params: { run: \"echo ${net.unit} ${rows} > ${outputs.out}\", outputs: { out: out.txt } }
   ·                            ────────
  help: did you mean `units`?

error: there is no variable `row`
   ╭─[a.yaml:1:10]
 1 │ rows: \"${row}\"
   ·          ───
  help: did you mean `rows`?

error: variables refer to each other in a cycle: `x` -> `y` -> `x`
   ╭─[b.yaml:1:1]
 1 │ x: \"${y}\"
   · ─
  help: give one of them a value of its own

p.yaml: 3 errors; nothing was run
"
    );
    let project = Project::new().file("p.yaml", "vars: [no.yaml, 5]\nstages: {}\n");
    assert_eq!(
        mistakes(&project, &["check", "p.yaml"]),
        "\
error: cannot read the file of variables `no.yaml`: there is no such file
   ╭─[p.yaml:1:8]
 1 │ vars: [no.yaml, 5]
   ·        ───────
  help: did you mean `p.yaml`?

error: variables cannot come from `5`
   ╭─[p.yaml:1:17]
 1 │ vars: [no.yaml, 5]
   ·                 ─
  help: write `vars: { rows: 1000 }`, or `vars: [params.yaml, { rows: 1000 }]`

p.yaml: 2 errors; nothing was run
"
    );
}

#[test]
fn files_that_are_included_give_variables_defaults_and_stages() {
    let main = format!(
        "name: whole\ninclude: [parts/one.yaml, parts/two.yaml]\nvars: {{ word: main }}\nstages:\n{}",
        echo("last", "${word} ${other}")
    );
    let project = Project::new()
        .file("p.yaml", main)
        .file("parts/one.yaml", "include: [common.yaml]\nvars: { word: one }\n")
        .file(
            "parts/two.yaml",
            format!("include: [common.yaml]\nstages:\n{}", echo("first", "${word}")),
        )
        .file("parts/common.yaml", "vars: { word: common, other: \"of ${word}\" }\n");
    project.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(project.read("artifacts/whole/first/out.txt"), "main\n");
    assert_eq!(project.read("artifacts/whole/last/out.txt"), "main of main\n");
}

#[test]
fn what_two_files_give_is_shown_at_both_places() {
    let project = Project::new()
        .file(
            "p.yaml",
            format!(
                "include: [c.yaml]\ndefaults: {{ command: {{ tags: [a] }} }}\nstages:\n{}",
                echo("say", "x")
            ),
        )
        .file(
            "c.yaml",
            format!(
                "name: c\ndefaults: {{ command: {{ tags: [b] }} }}\nstages:\n{}",
                echo("say", "y")
            ),
        );
    assert_eq!(
        mistakes(&project, &["check", "p.yaml"]),
        "\
error: the default `defaults.command.tags` is given twice
   ╭─[p.yaml:2:24]
 2 │ defaults: { command: { tags: [a] } }
   ·                        ────
   ╭─[c.yaml:2:24]
 2 │ defaults: { command: { tags: [b] } }
   ·                        ──┬─
   ·                          ╰── first given here
  help: remove one of the two

error: the stage `say` is given twice
   ╭─[p.yaml:4:3]
 4 │   say:
   ·   ───
   ╭─[c.yaml:4:3]
 4 │   say:
   ·   ─┬─
   ·    ╰── first given here
  help: rename one of the two, or remove it

error: an included file has no `name`
   ╭─[c.yaml:1:1]
 1 │ name: c
   · ────
  help: the pipeline's name stands in the file that is run: remove it here

p.yaml: 3 errors; nothing was run
"
    );
}

#[test]
fn files_that_include_each_other_are_refused_with_the_chain() {
    let project = Project::new()
        .file("p.yaml", format!("include: [a.yaml]\nstages:\n{}", echo("say", "x")))
        .file("a.yaml", "include: [sub/b.yaml]\n")
        .file("sub/b.yaml", "include: [../a.yaml, gone.yaml]\n");
    assert_eq!(
        mistakes(&project, &["check", "p.yaml"]),
        "\
error: files include each other in a cycle: `a.yaml` -> `sub/b.yaml` -> `sub/../a.yaml`
   ╭─[sub/b.yaml:1:11]
 1 │ include: [../a.yaml, gone.yaml]
   ·           ─────────
  help: remove one of these includes

error: cannot read the included file `sub/gone.yaml`: there is no such file
   ╭─[sub/b.yaml:1:22]
 1 │ include: [../a.yaml, gone.yaml]
   ·                      ─────────
  help: did you mean `sub/b.yaml`?

sub/b.yaml: 2 errors; nothing was run
"
    );
}

#[test]
fn defaults_are_merged_under_each_stage_and_its_own_value_wins() {
    let text = "
vars: { w: 1 }
defaults:
  command:
    params: { with: { a: \"${w}\", b: [1, 2], c: { d: 4, e: 5 } } }
stages:
  x:
    kind: command
    params:
      run: \"echo ${with.a} ${with.b} ${with.c.d} ${with.c.e} > ${outputs.o}\"
      with: { b: [3], c: { d: 9 } }
      outputs: { o: o.txt }
  y:
    kind: command
    params: { run: \"echo ${with.a} ${with.b} > ${outputs.o}\", outputs: { o: o.txt } }
";
    let project = Project::new().file("p.yaml", text);
    project.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(project.read("artifacts/p/x/o.txt"), "1 [3] 9 5\n");
    assert_eq!(project.read("artifacts/p/y/o.txt"), "1 [1,2]\n");
}

#[test]
fn a_mistake_in_a_default_is_said_once_at_its_place() {
    let text = "defaults:
  trian: {}
  generate: { params: { rowz: 5, seed: -1 }, rows: 3, export: { data: x.csv } }
stages:
  a: { kind: generate, params: { dataset: lambda, rows: 10 } }
  b: { kind: generate, params: { dataset: lambda, rows: 10 } }
";
    let project = Project::new().file("p.yaml", text);
    assert_eq!(
        mistakes(&project, &["check", "p.yaml"]),
        "\
error: there is no kind `trian`
   ╭─[p.yaml:2:3]
 2 │   trian: {}
   ·   ─────
  help: did you mean `train`?

error: the default for `generate` has no param `rowz`
   ╭─[p.yaml:3:25]
 3 │   generate: { params: { rowz: 5, seed: -1 }, rows: 3, export: { data: x.csv } }
   ·                         ────
  help: did you mean `rows`?

error: `seed` of the default for `generate` must be a whole number of at least 0, not `-1`
   ╭─[p.yaml:3:40]
 3 │   generate: { params: { rowz: 5, seed: -1 }, rows: 3, export: { data: x.csv } }
   ·                                        ──
  help: `seed`: The seed of all that is drawn.

error: the default for `generate` has no field `rows`
   ╭─[p.yaml:3:46]
 3 │   generate: { params: { rowz: 5, seed: -1 }, rows: 3, export: { data: x.csv } }
   ·                                              ────
  help: it is a param: write it under `params:`, as `params: { rows: … }`

error: the default for `generate` has no field `export`
   ╭─[p.yaml:3:55]
 3 │   generate: { params: { rowz: 5, seed: -1 }, rows: 3, export: { data: x.csv } }
   ·                                                       ──────
  help: `export` is given at each stage

p.yaml: 5 errors; nothing was run
"
    );
}

/// `deploy` and what reads it are off unless `deploy` is set.
fn switched(reader: &str) -> Project {
    let text = format!(
        "vars: {{ deploy: false }}\nstages:\n{}    when: \"${{deploy}}\"\n{}{}    {reader}\n",
        echo("deploy", "x"),
        echo("other", "y"),
        echo("after", "z"),
    );
    Project::new().file("p.yaml", text)
}

#[test]
fn a_stage_that_is_off_is_left_out_with_all_that_is_off_too() {
    let project = switched("when: \"${deploy}\"\n    inputs: { d: deploy }");
    assert_eq!(run(&project, &["p.yaml"]), ["other ran never_ran", "done: 1 ran, 0 cached"]);
    let mut on = run(&project, &["p.yaml", "--set", "deploy=true"]);
    // Neither waits for the other.
    on[..2].sort();
    assert_eq!(
        on,
        ["deploy ran never_ran", "other cached", "after ran never_ran", "done: 2 ran, 1 cached"]
    );
    let graph = project.run(&["graph", "p.yaml"]).expect(0).stdout;
    assert_eq!(graph, "other (command)\ndeploy is off\nafter is off\n");
    let output = project.run(&["plan", "p.yaml", "deploy"]).expect(2);
    assert_eq!(
        output.stderr,
        "error: `deploy` is no stage of pipeline `p`\n  help: `deploy` is off: its `when` is `false`\n"
    );
}

#[test]
fn what_depends_on_a_stage_that_is_off_must_be_off_too() {
    let project = switched("inputs: { d: deploy }\n    needs: [deploy]");
    assert_eq!(
        mistakes(&project, &["check", "p.yaml"]),
        "\
error: stage `after` reads `deploy`, which its `when` leaves out
    ╭─[p.yaml:13:18]
 13 │     inputs: { d: deploy }
    ·                  ──────
  help: give it the same `when`, or let both be on

error: stage `after` needs `deploy`, which its `when` leaves out
    ╭─[p.yaml:14:13]
 14 │     needs: [deploy]
    ·             ──────
  help: give it the same `when`, or let both be on

p.yaml: 2 errors; nothing was run
"
    );
    let project = switched("when: \"no\"");
    assert_eq!(
        mistakes(&project, &["check", "p.yaml"]),
        "\
error: `when` of stage `after` must be `true` or `false`, not the text `no`
    ╭─[p.yaml:13:11]
 13 │     when: \"no\"
    ·           ────
  help: write `when: \"${name}\"` with a variable that is `true` or `false`

p.yaml: 1 error; nothing was run
"
    );
}

const FOLDERS: &str = "
stages:
  read:
    kind: command
    inputs: { all: { file: data }, some: { glob: \"data/**/*.csv\" } }
    params:
      run: \"cat ${inputs.some} > ${outputs.o}; ls ${inputs.all} >> ${outputs.o}; echo \\\"$RUNNER_INPUT_SOME\\\" | wc -l >> ${outputs.o}\"
      outputs: { o: o.txt }
";

#[test]
fn a_folder_and_a_pattern_are_inputs_by_content() {
    let project = Project::new()
        .file("p.yaml", FOLDERS)
        .file("data/b.csv", "b\n")
        .file("data/x y/a.csv", "a\n")
        .file("data/note.txt", "n\n");
    assert_eq!(run(&project, &["p.yaml"])[0], "read ran never_ran");
    assert_eq!(project.read("artifacts/p/read/o.txt"), "b\na\nb.csv\nnote.txt\nx y\n2\n");
    assert_eq!(run(&project, &["p.yaml"])[0], "read cached");
    project.write("data/note.txt", "m\n");
    let why = project.run(&["why", "p.yaml", "read"]).expect(0).stdout;
    assert!(why.contains("input all changed: note.txt has other bytes"), "{why}");
    assert!(!why.contains("input some"), "{why}");
    fs::rename(project.path("data/b.csv"), project.path("data/c.csv")).unwrap();
    let why = project.run(&["why", "p.yaml", "read"]).expect(0).stdout;
    assert!(why.contains("input some changed: data/c.csv is new, data/b.csv is gone"), "{why}");
    assert_eq!(run(&project, &["p.yaml"])[0], "read ran input_changed,input_changed");
    project.write("data/note.txt", "n\n");
    fs::rename(project.path("data/c.csv"), project.path("data/b.csv")).unwrap();
    assert_eq!(run(&project, &["p.yaml"])[0], "read cached");
    // What the files were is kept as long as an entry that read them.
    let listings = || fs::read_dir(project.path(".runner/listings")).unwrap().count();
    assert_eq!(listings(), 4);
    project.run(&["store", "gc", "--keep-runs", "1"]).expect(0);
    assert_eq!(listings(), 2);
}

#[test]
fn inputs_of_equal_bytes_have_paths_of_their_own() {
    let text = "
stages:
  make: { kind: command, matrix: { n: [1, 2] }, params: { run: \"echo same > ${outputs.o}; : ${matrix.n}\", outputs: { o: o.txt } } }
  read:
    kind: command
    inputs: { all: make.o }
    params: { run: \"printf '%s\\n' ${inputs.all} | sort -u | wc -l > ${outputs.n}\", outputs: { n: n.txt } }
";
    let project = Project::new().file("p.yaml", text);
    run(&project, &["p.yaml"]);
    assert_eq!(project.read("artifacts/p/read/n.txt").trim(), "2");
}

#[test]
fn a_folder_that_changes_while_it_is_read_gives_no_result() {
    let text = "stages:\n  read:\n    kind: command\n    inputs: { d: { file: data } }\n    params: { run: \"date > ${inputs.d}/new; touch ${outputs.o}\", outputs: { o: o.txt } }\n";
    let project = Project::new().file("p.yaml", text).file("data/a", "a");
    let output = project.run(&["run", "p.yaml", "--format", "plain"]).expect(1);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("its input `d`") && said.contains("changed while it ran"), "{said}");
}

#[test]
fn folders_and_patterns_are_refused_where_they_make_no_sense() {
    let text = "stages:
  pre:
    kind: preprocess
    inputs: { data: { file: data } }
    params: { time: { column: t }, split: { by: time, train: 0.7, validation: 0.15, test: 0.15 } }
  c:
    kind: command
    inputs: { a: { glob: \"data/*.json\" }, b: { glob: \"data/[\" }, c: { glob: \"../*\" }, d: { file: data, as: csv }, e: { glob: \"data/*\" } }
    params: { run: [cat, \"--in=${inputs.e}\"] }
";
    let project = Project::new().file("p.yaml", text).file("data/a.csv", "");
    let stderr = mistakes(&project, &["check", "p.yaml"]);
    let heads: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("error") || line.starts_with("  help"))
        .collect();
    assert_eq!(
        heads,
        [
            "error: input `data` of stage `pre` takes one file, not a folder",
            "  help: name one file, or join them in a `command` stage before",
            "error: the pattern `data/*.json` of input `a` of stage `c` fits no file",
            "  help: paths start at the root; `*` leaves out names that begin with a dot",
            "error: the pattern `data/[` of input `b` of stage `c` cannot be read: invalid range pattern",
            "  help: `*` stands for a part of a name, `**/` for folders, `?` for a letter, `[ab]` for one of several",
            "error: the pattern `../*` of input `c` of stage `c` lies outside the root",
            "  help: paths start at the root; give the absolute path",
            "error: input `d` of stage `c` is a folder, which `as` cannot convert",
            "  help: remove `as`",
            "error: stage `c`: `${inputs.e}` stands for several paths, which need arguments of their own",
            "  help: write `\"${inputs.e}\"` alone",
        ]
    );
}

const MATRIX: &str = "
stages:
  fit:
    kind: command
    matrix:
      seed: [1, 2]
      units: [[8], [16, 16]]
      exclude: [{ seed: 2, units: [8] }]
      include: [{ seed: 9, units: big/one }]
    params:
      run: \"echo ${with.seed} ${with.units} > ${outputs.m}\"
      with: { seed: \"${matrix.seed}\", units: \"${matrix.units}\" }
      outputs: { m: m.txt }
    export: { m: \"fit-${matrix.seed}-${with}.txt\" }
  join:
    kind: command
    inputs: { models: fit }
    params:
      run: \"cat ${inputs.models} > ${outputs.all}; cut -d, -f1-2 ${inputs.models.table} >> ${outputs.all}; printenv RUNNER_INPUT_MODELS | wc -l >> ${outputs.all}\"
      outputs: { all: all.txt }
  each:
    kind: command
    matrix: { seed: [1, 2] }
    inputs: { m: fit.m }
    params: { run: [sh, -c, \"cat $*\", \"${matrix.seed}\", \"${inputs.m}\"] }
";

fn matrix() -> Project {
    Project::new()
        .file("p.yaml", MATRIX.replace("-${with}", "-${matrix.units}").replace("big/one", "big"))
}

#[test]
fn a_matrix_is_a_stage_for_each_combination_and_a_list_for_who_reads_them_all() {
    let project = matrix();
    let mut ran = run(&project, &["p.yaml"]);
    ran.sort();
    assert_eq!(
        ran,
        [
            "done: 7 ran, 0 cached",
            "each[seed=1] ran never_ran",
            "each[seed=2] ran never_ran",
            "fit[seed=1,units=16+16] ran never_ran",
            "fit[seed=1,units=8] ran never_ran",
            "fit[seed=2,units=16+16] ran never_ran",
            "fit[seed=9,units=big] ran never_ran",
            "join ran never_ran",
        ]
    );
    assert_eq!(
        project.read("artifacts/p/join/all.txt"),
        "1 [8]\n1 [16,16]\n2 [16,16]\n9 big\nseed,units\n1,[8]\n1,\"[16\n2,\"[16\n9,big\n4\n"
    );
    assert_eq!(project.read("artifacts/p/fit-2-16+16.txt"), "2 [16,16]\n");
    let graph = project.run(&["graph", "p.yaml"]).expect(0).stdout;
    assert!(
        graph.ends_with("each[seed=2] (command)\n  reads fit[seed=2,units=16+16]: m\n"),
        "{graph}"
    );
    // A value more runs its own combination, and what reads them all.
    project.write(
        "p.yaml",
        project.read("p.yaml").replace("seed: [1, 2]\n      units", "seed: [1, 2, 3]\n      units"),
    );
    let again = run(&project, &["p.yaml"]);
    assert_eq!(again.last().unwrap(), "done: 3 ran, 6 cached", "{again:?}");
}

#[test]
fn the_command_line_names_all_combinations_or_some() {
    let project = matrix();
    let plan = |target: &str| {
        let output = project.run(&["plan", "p.yaml", target]).expect(0);
        output.stdout.lines().count() - 1
    };
    assert_eq!(plan("fit"), 4);
    assert_eq!(plan("fit[seed=1]"), 2);
    assert_eq!(plan("fit[units=16+16,seed=2]"), 1);
    let output = project.run(&["plan", "p.yaml", "fit[seed=7]"]).expect(2);
    assert!(
        output.stderr.starts_with("error: `fit[seed=7]` is no stage of pipeline `p`\n"),
        "{}",
        output.stderr
    );
    let set = run(
        &project,
        &["p.yaml", "fit[seed=1,units=8]", "--set", "fit[seed=1].params.with.seed=5"],
    );
    assert_eq!(set, ["fit[seed=1,units=8] ran never_ran", "done: 1 ran, 0 cached"]);
    assert_eq!(project.read("artifacts/p/fit[seed=1,units=8]/m.txt"), "5 [8]\n");
}

#[test]
fn mistakes_of_a_matrix_are_said_once() {
    let text = "stages:
  a:
    kind: command
    matrix: { seed: 1, path: [1], units: [] }
    params: { run: [ls] }
  b:
    kind: command
    matrix: { seed: [1, 2, 1.0, 2], exclude: [{ sed: 1 }] }
    params: { run: [ls] }
  c:
    kind: command
    matrix: { seed: [1, 1] }
    params: { run: [ls] }
  d:
    kind: command
    matrix: { seed: [1, 2], rate: [0.1] }
    params: { run: [ls, \"${matrix.sed}\"], outputs: { o: o.txt }, wth: 1 }
    export: { o: \"o-${matrix.rate}.txt\" }
  e:
    kind: command
    matrix: { seed: [3] }
    inputs: { x: d.o, y: \"d[seed=1].o\", z: \"d[seed=5].o\" }
    needs: [d]
    params: { run: [ls, \"${matrix.seed}\"] }
  f: { kind: tune, params: { stage: d, search: { with.x: { int: [1, 3] } }, objective: { minimize: loss }, trials: 3 } }
  g:
    kind: preprocess
    inputs: { data: d.o }
    params: { time: { column: t }, split: { by: time, train: 0.7, validation: 0.15, test: 0.15 } }
  h: { kind: command, params: { run: [ls, \"${matrix.seed}\"] } }
  i:
    kind: command
    matrix: { seed: [1, 2] }
    inputs: { own: i }
    needs: [i]
    params: { run: \"cat ${inputs.own} ${inputs.own.table}\", outputs: { o: o.txt } }
";
    let project = Project::new().file("p.yaml", text);
    let stderr = mistakes(&project, &["check", "p.yaml"]);
    let heads: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("error") || line.starts_with("  help"))
        .collect();
    assert_eq!(heads, MATRIX_MISTAKES, "{stderr}");
}

#[test]
fn a_value_of_a_matrix_that_no_text_can_hold_is_refused_within_an_argument() {
    let text = "stages:
  a:
    kind: command
    matrix: { x: [VALUE] }
    params: { run: \"echo ${matrix.x} >> ${outputs.o}\", outputs: { o: o.txt } }
";
    let is = "error: the variable `matrix.x` is";
    for (value, said) in [("~", "nothing"), ("{ a: 1 }", "a map"), ("[[1]]", "a list")] {
        let project = Project::new().file("p.yaml", text.replace("VALUE", value));
        let stderr = mistakes(&project, &["check", "p.yaml"]);
        let expected = format!("{is} {said}, which cannot stand within a text\n");
        assert!(stderr.starts_with(&expected), "{stderr}");
    }
    let in_with = text.replace("VALUE", "{ a: 1 }").replace("${matrix.x}", "${with.x}");
    let in_with = in_with.replace("outputs:", "with: { x: \"v-${matrix.x}\" }, outputs:");
    let project = Project::new().file("p.yaml", &in_with);
    let stderr = mistakes(&project, &["check", "p.yaml"]);
    assert!(stderr.starts_with(&format!("{is} a map, which cannot")), "{stderr}");
    // A list of plain values stands as it does in the name of its stage, and the whole value is free.
    let text =
        text.replace("VALUE", "[16, 8]").replace("echo ${matrix.x}", "echo ${matrix.x} ${with.x}");
    let text = text.replace("outputs:", "with: { x: \"${matrix.x}\" }, outputs:");
    let project = Project::new().file("p.yaml", &text);
    run(&project, &["p.yaml"]);
    assert_eq!(project.read("artifacts/p/a[x=16+8]/o.txt"), "16+8 [16,8]\n");
}

const MATRIX_MISTAKES: &[&str] = &[
    "error: `seed` of the matrix of stage `a` must be a list, not `1`",
    "  help: write `seed: [1, 2]`",
    "error: `path` cannot be a key of the matrix of stage `a`",
    "  help: `path` is the column of the files in the table of combinations: take another name",
    "error: `units` of the matrix of stage `a` is empty",
    "  help: give it a value",
    "error: the matrix of stage `b` has no `sed`",
    "  help: did you mean `seed`?",
    "error: the combination `c[seed=1]` is given twice",
    "  help: remove one of the two",
    "error: this combination of the matrix has no `sed`",
    "  help: did you mean `seed`?",
    "error: stage `d[seed=1,rate=0.1]` has no param `wth`",
    "  help: did you mean `with`?",
    "error: several combinations of stage `d` are exported to one file",
    "  help: put what differs into the name, such as `${matrix.seed}`",
    "error: no combination of `d` has the values of stage `e[seed=3]`",
    "  help: combinations: `d[seed=1,rate=0.1]`, `d[seed=2,rate=0.1]`",
    "error: stage `e[seed=3]` names `d[seed=5]`, which is no combination",
    "  help: combinations: `d[seed=1,rate=0.1]`, `d[seed=2,rate=0.1]`",
    "error: no combination of `d` has the values of stage `e[seed=3]`",
    "  help: combinations: `d[seed=1,rate=0.1]`, `d[seed=2,rate=0.1]`",
    "error: stage `f` tunes one stage, and `d` has 2 combinations",
    "  help: name one: `\"d[seed=1,rate=0.1]\"`, or give the tune the same `matrix`",
    "error: input `data` of stage `g` takes one stage, and `d` has 2 combinations here",
    "  help: give the stage the same `matrix`, or name one: `\"d[seed=1,rate=0.1].o\"`",
    "error: there is no variable `matrix.seed`",
    "  help: `matrix` is known only within a stage that has a `matrix`",
    "error: stage `i[seed=1]` reads its own output `i`",
    "  help: a stage reads outputs of others",
    "error: stage `i[seed=1]` needs itself",
    "  help: remove it",
];

#[test]
fn a_list_too_long_for_an_argument_is_given_as_several() {
    let text = |run: &str| {
        format!(
            "stages:\n  all:\n    kind: command\n    inputs: {{ x: {{ glob: \"d/*\" }} }}\n    \
             params: {{ run: {run}, outputs: {{ o: o.txt }} }}\n"
        )
    };
    let mut project = Project::new();
    for number in 0..700 {
        project = project.file(&format!("d/{number:0200}"), "");
    }
    project.write("p.yaml", text("\"cat ${inputs.x} > ${outputs.o}\""));
    let output = project.run(&["run", "p.yaml", "--format", "plain"]).expect(1);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("an argument is longer than 130000 bytes"), "{said}");
    let list =
        "[sh, -c, 'echo $# \"$RUNNER_INPUT_X\" > \"$0\"', \"${outputs.o}\", \"${inputs.x}\"]";
    project.write("p.yaml", text(list));
    project.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(project.read("artifacts/p/all/o.txt"), "700 \n");
}

#[test]
fn a_matrix_has_a_bound() {
    let list: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let list = list.join(", ");
    let text = format!(
        "stages:\n  a:\n    kind: command\n    matrix: {{ x: [{list}], y: [{list}] }}\n    params: {{ run: [ls] }}\n"
    );
    let stderr = mistakes(&Project::new().file("p.yaml", text), &["check", "p.yaml"]);
    assert!(
        stderr.starts_with("error: the matrix of stage `a` has more than 10000 combinations\n"),
        "{stderr}"
    );
}
