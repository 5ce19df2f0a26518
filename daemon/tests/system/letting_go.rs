//! What nothing uses any more is given back: memory and disk are as they were.

use std::fs;
use std::path::Path;

use super::rig::{Rig, output};
use super::world::caller;

const FLOW: &str = "flowweaver = 1\nname = \"write\"\n\n[[job]]\nname = \"only\"\n
[[job.task]]\nname = \"write\"\nuses = \"add-field\"\nwith = { field = \"f\", value = 1 }\n";

/// What the daemon holds of modules: memory images of loaded code, and files of compiled code.
fn held(rig: &Rig) -> (usize, usize) {
    let images = fs::read_dir(format!("/proc/{}/fd", rig.pid())).unwrap();
    let images = images
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.to_string_lossy().contains("wasm-memory-image"))
        .count();
    let files = fs::read_dir(rig.path("state/compiled")).unwrap();
    (images, files.count())
}

/// The module that adds a field, made another one by a note at its end.
fn noted(note: u8) -> Vec<u8> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/add-field-0.1.0.wasm");
    [
        fs::read(fixture).unwrap().as_slice(),
        &[0, 6, 4],
        b"note",
        &[note],
    ]
    .concat()
}

/// Replaces the module and waits until the workflow that uses it is another version.
fn replace(rig: &Rig, workflow: &str, note: u8) {
    let before = rig.version(workflow).unwrap();
    rig.write("tasks/add-field.wasm", noted(note));
    rig.until("the new module is live", || {
        rig.version(workflow).filter(|now| *now != before)
    });
}

#[test]
fn modules_that_were_replaced_leave_memory_and_disk() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/write.toml", FLOW);
    rig.start();
    let before = rig.until("what other tests compiled is swept", || {
        let held = held(&rig);
        (held.1 == 2).then_some(held)
    });
    assert!(before.0 > 0, "the images can be seen");
    for note in 1..=5 {
        replace(&rig, "write", note);
        assert_eq!(rig.run("write", &[])["status"], "succeeded");
    }
    rig.until("as much is held as before", || {
        (held(&rig) == before).then_some(())
    });
    // A file that goes takes its module with it.
    fs::remove_file(rig.path("flows/write.toml")).unwrap();
    fs::remove_file(rig.path("tasks/add-field.wasm")).unwrap();
    rig.until("nothing is held but the key", || {
        (held(&rig) == (0, 1)).then_some(())
    });
    rig.stop();
}

#[test]
fn a_module_stays_as_long_as_a_run_needs_it_and_goes_when_the_run_has_ended() {
    let Some((mut rig, world)) = caller("10s") else {
        return;
    };
    rig.start();
    let one = rig.until("what other tests compiled is swept", || {
        let held = held(&rig);
        (held.1 == 3).then_some(held)
    });
    let run = rig.detach("call", &[]);
    world.held();
    for note in 1..=3 {
        replace(&rig, "call", note);
    }
    // The key, the module that asks, the old one, and the newest.
    rig.until("only what is used is held", || {
        (held(&rig).1 == one.1 + 1).then_some(())
    });
    assert!(held(&rig).0 > one.0);
    world.release();
    let run = rig.finished(&run);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(output(&run, "after")["object"]["f"], 1);
    rig.until("the old one has gone", || (held(&rig) == one).then_some(()));
    // A rerun of the old version brings it back from the store.
    let again = rig.rerun(run["id"].as_str().unwrap(), &["--from-start"]);
    assert_eq!(again["status"], "succeeded", "{again:#}");
    assert_eq!(again["version"], run["version"]);
    rig.until("it has gone again", || (held(&rig) == one).then_some(()));
    rig.stop();
}
