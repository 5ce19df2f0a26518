//! What a module file is, before any of its code is compiled: its kind, its imports, its description.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use wasmparser::{Parser, Payload};

use crate::id::Digest;
use crate::run::failure::Failure;
use crate::units::Size;
use crate::workflow::environment::ModuleDescription;

/// The custom section in which the Rust SDK leaves the description.
const DESCRIPTION_SECTION: &str = "flowweaver:task";
/// A description is schemas and sentences.
const DESCRIPTION_BYTES_MAX: usize = 256 << 10;
/// Readers of JSON stop at 128 levels.
const DESCRIPTION_DEPTH_MAX: usize = 100;
/// What every module exports.
pub(super) const ENTRY: &str = "flowweaver:task/entry@0.1.0";
/// Unknown imports that a refusal names; the others it counts.
const UNKNOWN_NAMED_MAX: usize = 20;
/// What is shown of an unknown import's name; the format allows 100,000 bytes.
const UNKNOWN_NAME_BYTES_MAX: usize = 200;
/// The published interfaces of the contract.
const CONTRACT: [&str; 6] = [
    "flowweaver:types/types@0.1.0",
    "flowweaver:context/context@0.1.0",
    "flowweaver:log/log@0.1.0",
    "flowweaver:http/client@0.1.0",
    "flowweaver:sql/client@0.1.0",
    "flowweaver:kv/store@0.1.0",
];
/// The interfaces of WASI 0.2 that are linked, without their version.
const WASI: [&str; 25] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
];
/// The two of WASI's sockets that are in no other list.
const WASI_UDP: [&str; 2] = ["wasi:sockets/udp", "wasi:sockets/udp-create-socket"];

/// A module that is ready to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreparedModule {
    /// Of its bytes.
    pub digest: Digest,
    /// How large it is.
    pub size_bytes: u64,
    /// What it says about itself.
    pub description: ModuleDescription,
    /// The same as it was written, to be stored and shown.
    pub description_json: Arc<str>,
    /// The interfaces it imports, in order.
    pub imports: Vec<String>,
}

/// Why a file is not a module that can run. The text completes "`tasks/x.wasm` …".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModuleProblem {
    /// No bytes.
    #[error("is empty; is it still being written?")]
    Empty,
    /// Over the ceiling.
    #[error("has {bytes} bytes, more than the limit of {}", Size(*max as u64))]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The ceiling.
        max: usize,
    },
    /// Native code, precompiled WASM included.
    #[error("is native or precompiled code (ELF); only WebAssembly components are accepted")]
    Native,
    /// Something else.
    #[error("is not WebAssembly")]
    NotWasm,
    /// A module of the kind before components.
    #[error(
        "is a core WebAssembly module, not a component; build it for the target wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Cut off or damaged.
    #[error("is damaged or cut off: {0}")]
    Damaged(String),
    /// Wants what nobody provides.
    #[error("imports what FlowWeaver does not provide: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    /// Is no task.
    #[error("does not export `{ENTRY}`; is it a FlowWeaver task?")]
    NoEntry,
    /// The compiler or linker refuses it.
    #[error("cannot be compiled: {0}")]
    Invalid(String),
    /// The compiler was stopped at a limit.
    #[error("cannot be compiled within its limits: {0}")]
    CompileLimit(String),
    /// The compiler's process broke down over it.
    #[error("makes the compiler fail: {0}")]
    CompilerFailed(String),
    /// `describe` failed.
    #[error("cannot describe itself: {} ({})", .0.message, .0.code)]
    Describe(Box<Failure>),
    /// The description is not one.
    #[error("describes itself wrongly: {0}")]
    Description(String),
    /// Not the module's fault.
    #[error("could not be prepared: {0}")]
    Host(String),
}

/// What can be known without compiling.
#[derive(Debug, PartialEq)]
pub(super) struct Outline {
    pub(super) imports: Vec<String>,
    pub(super) description: Option<String>,
}

/// Reads the outline of a module whose header was checked, or says why it is none.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, ModuleProblem> {
    let damaged = |error: wasmparser::BinaryReaderError| ModuleProblem::Damaged(error.to_string());
    let mut outline = Outline {
        imports: Vec::new(),
        description: None,
    };
    let mut has_entry = false;
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(damaged)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    outline
                        .imports
                        .push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    has_entry |= export.map_err(damaged)?.name.name == ENTRY;
                }
            }
            // The Rust linker leaves the section in the core module within the component.
            Payload::CustomSection(section)
                if section.name() == DESCRIPTION_SECTION && outline.description.is_none() =>
            {
                let text = std::str::from_utf8(section.data())
                    .map_err(|error| ModuleProblem::Description(error.to_string()))?;
                outline.description = Some(text.to_owned());
            }
            _ => {}
        }
    }
    let mut unknown = outline.imports.iter().filter(|name| !is_provided(name));
    let named: Vec<String> = unknown
        .by_ref()
        .take(UNKNOWN_NAMED_MAX)
        .map(|name| shortened(name))
        .collect();
    if !named.is_empty() {
        let more = unknown.count();
        let more = (more > 0).then(|| format!("and {more} more"));
        return Err(ModuleProblem::UnknownImports(
            named.into_iter().chain(more).collect(),
        ));
    }
    if !has_entry {
        return Err(ModuleProblem::NoEntry);
    }
    Ok(outline)
}

/// Refuses by size and first bytes alone.
pub(super) fn check_header(bytes: &[u8], max: usize) -> Result<(), ModuleProblem> {
    if bytes.is_empty() {
        return Err(ModuleProblem::Empty);
    }
    if bytes.len() > max {
        return Err(ModuleProblem::TooLarge {
            bytes: bytes.len(),
            max,
        });
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(ModuleProblem::Native);
    }
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(ModuleProblem::CoreModule);
    }
    let magic = b"\0asm";
    if !bytes.starts_with(magic) {
        return Err(if magic.starts_with(bytes) {
            ModuleProblem::Damaged("it ends within its first four bytes".to_owned())
        } else {
            ModuleProblem::NotWasm
        });
    }
    Ok(())
}

fn shortened(name: &str) -> String {
    match name.split_at_checked(name.floor_char_boundary(UNKNOWN_NAME_BYTES_MAX)) {
        Some((start, rest)) if !rest.is_empty() => format!("{start}…"),
        _ => name.to_owned(),
    }
}

fn is_provided(import: &str) -> bool {
    CONTRACT.contains(&import)
        || import.split_once('@').is_some_and(|(interface, version)| {
            version.starts_with("0.2.")
                && (WASI.contains(&interface) || WASI_UDP.contains(&interface))
        })
}

/// Reads a description.
pub(super) fn description(text: &str) -> Result<ModuleDescription, ModuleProblem> {
    let wrong = |why: String| ModuleProblem::Description(why);
    if text.len() > DESCRIPTION_BYTES_MAX {
        return Err(wrong(format!(
            "it has {} bytes, more than the limit of {}",
            text.len(),
            Size(DESCRIPTION_BYTES_MAX as u64)
        )));
    }
    if super::outcome::deeper_than(text, DESCRIPTION_DEPTH_MAX) {
        return Err(wrong(format!(
            "it nests deeper than {DESCRIPTION_DEPTH_MAX} levels"
        )));
    }
    let description: ModuleDescription =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    for (member, schema) in [
        ("input", &description.input),
        ("output", &description.output),
    ] {
        if !(schema.is_object() || schema.is_boolean()) {
            return Err(wrong(format!("`{member}` is not a JSON Schema")));
        }
    }
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_component_is_refused_by_its_first_bytes() {
        assert_eq!(check_header(b"", 10), Err(ModuleProblem::Empty));
        assert_eq!(
            check_header(b"\0as", 10),
            Err(ModuleProblem::Damaged(
                "it ends within its first four bytes".to_owned()
            ))
        );
        assert_eq!(check_header(b"\x7fELF\x02", 10), Err(ModuleProblem::Native));
        assert_eq!(
            check_header(b"\0asm\x01\0\0\0", 10),
            Err(ModuleProblem::CoreModule)
        );
        assert_eq!(check_header(b"#!/bin/sh", 10), Err(ModuleProblem::NotWasm));
        assert_eq!(
            check_header(&[0; 11], 10),
            Err(ModuleProblem::TooLarge { bytes: 11, max: 10 })
        );
    }

    #[test]
    fn only_published_versions_of_the_contract_and_wasi_are_provided() {
        for bad in [
            "flowweaver:http/client@0.2.0",
            "flowweaver:http/client",
            "flowweaver:shell/exec@0.1.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:cli/environment@0.3.0",
            "wasi:cli/environment",
            "env",
        ] {
            assert!(!is_provided(bad), "{bad}");
        }
        assert!(is_provided("flowweaver:http/client@0.1.0"));
        assert!(is_provided("wasi:sockets/udp@0.2.6"));
    }
}
