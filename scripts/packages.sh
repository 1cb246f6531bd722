#!/bin/sh
# packages.sh PACKAGE...: install Debian packages, as root or through sudo, without starting their services.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

command -v apt-get >/dev/null 2>&1 || fail \
    "this system has no apt-get, so these cannot be installed for you: $*" \
    "install them with your system's package manager and run make again (dnf, apk or pacman: mosquitto)"

if [ "$(id -u)" -eq 0 ]; then
    say "installing system packages: $*"
    as_root() { "$@"; }
elif command -v sudo >/dev/null 2>&1; then
    say "installing system packages needs root, so sudo may ask for your password: $*"
    if [ -t 0 ]; then
        as_root() { sudo "$@"; }
    else
        as_root() { sudo -n "$@"; }
    fi
else
    fail "installing these system packages needs root, and there is no sudo: $*" \
        "run as root: apt-get update && apt-get install $*; then run make again"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
as_root sh scripts/apt-install.sh "$@" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "apt-get could not install: $*" "run as root: apt-get update && apt-get install $*"
}
