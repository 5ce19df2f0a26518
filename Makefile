# The commands of this repository, each a thin line over cargo.
# `make demo` shows the product at work; `make test` shows that it keeps its promises.

CARGO ?= cargo
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: demo serve test test-rust tasks lint bench

## Runs the sample workflow against the demo world and fetches the article it published.
demo: tasks
	$(CARGO) build --package flowweaver --bins --example demo --example demo_world
	target/debug/examples/demo

## The same world and a daemon, left running until interrupted.
serve: tasks
	$(CARGO) build --package flowweaver --bins --example demo --example demo_world
	target/debug/examples/demo --keep

## Everything that is promised, checked.
test: lint tasks test-rust

# The system tests start the command and the demo world, so these are built first. Benchmarks are left out: they measure.
TARGETS := --workspace --lib --bins --examples --tests
test-rust:
	$(CARGO) build --package flowweaver --bins --examples
ifdef NEXTEST
	$(CARGO) nextest run $(TARGETS) --no-fail-fast
else
	$(CARGO) test $(TARGETS) --no-fail-fast
endif
	$(CARGO) test --workspace --doc

## Builds every module to tasks/<name>.wasm.
tasks:
	./tasks/build.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings

## Measures the whole product (docs/benchmarks.md) and asserts nothing. Its parts:
## `cargo bench --package flowweaver --bench store_commit`, and `--bench sandbox_call`.
bench:
	$(CARGO) bench --package flowweaver --bench whole
