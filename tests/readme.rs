//! What README.md says is true: its reference is the one made from the code, its files exist.

use std::fs;
use std::path::Path;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_reference_is_the_one_made_from_the_types() {
    let text = readme();
    let start = text.find("<!-- reference -->\n").unwrap() + "<!-- reference -->\n".len();
    let end = text.find("<!-- /reference -->").unwrap();
    let made = runner::pipeline::reference();
    assert!(
        text[start..end].trim() == made.trim(),
        "put the output of `runner schema --markdown` between the markers of README.md"
    );
}

#[test]
fn the_pipelines_that_it_names_are_there() {
    let text = readme();
    let words = text.split(|letter: char| letter.is_whitespace() || "`(),".contains(letter));
    let files: Vec<&str> = words.filter(|word| word.starts_with("pipelines/")).collect();
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "{file} is not there");
    }
}
