#!/usr/bin/env bash
# Builds the tasks of this folder to components: target/polyglot/<name>.wasm (or $FLOWWEAVER_POLYGLOT_OUT).
#
#   polyglot/build.sh                   tests the sources, then builds all of them
#   polyglot/build.sh javascript        only these (javascript, starlingmonkey, python)
#
# The compilers are installed once, into ~/.cache/flowweaver/polyglot, exactly as the lock files beside the sources
# say: every package by its version and its hash. Nothing else of the machine is touched. A component that is newer
# than everything it is made of is left alone.
set -euo pipefail

# Of a lock file and what was installed: every package that is there is the one that was meant, by its hash.
readonly SAME_PACKAGES='
    const [meant, there] = process.argv.slice(1).map((file) => require(file).packages);
    for (const [name, found] of Object.entries(there)) {
        const same = found.integrity ? found.integrity === meant[name]?.integrity : found.inBundle && meant[name]?.inBundle;
        if (!same) {
            console.error(`${name} is not what package-lock.json names`);
            process.exit(1);
        }
    }'
readonly NPM_QUIET=(--no-audit --no-fund --no-update-notifier --loglevel=error)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly cache="${XDG_CACHE_HOME:-$HOME/.cache}/flowweaver/polyglot"
readonly out="${FLOWWEAVER_POLYGLOT_OUT:-$root/target/polyglot}"

say() { printf 'polyglot/build.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

need() {
    command -v "$1" >/dev/null || fail "$1 is missing; $2"
}

# Runs $2… in $cache/$1 unless that was done before for the same files and versions.
once() {
    local name=$1 state=$2 folder="$cache/$1"
    shift 2
    if [ "$(cat "$folder/.installed" 2>/dev/null)" != "$state" ]; then
        say "installing $name into $folder"
        rm -rf "$folder"
        mkdir -p "$folder"
        (cd "$folder" && "$@") >&2 || fail "$name could not be installed"
        printf '%s\n' "$state" >"$folder/.installed"
    fi
}

state_of() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }

# Builds $out/$1 with the command after `--` unless it is newer than the files before it and the contract.
built() {
    local component="$out/$1" sources=()
    shift
    while [ "$1" != -- ]; do
        sources+=("$1")
        shift
    done
    shift
    if [ -f "$component" ] && [ -z "$(find "$root/wit" "$root/polyglot/build.sh" "${sources[@]}" -newer "$component")" ]; then
        return
    fi
    local started=$SECONDS
    # The compilers write in place; a reader must never see half a component.
    "$@" "$component.part" >"$component.log" 2>&1 || { cat "$component.log" >&2; fail "$(basename "$component") was not built"; }
    rm "$component.log"
    mv "$component.part" "$component"
    say "$(basename "$component"): $(stat -c %s "$component") bytes in $((SECONDS - started)) s"
}

javascript_tools() {
    need node "install Node.js 20.6 or newer"
    need npm "it comes with Node.js"
    npm_locked quickjs "$root/polyglot/javascript"
}

# Installs into $cache/$1 what the lock file in $2 names, and nothing else. Not `npm ci`: it refuses a lock file that
# lacks packages for other platforms, which their makers named and never published.
npm_locked() {
    local from=$2
    install_locked() {
        cp "$from/package.json" "$from/package-lock.json" .
        npm install "${NPM_QUIET[@]}" && node -e "$SAME_PACKAGES" "$from/package-lock.json" "$PWD/node_modules/.package-lock.json"
    }
    once "$1" "$(state_of "$from/package.json" "$from/package-lock.json")" install_locked
}

javascript() {
    javascript_tools
    local from="$root/polyglot/javascript" task
    (cd "$from" && node --import ./testing/register.js --test >&2) || fail "the tests in polyglot/javascript fail"
    compile() {
        built "$1-javascript.wasm" "$from/$1.js" "$from/utf8.js" "$from/package.json" -- "$cache/quickjs/node_modules/.bin/componentize-qjs" \
            --sync --opt-size --wit "$root/wit" --world "$2" --js "$from/$1.js" --output
    }
    compile chat-notify task-http
    compile probe task
}

# The same sources with the engine of Firefox.
starlingmonkey() {
    need npm "it comes with Node.js"
    # Some 250 packages, so they have a lock file of their own: nobody waits for them who wants the small engine.
    npm_locked starlingmonkey "$root/polyglot/starlingmonkey"
    local from="$root/polyglot/javascript"
    compile() {
        built "$1-starlingmonkey.wasm" "$from/$1.js" "$from/utf8.js" -- "$cache/starlingmonkey/node_modules/.bin/componentize-js" "$from/$1.js" \
            --disable http --disable fetch-event --wit "$root/wit" --world-name "$2" --out
    }
    compile chat-notify task-http
    compile probe task
}

python() {
    need python3 "install Python 3.10 or newer"
    local from="$root/polyglot/python" compiler="$cache/python/bin/componentize-py" bindings="$cache/python/bindings"
    install_python() { python3 -m venv . && bin/pip install --quiet --no-deps --require-hashes --requirement "$from/requirements.txt"; }
    once python "$(state_of "$from/requirements.txt")" install_python
    # A new folder each time: the compiler refuses to write over its own files.
    rm -rf "$bindings"
    "$compiler" --quiet --wit-path "$root/wit" --world task-sql bindings "$bindings"
    (cd "$from" && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$bindings" python3 -m unittest --quiet) || fail "the tests in polyglot/python fail"
    # VIRTUAL_ENV must not decide what is packed.
    compile() {
        built "$1-python.wasm" "$from/${1//-/_}.py" "$from/requirements.txt" -- env -u VIRTUAL_ENV "$compiler" \
            --wit-path "$root/wit" --world "$2" componentize "${1//-/_}" --python-path "$from" --output
    }
    compile review-digest task-sql
    compile probe task
}

mkdir -p "$out" "$cache"
for language in "${@:-javascript starlingmonkey python}"; do
    for each in $language; do
        case $each in
            javascript | starlingmonkey | python) "$each" ;;
            *) fail "$each: one of javascript, starlingmonkey, python" ;;
        esac
    done
done
