//! Files in `tasks/` that the whole program must refuse, by the command that looks at all of them.

use std::fs;
use std::process::Command;

/// Attack: A `.wasm` of 1 GiB that is one hole. Refused by its size, and not read.
/// Attack: An ELF program, an empty file or a cut-off module named `.wasm`. Each is refused with its reason.
/// Attack: A `.cwasm` dropped into `tasks/`. Not even looked at.
#[test]
fn files_in_tasks_that_are_no_modules_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("flows")).unwrap();
    fs::create_dir(path("tasks")).unwrap();
    fs::write(path("flowweaver.toml"), "").unwrap();
    fs::write(path("flows/a.toml"), "flowweaver = 1\nname = \"a\"\n").unwrap();
    let elf = b"\x7fELF\x02\x01\x01";
    let whole = fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/add-field-0.1.0.wasm"
    ))
    .unwrap();
    fs::write(path("tasks/compiled.cwasm"), elf).unwrap();
    fs::write(path("tasks/native.wasm"), elf).unwrap();
    fs::write(path("tasks/empty.wasm"), "").unwrap();
    fs::write(path("tasks/cut.wasm"), &whole[..whole.len() / 2]).unwrap();
    let hole = fs::File::create(path("tasks/hole.wasm")).unwrap();
    hole.set_len(1 << 30).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_flowweaver"))
        .arg("--config")
        .arg(path("flowweaver.toml"))
        .arg("check")
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    for (file, why) in [
        ("native.wasm", "native or precompiled"),
        ("empty.wasm", "is empty"),
        ("cut.wasm", "damaged or cut off"),
        ("hole.wasm", "has more than 67108864 bytes"),
    ] {
        let line = said.lines().find(|line| line.contains(file));
        assert!(
            line.is_some_and(|line| line.contains(why)),
            "{file}: {said}"
        );
    }
    assert!(!said.contains("cwasm"), "{said}");
    assert!(!path("state").exists(), "nothing is kept");
}
