#!/usr/bin/env bash
# Runs the tests that kill, stop, cut and tear real processes, each as often as asked for, and prints what was counted.
#
#   daemon/tests/torture_processes.sh kills 100      kill -9 under load on each of the three stores
#   daemon/tests/torture_processes.sh zombies 50     SIGSTOP past the lease, then SIGCONT, on both servers
#   daemon/tests/torture_processes.sh restarts 50    the database server killed under load
#   daemon/tests/torture_processes.sh tears 100      the log of writes torn at random places
#   daemon/tests/torture_processes.sh storms 100000  seeds of the simulator
#   daemon/tests/torture_processes.sh points         every statement, message and commit, on the three stores
#
# SEED=n draws other moments. What fails says why; a test that found no server or program says that it was skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly WHAT=${1:?kills, zombies, restarts, tears, storms or points}
readonly TIMES=${2:-1}
cargo=${CARGO:-cargo}
export FLOWWEAVER_SEED=${SEED:-20261130}

# Always the whole workspace: chosen alone, a package has other features of its dependencies.
run() {
    local target=$1 filter=$2
    # shellcheck disable=SC2086
    "$cargo" test --workspace $target -- "$filter" --nocapture --test-threads 1
}

case $WHAT in
kills)
    "$cargo" build --workspace --bins --examples
    FLOWWEAVER_KILLS_SQLITE=$TIMES FLOWWEAVER_KILLS_POSTGRES=$TIMES FLOWWEAVER_KILLS_MARIADB=$TIMES \
        run "--test system" "${ONLY:-kills::}"
    ;;
zombies)
    "$cargo" build --workspace --bins --examples
    FLOWWEAVER_ZOMBIES_POSTGRES=$TIMES FLOWWEAVER_ZOMBIES_MARIADB=$TIMES run "--test system" "${ONLY:-zombies::}"
    ;;
restarts)
    "$cargo" build --workspace --bins --examples
    FLOWWEAVER_RESTARTS_POSTGRES=$TIMES FLOWWEAVER_RESTARTS_MARIADB=$TIMES run "--test system" "${ONLY:-servers::}"
    ;;
tears)
    "$cargo" build --workspace --bins --examples
    FLOWWEAVER_TEARS=$TIMES run "--test system" "disk::"
    ;;
storms)
    PROPTEST_CASES=$TIMES run "--lib" "engine::tests_simulation::whatever"
    ;;
points)
    FLOWWEAVER_EVERY_POINT=1 run "--lib" "engine::tests_points"
    FLOWWEAVER_EVERY_POINT=1 run "--test engine" "cut_"
    ;;
*)
    echo "$WHAT: kills, zombies, restarts, tears, storms or points" >&2
    exit 2
    ;;
esac
