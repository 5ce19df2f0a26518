//! What a module says of itself, and what is kept of it.

use std::collections::HashSet;
use std::path::Path;

use flowweaver::run::failure::FailureSource;
use flowweaver::sandbox::invoke::Invoke as _;
use flowweaver::sandbox::module::ModuleProblem;
use tokio_util::sync::CancellationToken;

use super::guests::Guest;
use super::world::*;

#[tokio::test]
async fn a_module_that_describes_itself_badly_is_refused_and_says_why() {
    let (_folder, sandbox) = sandbox();
    let refuse = async |guest: Guest| sandbox.prepare(guest.bytes().into()).await.unwrap_err();
    let traps = refuse(echo().describe("unreachable")).await;
    assert!(
        matches!(&traps, ModuleProblem::Describe(failure) if failure.code == "trap.unreachable"),
        "{traps}"
    );
    let spins = refuse(echo().describe("(loop $l (br $l))")).await;
    assert!(
        matches!(&spins, ModuleProblem::Describe(failure) if failure.code == "limit.cpu"),
        "{spins}"
    );
    let nothing = refuse(echo().describe(
        "(i32.store (i32.const 512) (i32.const 64)) (i32.store (i32.const 516) (i32.const 2))",
    ))
    .await;
    assert!(
        matches!(&nothing, ModuleProblem::Description(why) if why.contains("name")),
        "{nothing}"
    );
}

#[tokio::test]
async fn a_description_in_the_module_is_preferred_and_the_code_is_not_run_for_it() {
    let (_folder, sandbox) = sandbox();
    let guest = echo().describe("unreachable").context();
    let prepared = sandbox.prepare(guest.described().into()).await.unwrap();
    assert_eq!(prepared.description.name, "described");
    assert_eq!(prepared.description.requires, ["http"]);
    assert_eq!(
        prepared.imports,
        [
            "flowweaver:types/types@0.1.0",
            "flowweaver:context/context@0.1.0"
        ]
    );
}

#[tokio::test]
async fn an_unloaded_module_does_not_run_and_an_attempt_under_way_is_not_disturbed() {
    let (folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &sleeper()).await;
    let cancel = CancellationToken::new();
    let mut attempts = started(&sandbox, digest, 1, &cancel).await;
    assert_eq!(sandbox.loaded(), HashSet::from([digest]));
    sandbox.unload_except(&HashSet::new());
    assert_eq!(sandbox.loaded(), HashSet::new());
    assert_eq!(compiled_files(folder.path()).len(), 1);
    assert_eq!(sandbox.sweep_except(HashSet::new()).await.unwrap(), 1);
    assert_eq!(compiled_files(folder.path()).len(), 0);
    let failure = sandbox
        .invoke(invocation(digest, "{}"))
        .await
        .outcome
        .unwrap_err();
    assert_eq!(
        (failure.source, failure.code.as_str()),
        (FailureSource::Host, "host.module")
    );
    let (_, task) = attempts.remove(0);
    assert!(!task.is_finished());
    cancel.cancel();
    assert_eq!(task.await.unwrap().outcome.unwrap_err().code, "cancelled");
}

#[tokio::test]
async fn a_sweep_takes_what_nothing_needs_and_leaves_what_is_used_or_not_ours() {
    let (folder, sandbox) = sandbox();
    let kept = prepare(&sandbox, &echo()).await;
    let loaded = prepare(&sandbox, &endless()).await;
    let unused = prepare(&sandbox, &hog()).await;
    sandbox.unload_except(&HashSet::from([loaded]));
    let put = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
    let another_engine = format!("{}-{:016x}", loaded.hex(), 1);
    put(&another_engine);
    put("unfinished-abc");
    put("notes of the operator");
    // Somebody writes, and so what is unfinished may be theirs.
    let writer = std::fs::File::open(folder.path()).unwrap();
    writer.lock_shared().unwrap();
    assert_eq!(
        sandbox.sweep_except(HashSet::from([kept])).await.unwrap(),
        2
    );
    let there = |name: &str| folder.path().join(name).exists();
    assert!(!there(&another_engine) && there("unfinished-abc"));
    drop(writer);
    assert_eq!(
        sandbox.sweep_except(HashSet::from([kept])).await.unwrap(),
        1
    );
    assert!(!there("unfinished-abc") && there("notes of the operator") && there("key"));
    let fresh = open(folder.path());
    assert!(fresh.restore(unused).await.is_none());
    assert!(fresh.restore(kept).await.is_some());
    assert!(fresh.restore(loaded).await.is_some());
}

#[tokio::test]
async fn the_folder_of_compiled_code_and_its_files_are_the_daemons_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &echo()).await;
    assert_eq!(mode(folder.path()), 0o700);
    let key = folder.path().join("key");
    for file in compiled_files(folder.path()).iter().chain([&key]) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    // A key that others could read proves nothing any more.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(open(folder.path()).restore(digest).await.is_none());
    assert_eq!(mode(&key), 0o600);
}
