//! What reads hostile bytes in the daemon itself, before any limit of a process: no bytes make it panic or linger.

use proptest::collection::vec;
use proptest::prelude::*;

use super::compiled::Compiled;
use super::machine;
use super::module::{self, ModuleProblem};
use super::tests::guests;
use crate::id::Digest;

/// How every component begins.
const MAGIC: &[u8] = b"\0asm\x0d\0\x01\0";

fn sections() -> impl Strategy<Value = Vec<u8>> {
    // A section's number, its real length, and a lie about it now and then.
    let section = (
        0_u8..13,
        vec(any::<u8>(), 0..40),
        proptest::option::weighted(0.2, any::<u8>()),
    );
    vec(section, 0..8).prop_map(|sections| {
        let mut bytes = MAGIC.to_vec();
        for (number, content, lie) in sections {
            bytes.push(number);
            bytes.push(lie.unwrap_or(content.len() as u8));
            bytes.extend(content);
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_module_or_are_refused(bytes in vec(any::<u8>(), 0..300), limit in 0_usize..400) {
        let _ = module::check_header(&bytes, limit);
        let _ = module::outline(&bytes);
    }

    #[test]
    fn any_sections_are_a_module_or_are_refused(bytes in sections()) {
        if let Ok(outline) = module::outline(&bytes) {
            prop_assert!(outline.imports.len() <= bytes.len());
        }
    }

    #[test]
    fn a_damaged_module_is_a_module_or_is_refused(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = guests::run("(call $empty)").http().network().described();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = module::outline(&bytes);
        let _ = module::outline(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn any_text_is_a_description_or_is_refused(
        text in "[\\[\\]{}:,\"a-z0-9\\\\ ]{0,200}",
        open in 0_usize..3_000,
        bracket in "[\\[{]",
    ) {
        for text in [&text, &(bracket.repeat(open) + &text), &format!("{{\"name\":\"a\",\"input\":{text}}}")] {
            if let Err(problem) = module::description(text) {
                prop_assert!(matches!(problem, ModuleProblem::Description(_)));
                prop_assert!(problem.to_string().len() < 1_000);
            }
        }
    }

    #[test]
    fn no_file_is_compiled_code_without_the_key(bytes in vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let compiled = Compiled::open(folder.path()).unwrap();
        let engine = wasmtime::Engine::new(&machine::settings()).unwrap();
        let mut bytes = bytes;
        prop_assert!(compiled.open_sealed(&engine, &Digest::of(b"x"), &mut bytes).is_none());
    }
}

#[test]
fn what_is_read_of_a_module_costs_what_its_bytes_cost() {
    // Millions of the smallest sections, and as many imports: anything quadratic would not end.
    let mut empty = MAGIC.to_vec();
    empty.extend(b"\0\x01\0".repeat(2_000_000));
    assert_eq!(module::outline(&empty), Err(ModuleProblem::NoEntry));
    let count = 999_999;
    let mut section = guests::leb128(count);
    section.extend(b"\0\x01a\x01\0".repeat(count));
    let mut imports = [MAGIC, &[10]].concat();
    imports.extend(guests::leb128(section.len()));
    imports.extend(section);
    let Err(ModuleProblem::UnknownImports(named)) = module::outline(&imports) else {
        panic!("imports of nothing");
    };
    assert_eq!(named.len(), 21);
    assert_eq!(named.last().map(String::as_str), Some("and 999979 more"));
}
