//! WASM proposals that are off: each widens what hostile code can do, and no published toolchain for tasks needs it.

use flowweaver::sandbox::module::ModuleProblem;

use crate::guests::run;
use crate::world::*;

/// Attack: Threads: a shared memory or an atomic access. The module is refused.
/// Attack: memory64, a memory with 64-bit addresses. The module is refused.
/// Attack: Garbage-collected types and typed function references. The module is refused.
/// Attack: Exceptions: a tag or a try. The module is refused.
/// Attack: Relaxed SIMD, whose results differ between machines. The module is refused.
/// Attack: Custom page sizes, wide arithmetic, stack switching. The module is refused.
#[tokio::test]
async fn core_features_that_are_off_are_refused() {
    let (_folder, sandbox) = sandbox();
    let mut accepted = Vec::new();
    for feature in [
        "(memory $shared 1 1 shared)",
        "(func (drop (i32.atomic.load (i32.const 0))))",
        "(func (atomic.fence))",
        "(memory $wide i64 1)",
        "(table $wide i64 1 funcref)",
        "(type $pair (struct (field i32)))",
        "(type $list (array i8))",
        "(func (drop (ref.i31 (i32.const 1))))",
        "(func (param anyref))",
        "(func (param externref))",
        "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
        "(tag $thrown)",
        "(func (try_table (catch_all 0)))",
        "(func (param v128 v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))",
        "(memory $small 1 (pagesize 1))",
        "(func (param i64 i64 i64 i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))",
        "(type $f (func)) (type $c (cont $f))",
    ] {
        let bytes = run("(call $empty)").functions(feature).bytes();
        let prepared = sandbox.prepare(bytes.into()).await;
        if !matches!(prepared, Err(ModuleProblem::Invalid(_))) {
            accepted.push((feature, prepared.err()));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: The asynchronous component model: futures, streams, async functions, error contexts. The module is refused.
#[tokio::test]
async fn component_features_that_are_off_are_refused() {
    let (_folder, sandbox) = sandbox();
    let honest = run("(call $empty)").wat();
    let mut accepted = Vec::new();
    for feature in [
        "(type (future u8))",
        "(type (stream u8))",
        "(type (func async))",
        "(core func (canon backpressure.inc))",
        "(core func (canon task.cancel))",
        "(core func (canon context.get i32 0))",
        "(type error-context)",
        "(core func (canon thread.index))",
        "(type (list u8 4))",
        "(type (map u8 u8))",
    ] {
        let text = honest.replacen("(component", &format!("(component {feature}"), 1);
        let bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("{feature}: {error}"));
        let prepared = sandbox.prepare(bytes.into()).await;
        if !matches!(prepared, Err(ModuleProblem::Invalid(_))) {
            accepted.push((feature, prepared.err()));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    runs_an_honest_guest(&sandbox).await;
}

#[tokio::test]
async fn what_published_toolchains_emit_is_accepted() {
    let (_folder, sandbox) = sandbox();
    for feature in [
        "(func (param v128 v128) (result v128) (i8x16.add (local.get 0) (local.get 1)))",
        "(func (param i32) (result i32) (i32.extend8_s (local.get 0)))",
        "(func (result i32 i32) (i32.const 1) (i32.const 2))",
        "(func $tail (return_call $tail))",
        "(memory $second 1)",
        "(func (i32.const 0) (i32.const 0) (i32.const 1) (memory.copy))",
        "(func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0)))",
    ] {
        let bytes = run("(call $empty)").functions(feature).bytes();
        sandbox
            .prepare(bytes.into())
            .await
            .unwrap_or_else(|problem| panic!("{feature}: {problem}"));
    }
}
