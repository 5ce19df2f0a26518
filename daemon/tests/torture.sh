#!/usr/bin/env bash
# Runs every property test, each with as many cases as asked for, and prints what each took.
#
#   daemon/tests/torture.sh 1000000           all of them
#   daemon/tests/torture.sh 1000000 'address' only those whose name matches
#
# The properties are read from the sources: what stands in a `proptest!` is one. A property that passes
# has run all its cases; one that fails is shown with the smallest input that breaks it.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly CASES=${1:?how many cases}
readonly ONLY=${2:-.}
# As many at once as there are cores: each runs on one thread.
readonly AT_ONCE=${TORTURE_JOBS:-$(nproc)}
cargo=${CARGO:-cargo}

# As released, and shared with `make bench`; only the crate under test also checks itself.
profile=(--release
    --config profile.release.package.flowweaver.debug-assertions=true
    --config profile.release.package.flowweaver.overflow-checks=true)
export CARGO_INCREMENTAL=0 PROPTEST_CASES=$CASES

# The names of all properties: functions inside the macro, which ends where its indentation does.
properties() {
    grep -rl --include='*.rs' '^ *proptest! {' daemon/src daemon/tests | xargs awk '
        /^ *proptest! \{$/ { inside = 1; match($0, /^ */); end = RLENGTH; next }
        inside && /^ *\}$/ { match($0, /^ */); if (RLENGTH == end) inside = 0 }
        inside && /^ *fn [a-z0-9_]+\(/ { sub(/^ *fn /, ""); sub(/\(.*/, ""); print }'
}

# The test binaries that hold them: the library and those files of tests/ that have one.
targets=(--lib)
for name in $(grep -rl --include='*.rs' '^ *proptest! {' daemon/tests | cut -d/ -f3 | sed 's/\.rs$//' | sort -u); do
    targets+=(--test "$name")
done
# Always the whole workspace: chosen alone, a package has other features of its dependencies.
built=$("$cargo" test --workspace "${profile[@]}" "${targets[@]}" --no-run 2>&1) || { echo "$built" >&2; exit 1; }
mapfile -t binaries < <(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' <<<"$built" | xargs -d '\n' realpath)

run() {
    local binary=$1 test=$2 out seconds
    if ! out=$("$binary" --exact "$test" 2>&1); then
        printf '%s FAILED\n%s\n' "$test" "$out"
        return 1
    fi
    seconds=$(sed -n 's/^test result: ok\. 1 passed.* finished in \(.*\)s$/\1/p' <<<"$out")
    [ -n "$seconds" ] || { printf '%s did not run\n%s\n' "$test" "$out"; return 1; }
    printf '%10s cases %9s s  %s\n' "$PROPTEST_CASES" "$seconds" "$test"
}
export -f run

wanted=$(properties)
selected=$(
    for binary in "${binaries[@]}"; do
        "$binary" --list 2>/dev/null | sed -n 's/: test$//p' | while read -r test; do
            if grep -qx "${test##*::}" <<<"$wanted" && [[ $test =~ $ONLY ]]; then
                printf '%s\n%s\n' "$binary" "$test"
            fi
        done
    done
)
[ -n "$selected" ] || { echo "no property matches $ONLY" >&2; exit 1; }
# The tests of a package run in its folder.
cd daemon
xargs -d '\n' -n 2 -P "$AT_ONCE" bash -c 'run "$@"' run <<<"$selected"
