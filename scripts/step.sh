#!/bin/sh
# step.sh NAME COMMAND...: one progress line; the command's output is shown only when it fails.
set -eu
# shellcheck source=scripts/say.sh
. "$(dirname "$0")/say.sh"

name=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if "$@" >"$log" 2>&1 </dev/null; then
    say "ok      $name"
else
    say "failed  $name"
    cat "$log" >&2
    exit 1
fi
