//! The pages for task authors say what is true: their code is built by their own commands and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::rig::{Rig, output, root};
use super::{compile, components, module};

/// A page of `docs/task-authors`.
fn page(language: &str) -> String {
    fs::read_to_string(root().join(format!("docs/task-authors/{language}.md"))).unwrap()
}

/// The code blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next().map(str::to_owned))
        .collect()
}

/// The shell line of a page that begins like this.
fn command(page: &str, begins: &str) -> String {
    blocks(page, "sh")
        .iter()
        .flat_map(|block| block.lines())
        .find(|line| line.starts_with(begins))
        .unwrap_or_else(|| panic!("no line begins with {begins}"))
        .to_owned()
}

/// Where `polyglot/build.sh` keeps a compiler.
fn compiler(folder: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    cache.join("flowweaver/polyglot").join(folder)
}

#[test]
fn the_pages_show_the_same_smallest_task_and_the_versions_that_are_tested() {
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let rust = page("rust");
    for language in ["rust", "toml"] {
        assert_eq!(
            blocks(&rust, language)[0],
            blocks(&contributing, language)[0],
            "rust.md and CONTRIBUTING.md"
        );
    }
    let pinned = |file: &str| fs::read_to_string(root().join("polyglot").join(file)).unwrap();
    let (javascript, python) = (page("javascript"), page("python"));
    let quickjs = pinned("javascript/package.json");
    let install = command(&javascript, "npm install componentize-qjs@");
    let (_, version) = install.rsplit_once('@').unwrap();
    assert!(
        quickjs.contains(&format!("\"componentize-qjs\": \"{version}\"")),
        "{install}"
    );
    let install = command(&javascript, "npm install @bytecodealliance");
    let package = install.strip_prefix("npm install ").unwrap();
    let (name, version) = package.rsplit_once('@').unwrap();
    assert!(
        pinned("starlingmonkey/package.json").contains(&format!("\"{name}\": \"{version}\"")),
        "{install}"
    );
    let install = command(&python, "pip install ");
    let package = install.strip_prefix("pip install ").unwrap();
    let hashed = format!("{package} \\\n    --hash=sha256:");
    assert!(pinned("python/requirements.txt").starts_with(&hashed));
}

#[test]
fn every_package_of_the_javascript_compilers_is_pinned_by_its_hash_and_comes_from_nowhere_special()
{
    for folder in ["javascript", "starlingmonkey"] {
        let path = root().join("polyglot").join(folder);
        let lock = fs::read_to_string(path.join("package-lock.json")).unwrap();
        let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.len() > 1);
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(
                package["integrity"].is_string() || package["inBundle"] == true,
                "{folder}: {name}"
            );
            assert!(package.get("resolved").is_none(), "{folder}: {name}");
        }
    }
}

#[test]
fn the_pages_links_lead_somewhere() {
    for language in ["rust", "javascript", "python"] {
        let text = page(language);
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            let path = root().join("docs/task-authors").join(target);
            assert!(path.exists(), "{language}.md: {target}");
        }
    }
}

/// Follows a page: writes its files, builds with its command, runs its workflow.
fn follow(language: &str, source: &str, build: &str, compiler: &Path) {
    let text = page(language);
    let mut rig = Rig::new();
    std::os::unix::fs::symlink(root().join("wit"), rig.path("wit")).unwrap();
    let fence = if language == "javascript" {
        "js"
    } else {
        language
    };
    rig.write(source, &blocks(&text, fence)[0]);
    let line = command(&text, build);
    let line = line.strip_prefix("npx ").unwrap_or(&line);
    let path = std::env::join_paths(
        std::iter::once(compiler.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let built = Command::new("sh")
        .args(["-c", line])
        .current_dir(rig.path(""))
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{line}:\n{}{}",
        String::from_utf8_lossy(&built.stdout),
        String::from_utf8_lossy(&built.stderr)
    );
    compile(&rig);
    rig.write("flows/count.toml", &blocks(&text, "toml")[0]);
    rig.start();
    assert_eq!(
        module(&rig, "word-count")["description"]["name"],
        "word-count"
    );
    let run = rig.run("count", &["text=three small words"]);
    assert_eq!(run["status"], "succeeded", "{line}: {run:#}");
    assert_eq!(output(&run, "words")["words"], 3, "{line}");
}

#[test]
fn the_task_on_the_javascript_page_is_built_by_its_commands_and_runs() {
    if components().is_none() {
        return;
    }
    for (build, folder) in [
        ("npx componentize-qjs", "quickjs/node_modules/.bin"),
        ("npx componentize-js", "starlingmonkey/node_modules/.bin"),
    ] {
        follow("javascript", "word-count.js", build, &compiler(folder));
    }
}

#[test]
fn the_task_on_the_python_page_is_built_by_its_command_and_runs() {
    if components().is_none() {
        return;
    }
    let build = "componentize-py --wit-path wit --world task componentize";
    follow("python", "word_count.py", build, &compiler("python/bin"));
}
