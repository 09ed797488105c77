#!/bin/sh
# Puts in place what the Makefile asks for:  tools/setup.sh hub | session | vendor | dev | browser | bench | requirements
#
# Quiet, since the Makefile says what is being done; where a tool fails, shows what it said and what to do. Every step can
# be run again at any time. Needs a POSIX shell and Python 3.11 or newer; must not touch anything outside this folder, but
# for `browser` and `bench`, which install Debian packages where they may.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .make

say() { printf '%s\n' "$*"; }

fail() {
    printf '\n%s\n' "$*" >&2
    exit 1
}

# quietly ADVICE COMMAND...: runs the command; where it fails, shows its output and the advice, and ends.
quietly() {
    advice=$1
    shift
    log=.make/$step.log
    if ! "$@" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        fail "$advice"
    fi
}

right_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Prints the first Python that is new enough: the one named by PYTHON, or else what PATH has.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        right_python "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer."
        say "$PYTHON"
        return
    fi
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if right_python "$name"; then
            say "$name"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, and PATH has none. Install one, or name it: make PYTHON=/path/to/python3"
}

# make_venv FOLDER: a virtual environment whose Python runs. One whose Python has gone is made anew.
make_venv() {
    if "$1/bin/python" -c 'import pip' >/dev/null 2>&1; then return; fi
    python=$(find_python)
    quietly "The virtual environment $1 could not be made with $python. On Debian and Ubuntu: apt-get install python3-venv" \
        "$python" -m venv --clear "$1"
}

# pip_install FOLDER ARGUMENT...
# With --no-deps: the files are whole, and pip would look for newer versions of what an extra names.
pip_install() {
    folder=$1
    shift
    quietly "pip could not install the packages above. Is the network there? Once it is: make again." \
        "$folder/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@"
}

have_node() {
    command -v npm >/dev/null 2>&1 &&
        node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' >/dev/null 2>&1
}

# Puts an npm on PATH: the machine's own where its Node.js is 18 or newer, else one from a Python package.
need_node() {
    if have_node; then return; fi
    pip_install .venv --no-deps --require-hashes -r requirements/node.txt
    PATH=$PWD/.venv/bin:$PATH
    export PATH
}

missing_debs() {
    command -v chromium >/dev/null 2>&1 || say chromium fonts-dejavu-core
    command -v bwrap >/dev/null 2>&1 || say bubblewrap
}

have_nginx() { command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ]; }

# install_debs PURPOSE PACKAGE...: with apt-get, as root or with sudo where it asks for no password. False where it may not.
install_debs() {
    purpose=$1
    shift
    sudo=
    if [ "$(id -u)" -ne 0 ]; then sudo="sudo -n"; fi
    if ! command -v apt-get >/dev/null 2>&1 || ! $sudo true >/dev/null 2>&1; then return 1; fi
    say "Debian packages for $purpose: $* (about a minute)…"
    quietly "apt-get could not read its lists of packages." $sudo apt-get update
    quietly "apt-get could not install $*. Install them, then try again." \
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

step=${1:-}
case $step in
hub)
    make_venv .venv
    pip_install .venv --no-deps --require-hashes -r requirements/hub.txt
    pip_install .venv --no-deps --no-build-isolation -e .
    ;;
session)
    make_venv .venv-session
    pip_install .venv-session --no-deps --require-hashes -r requirements/session.txt
    ;;
vendor)
    need_node
    quietly "npm could not fetch the browser's libraries. Is the network there? Once it is: make again." \
        npm ci --ignore-scripts --no-audit --no-fund
    quietly "The browser's libraries are not as expected." .venv/bin/python tools/vendor.py
    ;;
dev)
    pip_install .venv --no-deps --require-hashes -r requirements/dev.txt
    ;;
browser)
    debs=$(missing_debs)
    if [ -z "$debs" ]; then exit; fi
    # shellcheck disable=SC2086  (a list of words)
    install_debs "the tests" $debs ||
        fail "The tests need Chromium and bubblewrap, and this machine lacks: $(say $debs). Install them, then make test again."
    ;;
bench)
    debs=$(missing_debs; have_nginx || say nginx-light)
    # shellcheck disable=SC2086  (a list of words)
    if [ -n "$debs" ] && ! install_debs "the benchmarks" $debs; then
        say "This machine lacks $(say $debs), and apt-get cannot be used here. What needs them is left out."
    fi
    need_node
    quietly "npm could not fetch configurable-http-proxy. Is the network there?" \
        npm ci --prefix bench --ignore-scripts --no-audit --no-fund
    ;;
requirements)
    if ! command -v uv >/dev/null 2>&1; then
        make_venv .make/uv
        pip_install .make/uv uv
        PATH=$PWD/.make/uv/bin:$PATH
    fi
    shift
    UV_CUSTOM_COMPILE_COMMAND="make requirements"
    export UV_CUSTOM_COMPILE_COMMAND
    for name in hub session dev node; do
        say "requirements/$name.txt…"
        quietly "uv found no set of versions that fits." uv pip compile --universal --python-version 3.11 --generate-hashes \
            --no-emit-index-url --no-emit-find-links "$@" "requirements/$name.in" -o "requirements/$name.txt"
    done
    need_node
    for folder in . bench; do
        say "$folder/package-lock.json…"
        quietly "npm could not make the lock file." \
            npm install --prefix "$folder" --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund
        # It also copies where its packages ask for donations; a lock file holds no addresses.
        node -e 'const fs = require("fs"), lock = JSON.parse(fs.readFileSync(process.argv[1]));
            for (const one of Object.values(lock.packages)) delete one.funding;
            fs.writeFileSync(process.argv[1], JSON.stringify(lock, null, 2) + "\n")' "$folder/package-lock.json"
    done
    ;;
*)
    fail "usage: tools/setup.sh hub | session | vendor | dev | browser | bench | requirements [UV'S OPTION...]"
    ;;
esac
