//! Which files become modules, and which compiled code is loaded.

use flowweaver::sandbox::module::ModuleProblem;

use super::*;

#[tokio::test]
async fn what_is_not_a_task_component_is_refused_with_its_reason() {
    let (_folder, sandbox) = sandbox();
    let refuse = async |bytes: &[u8]| sandbox.prepare(bytes.into()).await.unwrap_err();
    assert_eq!(refuse(b"").await, ModuleProblem::Empty);
    assert_eq!(refuse(b"\x7fELF\x02\x01\x01").await, ModuleProblem::Native);
    assert_eq!(
        refuse(&wat::parse_str("(module)").unwrap()).await,
        ModuleProblem::CoreModule
    );
    assert_eq!(
        refuse(&wat::parse_str("(component)").unwrap()).await,
        ModuleProblem::NoEntry
    );
    assert_eq!(refuse(b"hello").await, ModuleProblem::NotWasm);
    let unknown = run("(call $evil) (call $empty)").unknown();
    assert_eq!(
        refuse(&unknown.bytes()).await,
        ModuleProblem::UnknownImports(vec!["evil:shell/exec@1.0.0".to_owned()])
    );
    let wrong_type = echo()
        .wat()
        .replace("(field \"retryable\" bool)", "(field \"retryable\" u8)");
    let problem = refuse(&wat::parse_str(&wrong_type).unwrap()).await;
    assert!(matches!(problem, ModuleProblem::Invalid(_)), "{problem}");
    for feature in [
        "(memory $shared 1 1 shared)",
        "(memory $wide i64 1)",
        "(tag $thrown)",
        "(type $pair (struct (field i32)))",
        "(func (param v128 v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))",
    ] {
        let problem = refuse(&run("(call $empty)").functions(feature).bytes()).await;
        assert!(
            matches!(problem, ModuleProblem::Invalid(_)),
            "{feature}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_module_cut_off_anywhere_is_refused_before_it_is_compiled() {
    let (folder, sandbox) = sandbox();
    let bytes = echo().bytes();
    let name = b"flowweaver:task/entry@0.1.0";
    let end = bytes
        .windows(name.len())
        .rposition(|window| window == name)
        .unwrap()
        + name.len();
    for cut in 0..end {
        assert!(sandbox.prepare(bytes[..cut].into()).await.is_err(), "{cut}");
    }
    assert_eq!(compiled_files(folder.path()).len(), 0);
}

#[tokio::test]
async fn a_module_over_the_ceiling_is_refused_by_its_size_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = SandboxOptions {
        module_bytes_max: 1_000,
        ..SandboxOptions::new(folder.path())
    };
    let sandbox = Sandbox::open(options, broker()).unwrap();
    let problem = sandbox.prepare(vec![0; 1_001].into()).await.unwrap_err();
    assert_eq!(
        problem,
        ModuleProblem::TooLarge {
            bytes: 1_001,
            max: 1_000
        }
    );
}

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

fn compiled_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name != "key"))
        .collect()
}

#[tokio::test]
async fn compiled_code_survives_a_restart_unless_a_single_bit_was_changed() {
    let (folder, sandbox) = sandbox();
    let bytes = echo().bytes();
    let prepared = sandbox.prepare(bytes.clone().into()).await.unwrap();
    let digest = prepared.digest;
    drop(sandbox);
    let restored = open(folder.path()).restore(digest).await;
    assert_eq!(restored.as_deref(), Some(&*prepared));

    let [file] = compiled_files(folder.path()).try_into().unwrap();
    let genuine = std::fs::read(&file).unwrap();
    let places = (0..genuine.len()).step_by(genuine.len() / 97);
    for place in places.chain([0, 31, 32, 35, 36, genuine.len() - 1]) {
        let mut forged = genuine.clone();
        forged[place] ^= 1;
        std::fs::write(&file, &forged).unwrap();
        assert_eq!(
            open(folder.path()).restore(digest).await,
            None,
            "byte {place}"
        );
    }
    for length in [0, 10, 32, 36, genuine.len() - 1] {
        std::fs::write(&file, &genuine[..length]).unwrap();
        assert_eq!(
            open(folder.path()).restore(digest).await,
            None,
            "{length} bytes"
        );
    }

    let sandbox = open(folder.path());
    sandbox.prepare(bytes.into()).await.unwrap();
    assert!(
        sandbox
            .invoke(invocation(digest, "{}"))
            .await
            .outcome
            .is_ok()
    );
    assert!(
        open(folder.path()).restore(digest).await.is_some(),
        "compiled anew"
    );
}

#[tokio::test]
async fn code_compiled_for_another_module_or_under_another_key_is_not_loaded() {
    let (folder, sandbox) = sandbox();
    let first = prepare(&sandbox, &echo()).await;
    let [file] = compiled_files(folder.path()).try_into().unwrap();
    let second = prepare(&sandbox, &hog()).await;
    let other = file.to_str().unwrap().replace(&first.hex(), &second.hex());
    std::fs::copy(&file, &other).unwrap();
    drop(sandbox);
    assert!(open(folder.path()).restore(second).await.is_none());
    assert!(open(folder.path()).restore(first).await.is_some());
    std::fs::write(folder.path().join("key"), [7; 32]).unwrap();
    assert!(open(folder.path()).restore(first).await.is_none());
}

#[tokio::test]
async fn precompiled_code_from_a_user_is_refused() {
    let (folder, sandbox) = sandbox();
    prepare(&sandbox, &echo()).await;
    let [file] = compiled_files(folder.path()).try_into().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let code = bytes
        .windows(4)
        .position(|window| window == b"\x7fELF")
        .unwrap();
    assert_eq!(
        sandbox.prepare(bytes[code..].into()).await,
        Err(ModuleProblem::Native)
    );
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

#[tokio::test]
async fn a_forgotten_module_does_not_run_and_an_attempt_under_way_is_not_disturbed() {
    let (folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &sleeper()).await;
    let cancel = CancellationToken::new();
    let mut attempts = started(&sandbox, digest, 1, &cancel).await;
    sandbox.forget(&digest);
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
