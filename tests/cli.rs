//! The frame of the command line through the real binary.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::Project;

const CHAIN: &str = "name: chain
stages:
  second:
    kind: command
    inputs: { x: first, y: { file: y.txt } }
    params: { run: [cp, \"${inputs.x}\", \"${outputs.out}\"], outputs: { out: o.txt } }
    export: { out: result.txt }
  first:
    kind: command
    params: { run: [date], outputs: { out: o.txt } }
  last:
    kind: command
    needs: [second]
    params: { run: [date] }
  tune:
    kind: tune
    params:
      stage: leaf
      search: { with.x: { int: [1, 3] } }
      objective: { maximize: score }
      trials: 3
  leaf:
    kind: command
    inputs: { x: second.out }
    params: { run: [date], with: { x: 1 } }
";

#[test]
fn a_graph_is_drawn_as_text_as_mermaid_and_as_dot() {
    let project = Project::new().file("y.txt", "").file("p.yaml", CHAIN);
    let text = project.run(&["graph", "p.yaml"]).expect(0).stdout;
    assert_eq!(
        text,
        "\
first (command)
second (command)
  reads first: out
  reads the file y.txt
  exports out as result.txt
last (command)
  needs second
leaf (command)
  reads second: out
tune (tune)
  reads second: out
  tunes leaf
"
    );
    let mermaid = project.run(&["graph", "p.yaml", "--format", "mermaid"]).expect(0).stdout;
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    assert!(mermaid.contains("  s1 -->|\"out\"| s0\n"), "{mermaid}");
    assert!(mermaid.contains("  s0 -.->|\"needs\"| s2\n"), "{mermaid}");
    let dot = project.run(&["graph", "p.yaml", "--format", "dot"]).expect(0).stdout;
    assert!(dot.contains("  \"first\" -> \"second\" [label=\"out\"];\n"), "{dot}");
    assert!(dot.contains("  \"leaf\" -> \"tune\" [label=\"tunes\", style=dashed];\n"), "{dot}");
}

#[test]
fn the_schema_is_json_and_the_reference_markdown() {
    let project = Project::new();
    let schema = project.run(&["schema"]).expect(0).stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert_eq!(schema["required"][0], "stages");
    let reference = project.run(&["schema", "--markdown"]).expect(0).stdout;
    assert!(reference.contains("\n### `train`\n"), "{reference}");
}

#[test]
fn completions_are_printed() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = project.run(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("keep-going"), "{script}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_mistake() {
    let project = Project::new();
    let mut command = project.command(&["schema"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    drop(child.stdout.take());
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut said).expect("standard error is UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{said}");
    assert_eq!(said, "");
}

#[test]
fn a_command_line_that_makes_no_sense_is_invalid() {
    let project = Project::new();
    for words in [&["walk"][..], &["check"], &["graph", "p.yaml", "--format", "png"], &[]] {
        let output = project.run(words).expect(2);
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains("--help"), "{}", output.stderr);
    }
    let output = project.run(&["check", "x.yaml", "--trace", "no/such/folder.json"]).expect(2);
    assert!(output.stderr.contains("cannot write the trace `no/such/folder.json`"));
}

const READER: &str = "name: reader
stages:
  reader:
    kind: command
    inputs: { y: { file: y.txt } }
    params: { run: [date] }
";

#[test]
fn an_input_that_cannot_be_read_is_told_by_plan_and_why() {
    let project = Project::new().file("y.txt", "").file("p.yaml", READER);
    project.run(&["plan", "p.yaml"]).expect(0);
    std::fs::remove_file(project.path("y.txt")).expect("it is there");
    // A regular file that nobody can read from its beginning, not even root.
    std::os::unix::fs::symlink("/proc/self/mem", project.path("y.txt")).expect("a link");
    for words in [&["plan", "p.yaml", "reader"][..], &["why", "p.yaml", "reader"]] {
        let output = project.run(words).expect(1);
        let begin = "error: stage `reader`: cannot read its input `y`, `";
        assert!(output.stderr.starts_with(begin), "{}", output.stderr);
        assert!(output.stderr.contains("\n  help: see that it can be read"), "{}", output.stderr);
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn the_shipped_pipelines_have_no_mistakes() {
    let root = env!("CARGO_MANIFEST_DIR");
    for name in ["lambda", "lambda-uniform", "lambda-tune"] {
        let file = format!("{root}/pipelines/{name}.yaml");
        let output = Project::new().run(&["check", &file]).expect(0);
        assert_eq!(output.stderr, "");
        assert!(output.stdout.contains(&format!("pipeline `{name}`")), "{}", output.stdout);
    }
}

#[test]
fn no_more_jobs_than_any_machine_can_do_are_accepted() {
    let project = Project::new().file("p.yaml", CHAIN);
    for jobs in ["0", "1025", "99999999999"] {
        for arguments in [&["run", "p.yaml"][..], &["predict", "m.safetensors", "in.csv"]] {
            let output = project.run(&[arguments, &["--jobs", jobs]].concat()).expect(2);
            let said = format!("error: invalid value '{jobs}' for '--jobs <N>'");
            assert!(output.stderr.starts_with(&said), "{}", output.stderr);
            assert!(output.stderr.contains(" is not in 1..=1024"), "{}", output.stderr);
        }
    }
}
