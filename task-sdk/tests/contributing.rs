//! CONTRIBUTING.md shows a whole task in under 30 lines. This compiles that very text.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The code blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next().map(str::to_owned))
        .collect()
}

#[test]
fn the_task_that_contributing_shows_compiles_as_it_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let (manifest, code) = (
        blocks(&page, "toml").remove(0),
        blocks(&page, "rust").remove(0),
    );
    let lines = manifest
        .lines()
        .chain(code.lines())
        .filter(|line| !line.trim().is_empty());
    assert!(lines.count() < 30);
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert_eq!(
        blocks(&readme, "rust"),
        std::slice::from_ref(&code),
        "README.md shows the same task"
    );

    // A workspace of its own with the same shared versions, so that the text needs no change.
    let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contributing");
    fs::create_dir_all(workspace.join("word-count/src")).unwrap();
    let shared = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let shared = shared
        .split("[workspace.dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let sdk = format!("path = \"{}\"", root.join("task-sdk").display());
    let shared = shared.replace("path = \"task-sdk\"", &sdk);
    fs::write(
        workspace.join("Cargo.toml"),
        format!("[workspace]\nresolver = \"3\"\nmembers = [\"word-count\"]\n\n[workspace.dependencies]{shared}"),
    )
    .unwrap();
    fs::copy(root.join("Cargo.lock"), workspace.join("Cargo.lock")).unwrap();
    fs::write(workspace.join("word-count/Cargo.toml"), manifest).unwrap();
    fs::write(workspace.join("word-count/src/lib.rs"), code).unwrap();

    let output = Command::new(env!("CARGO"))
        .args([
            "check",
            "--offline",
            "--package",
            "word-count",
            "--target-dir",
        ])
        .arg(workspace.join("target"))
        .current_dir(&workspace)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
