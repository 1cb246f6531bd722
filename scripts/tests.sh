#!/bin/sh
# tests.sh [PYTEST ARGUMENT...]: every test, several at once; a few that failed get one more try, alone.
# Why, and why only a few: docs/decisions/0027-one-more-try-alone.md
set -u
# shellcheck source=scripts/say.sh
. "$(dirname "$0")/say.sh"

bin=${BIN:-.venv/bin}
cache=.pytest_cache/whole
failed=$cache/v/cache/lastfailed
most=5

"$bin/pytest" -q --numprocesses 3 --dist loadfile --no-loadscope-reorder -o cache_dir="$cache" --cache-clear "$@"
status=$?
[ "$status" -eq 1 ] && [ -s "$failed" ] || exit "$status"  # 1: tests failed; anything else is no test's doing

names=$("$bin/python" -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1]))))' "$failed")
count=$(printf '%s\n' "$names" | wc -l)
if [ "$count" -gt "$most" ]; then
    say "failed  $count tests: more than $most are not tried again"
    exit "$status"
fi
say "again   $count of the tests, alone"
"$bin/pytest" -q -p no:randomly -o cache_dir="$cache" --last-failed --last-failed-no-failures none "$@"
status=$?
if [ "$status" -eq 0 ]; then
    say "UNSTEADY: failed among the others and passed alone. Each is a fault to be found, of a test or of the product:"
    printf '%s\n' "$names" | sed 's/^/        /'
fi
exit "$status"
