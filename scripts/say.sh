# shellcheck shell=sh
# Sourced by the other scripts: progress lines on standard error, and failures with what to do next.

say() {
    printf '  %s\n' "$*" >&2
}

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do
        printf '  fix: %s\n' "$line" >&2
    done
    exit 1
}

# quietly LOG COMMAND...: run it, show its output only when it fails.
quietly() {
    quietly_log=$1
    shift
    if ! "$@" >"$quietly_log" 2>&1 </dev/null; then
        cat "$quietly_log" >&2
        return 1
    fi
}
