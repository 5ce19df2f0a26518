//! Files that are no modules, or modules that want what nobody provides.

use flowweaver::sandbox::module::ModuleProblem;
use flowweaver::sandbox::{Sandbox, SandboxOptions};

use crate::broker::broker;
use crate::guests::{leb128, run};
use crate::world::*;

/// Attack: A file of zero bytes, an ELF program, a script, a core module, a component that is no task. Each is refused with its reason, before it is compiled.
/// Attack: An import that nobody provides. The module is refused, and the import named.
/// Attack: A `run` of another type. The module is refused before it goes live.
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
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: A module cut off after any of its bytes. Refused; nothing of it is kept.
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
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: A module larger than the limit. Refused by its size alone.
#[tokio::test]
async fn a_module_over_the_ceiling_is_refused_by_its_size_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = SandboxOptions {
        module_bytes_max: 1_000,
        ..options(folder.path())
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

/// Attack: A module with 100,000 imports that nobody provides, each with a long name. Refused; the reason stays short.
#[tokio::test]
async fn a_flood_of_unknown_imports_is_refused_in_a_few_words() {
    let mut imports = leb128(100_000);
    for number in 0..100_000 {
        let name = format!("evil:{}/x{number}@1.0.0", "shell".repeat(20));
        imports.push(0);
        imports.extend(leb128(name.len()));
        imports.extend(name.as_bytes());
        // A function, of the first type.
        imports.extend([1, 0]);
    }
    let mut bytes = b"\0asm\x0d\0\x01\0\x0a".to_vec();
    bytes.extend(leb128(imports.len()));
    bytes.extend(imports);
    let (_folder, sandbox) = sandbox();
    let problem = sandbox.prepare(bytes.into()).await.unwrap_err();
    let text = problem.to_string();
    assert!(
        matches!(problem, ModuleProblem::UnknownImports(_)),
        "{text}"
    );
    assert!(
        text.len() < 10_000 && text.contains("and 99980 more"),
        "{text}"
    );
}

/// Attack: Components nested 100,000 levels deep. Refused; nothing of the daemon recurses over them.
#[tokio::test]
async fn components_within_components_without_end_are_refused() {
    let magic = b"\0asm\x0d\0\x01\0";
    // Built from the inside: each level is a section with the next.
    let mut levels: Vec<u8> = Vec::new();
    for _ in 0..100_000 {
        let inner = magic.len() + levels.len();
        let mut section = vec![4];
        section.extend(leb128(inner));
        section.extend(magic);
        // Quadratic copying would take minutes; the bytes are turned around at the end.
        section.reverse();
        levels.extend(section);
    }
    levels.extend(magic.iter().rev());
    levels.reverse();
    let (_folder, sandbox) = sandbox();
    let problem = sandbox.prepare(levels.into()).await.unwrap_err();
    assert!(
        matches!(&problem, ModuleProblem::Damaged(_) | ModuleProblem::NoEntry),
        "{problem}"
    );
    runs_an_honest_guest(&sandbox).await;
}
