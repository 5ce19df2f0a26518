//! The disk of a store in a file: full, and torn.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use flowweaver::id::RunId;
use serde_json::json;

use super::fleet::{Dice, Fleet, Home, ask, started, times};

/// A file system of some mebibytes in memory, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// None where we may not mount, said in the output.
    fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(at)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            other => {
                println!("skipped: no small file system may be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !done.is_ok_and(|status| status.success()) {
            println!("{} is left mounted", self.0.display());
        }
    }
}

/// Takes all the room there is; answers the file that has it.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = fs::File::create(&path).unwrap();
    let block = [7; 4096];
    while file.write_all(&block).is_ok() {}
    path
}

#[test]
fn a_full_disk_refuses_runs_clearly_keeps_those_it_accepted_and_recovers_by_itself() {
    let Some(mut fleet) = Fleet::prepare(Home::Sqlite, 1) else {
        return;
    };
    let folder = fleet.daemons[0].path("disk");
    let Some(_disk) = Small::mount(&folder, 12) else {
        return;
    };
    let url = format!("sqlite:{}", folder.join("store.db").display());
    fleet.daemons[0].environment("FLOWWEAVER_STORE_URL", &url);
    fleet.store_at(&url);
    fleet.daemons[0].start();
    let state = fleet.daemons[0].path("state");
    let mut acknowledged: BTreeSet<RunId> = BTreeSet::new();
    for round in 0..3 {
        // Some runs are in the middle when the disk is full.
        fleet.effects.hold();
        for _ in 0..5 {
            acknowledged.insert(started(&fleet.daemons[0]).parse().unwrap());
        }
        let ballast = fill(&folder);
        let mut refused = 0;
        for number in 0..200 {
            let key = format!("full-{round}-{number}");
            let (status, body) = ask(&state, &key, "/v0/workflows/work/run").unwrap();
            match status {
                // There was room in the pages that the file has.
                202 => {
                    let run = body["data"]["runId"].as_str().unwrap();
                    acknowledged.insert(run.parse().unwrap());
                }
                503 | 507 => {
                    assert!(
                        body["message"].is_string() && body["success"] == json!(false),
                        "{body}"
                    );
                    refused += 1;
                }
                other => panic!("{other}: {body}"),
            }
            if refused >= 3 {
                break;
            }
        }
        assert!(refused >= 3, "the disk was never full");
        fs::remove_file(ballast).unwrap();
        fleet.effects.release();
        fleet.until_all_have_ended();
    }
    assert!(fleet.daemons[0].stop().success());
    let verdict = fleet.judged(&acknowledged);
    println!("SQLite: 3 times a full disk, {}", verdict.line());
    verdict.must_be_clean();
}

/// Copies a store's file and its log, as they are on disk after a kill.
fn copy_of(state: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for name in ["flowweaver.db", "flowweaver.db-wal"] {
        // After a clean stop there may be no log.
        if state.join(name).exists() {
            fs::copy(state.join(name), to.join(name)).unwrap();
        }
    }
    to.join("flowweaver.db-wal")
}

/// The log of writes is cut or spoiled somewhere, as a power failure in the middle of a write leaves it. What was
/// acknowledged while the log was no longer than that is there, whole.
#[test]
fn a_torn_log_loses_nothing_that_was_acknowledged_before_it_was_torn() {
    let tears = times("FLOWWEAVER_TEARS", 12);
    let Some(mut fleet) = Fleet::start(Home::Sqlite, 1) else {
        return;
    };
    let state = fleet.daemons[0].path("state");
    let log = state.join("flowweaver.db-wal");
    // Each run with the length of the log when it was acknowledged; short of the first checkpoint.
    let mut acknowledged: Vec<(RunId, u64)> = Vec::new();
    for number in 0..40 {
        let key = format!("torn-{number}");
        let (status, body) = ask(&state, &key, "/v0/workflows/work/run").unwrap();
        assert_eq!(status, 202, "{body}");
        let run = body["data"]["runId"].as_str().unwrap().parse().unwrap();
        acknowledged.push((run, fs::metadata(&log).unwrap().len()));
    }
    fleet.daemons[0].kill();
    let length = fs::metadata(&log).unwrap().len();
    assert!(length > 100_000 && acknowledged.is_sorted_by_key(|(_, at)| *at));
    let original = fleet.daemons[0].path("original");
    copy_of(&state, &original);
    let mut dice = Dice::new();
    let mut kept = 0;
    for tear in 0..tears {
        let folder = fleet.daemons[0].path(&format!("tear-{tear}"));
        let torn = copy_of(&original, &folder);
        let at = dice.roll(usize::try_from(length).unwrap()) as u64;
        let mut file = fs::File::options().write(true).open(&torn).unwrap();
        match tear % 3 {
            0 => file.set_len(at).unwrap(),
            // Half a page of something else, and the end of it.
            1 => {
                file.seek(SeekFrom::Start(at)).unwrap();
                file.write_all(&[0xa5; 2048]).unwrap();
                file.set_len((at + 2048).min(length)).unwrap();
            }
            // A hole in the middle; what comes after it does not count.
            _ => {
                file.seek(SeekFrom::Start(at)).unwrap();
                file.write_all(&vec![0; usize::try_from((length - at).min(4096)).unwrap()])
                    .unwrap();
            }
        }
        drop(file);
        let there: BTreeSet<RunId> = acknowledged
            .iter()
            .filter(|(_, length)| *length <= at)
            .map(|(run, _)| *run)
            .collect();
        kept += there.len();
        fleet.daemons[0].replace_store(&folder);
        fleet.daemons[0].start();
        fleet.until_all_have_ended();
        assert!(fleet.daemons[0].stop().success());
        // What came after the tear was done once more, so effects say nothing here.
        let judged = fleet.daemons[0].path(&format!("judged-{tear}"));
        copy_of(&state, &judged);
        assert_eq!(whole(&judged.join("flowweaver.db")), "ok");
        let verdict = fleet.records(&judged.join("flowweaver.db"), &there);
        verdict.must_be_clean();
    }
    println!("SQLite: {tears} torn logs, {kept} runs acknowledged before the tears, 0 lost");
}

fn whole(store: &Path) -> String {
    let store = rusqlite::Connection::open(store).unwrap();
    store
        .query_row("pragma integrity_check", [], |row| row.get(0))
        .unwrap()
}
