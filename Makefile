# The commands of this repository, each a thin line over cargo.
# `make demo` shows the product at work; `make test` shows that it keeps its promises.

CARGO ?= cargo
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: demo serve test test-rust test-languages tasks lint bench torture \
	torture-kills torture-zombies torture-restarts torture-tears torture-storms torture-points

# Always the whole workspace: chosen alone, a package has other features of its dependencies, and all would be compiled again.
DEMO := --workspace --bins --example demo --example demo_world

## Runs the sample workflow against the demo world and fetches the article it published.
demo: tasks
	$(CARGO) build $(DEMO)
	target/debug/examples/demo

## The same world and a daemon, left running until interrupted.
serve: tasks
	$(CARGO) build $(DEMO)
	target/debug/examples/demo --keep

## Everything that is promised, checked.
test: lint tasks test-rust
	@echo "not run: tasks in JavaScript and Python (their compilers are 500 MB); 'make test-languages' installs them and does"

# The system tests start the command and the demo world, so these are built first. Benchmarks are left out: they measure.
TARGETS := --workspace --lib --bins --examples --tests
# A gate judges a change, not its luck: the random cases are the same in every run. `make torture` draws others.
test-rust: export PROPTEST_RNG_SEED ?= 1
test-rust:
	$(CARGO) build --workspace --bins --examples
ifdef NEXTEST
	$(CARGO) nextest run $(TARGETS) --no-fail-fast
else
	$(CARGO) test $(TARGETS) --no-fail-fast
endif
	$(CARGO) test --workspace --doc

## Tasks in JavaScript and Python, built by their own compilers and run by the daemon. Needs node, npm, python3 and a network.
test-languages:
	polyglot/build.sh
	FLOWWEAVER_POLYGLOT=$(CURDIR)/target/polyglot $(CARGO) test --workspace --test languages

## Builds every module to tasks/<name>.wasm.
tasks:
	./tasks/build.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings

## Measures the whole product (docs/benchmarks.md) and asserts nothing. Its parts:
## `cargo bench --workspace --bench store_commit`, and the like.
bench:
	$(CARGO) bench --workspace --bench whole
	$(CARGO) bench --workspace --bench engine_step
	$(CARGO) bench --workspace --bench store_history
	$(CARGO) bench --workspace --bench sandbox_call
	$(CARGO) bench --workspace --bench broker_call

## Every property with N random cases each, compiled for speed (docs/torture.md); `ONLY=address` for those whose name matches.
N ?= 1000000
torture:
	daemon/tests/torture.sh $(N) $(ONLY)

## Real processes killed, stopped, cut off and torn, N times each on each store, with a line of counts:
## `make torture-kills N=300`, `torture-zombies N=50`, `torture-restarts N=50`, `torture-tears N=100`;
## the simulator's seeds: `make torture-storms N=100000`; every statement and message: `make torture-points`.
torture-kills torture-zombies torture-restarts torture-tears torture-storms torture-points: torture-%:
	daemon/tests/torture_processes.sh $* $(N)
