#!/bin/sh
# setup.sh [PACKAGE...]: make .venv as uv.lock says, and install the named programs
# when they are missing. A second run finds everything in place in a few milliseconds, and works offline.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

[ -w . ] || [ -x .venv/bin/python ] || fail "$(pwd) cannot be written by $(id -un)" \
    "run make in a copy that is yours: git clone $(pwd) ~/iotistic"

stamp=.venv/.iotistic-setup

# What the environment was made from; the folder is part of it because a moved .venv does not work.
fingerprint() {
    { cat uv.lock pyproject.toml && pwd; } | cksum
}

make_environment() {
    # Apart from the quiet step below, so that its progress and its own reason for failing are seen.
    sh scripts/uv.sh --version >/dev/null || exit 1
    say "installing Python packages into .venv (once; a minute or two)"
    set -- sync --frozen --all-extras
    if python3.11 -c '' 2>/dev/null; then
        set -- "$@" --python python3.11
    fi
    mkdir -p .tools
    quietly .tools/sync.log sh scripts/uv.sh "$@" || fail \
        "the Python packages could not be installed (the reason stands above)" \
        "check the network, then run make again"
    fingerprint >"$stamp"
}

has() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/usr/local/sbin/$1" ]
}

is_missing() {
    case $1 in
    mosquitto) [ -z "${MQTT_BROKER_URL:-}" ] && ! has mosquitto ;;
    mosquitto-clients) ! has mosquitto_sub ;;
    openjdk-*) ! has java ;;
    docker.io) ! has dockerd || ! has docker ;;
    busybox-static) ! has busybox ;;
    *) ! has "$1" ;;
    esac
}

# First what may ask for a password or be refused: nobody likes to wait for that.
missing=
for program in "$@"; do
    if is_missing "$program"; then
        missing="$missing $program"
    fi
done
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086  # a list of package names
    sh scripts/packages.sh $missing
fi

if [ ! -x .venv/bin/python ] || [ "$(cat "$stamp" 2>/dev/null)" != "$(fingerprint)" ]; then
    make_environment
fi
