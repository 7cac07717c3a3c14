//! The rules of the house that the compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file under a folder, by path.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules of `lib.rs`, in its order.
fn modules() -> Vec<String> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// The top-level modules that a line names after `crate::`.
fn used(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
        Some(&rest[..end])
    })
}

/// Cuts off the tests at the end of a file: they may look at the whole house.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

#[test]
fn the_code_after_a_declaration_of_tests_is_looked_at() {
    let declared = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n";
    assert_eq!(without_tests(declared), declared);
    assert_eq!(without_tests("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), "fn a() {}\n");
}

#[test]
fn a_module_uses_only_modules_above_it() {
    let modules = modules();
    assert!(modules.len() > 10, "the map is read: {modules:?}");
    let place = |name: &str| modules.iter().position(|module| module == name);
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let top = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(own) = place(top) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        if relative.ends_with("tests.rs") {
            continue;
        }
        let code = without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for name in code.flat_map(used) {
            if place(name).is_some_and(|other| other > own) {
                wrong.push(format!("{} uses `{name}`, which stands below it", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_over() {
    let marks = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];
    let mut left = Vec::new();
    for path in sources(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(*mark)) {
                left.push(format!("{}:{}: {mark}", path.display(), number + 1));
            }
        }
    }
    assert!(left.is_empty(), "{}", left.join("\n"));
}
