#!/bin/sh
# Run uv: the one on PATH, or one of our own in .tools, which is installed when there is none.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

# Hard links into a cache on another file system only produce a warning; copies always work.
: "${UV_LINK_MODE:=copy}"
: "${UV_NO_PROGRESS:=1}"
export UV_LINK_MODE UV_NO_PROGRESS
# Networks with their own certificate authority put it into the system's store, which uv ignores by itself.
if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
    : "${UV_SYSTEM_CERTS:=1}"
    export UV_SYSTEM_CERTS
fi
tools=.tools

works() {
    "$1" --version >/dev/null 2>&1
}

install_uv() {
    say "installing uv into $tools (the package installer; not found on this machine)"
    command -v python3 >/dev/null 2>&1 || fail "there is no python3 on this machine" \
        "install it with your system's package manager (apt-get install python3)"
    mkdir -p "$tools"
    with_venv || with_pip || with_own_pip || fail \
        "uv could not be installed (a reason, if there is one, stands above)" \
        "check the network and run make again, or install uv yourself: https://docs.astral.sh/uv"
}

with_venv() {
    rm -rf "$tools/uv-env"
    # Debian's python3 without python3-venv has the module but not ensurepip.
    python3 -c 'import venv, ensurepip' 2>/dev/null || return 1
    python3 -m venv "$tools/uv-env" >/dev/null 2>&1 || return 1
    quietly "$tools/uv.log" "$tools/uv-env/bin/python" -m pip install --quiet uv || return 1
    place "$tools/uv-env/bin/uv"
}

with_pip() {
    python3 -m pip --version >/dev/null 2>&1 || return 1
    into_folder python3 -m pip
}

# Debian's python3 has neither of both, and installing them would take root.
with_own_pip() {
    pip=$(python3 scripts/fetch_pip.py "$tools" 2>"$tools/uv.log") || {
        tail -n 1 "$tools/uv.log" >&2
        return 1
    }
    into_folder python3 "$pip/pip"
}

into_folder() {
    quietly "$tools/uv.log" "$@" install --quiet --target "$tools/uv-pip" --upgrade uv || return 1
    place "$tools/uv-pip/bin/uv"
}

place() {
    mkdir -p "$tools/bin"
    ln -sf "../${1#"$tools"/}" "$tools/bin/uv"
    works "$tools/bin/uv"
}

if works uv; then
    uv=uv
else
    works "$tools/bin/uv" || install_uv
    uv=$tools/bin/uv
fi
exec "$uv" "$@"
