#!/bin/sh
# timescale.sh FOLDER: put PostgreSQL 17 with TimescaleDB (Apache edition) into FOLDER (an absolute path), for
# tests and benchmarks; its programs are then in FOLDER/usr/lib/postgresql/17/bin.
# Debian 13's packages, fetched and checked by apt with lists of its own and unpacked, never installed: that
# takes ten seconds, needs no root, and changes nothing in the system. They bring their own C library, so the
# programs start through its loader. FOLDER is whole or absent.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

folder=$1
programs=usr/lib/postgresql/17/bin
[ -x "$folder/$programs/postgres" ] && exit 0

for program in apt-get dpkg-deb; do
    command -v "$program" >/dev/null 2>&1 || fail \
        "TimescaleDB for the tests comes as Debian packages, and this system has no $program" \
        "set TIMESCALE_TEST_URL to a server with the extension, and a user who may create databases"
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keys" ] || fail "Debian's keys are not on this system, so TimescaleDB cannot be checked: $keys" \
    "run as root: apt-get install debian-archive-keyring"

packages="postgresql-17 postgresql-17-timescaledb libaudit1 libc6 libcap2 libcap-ng0 libcom-err2 libgcc-s1
    libgssapi-krb5-2 libicu76 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 libldap2 liblz4-1 liblzma5
    libpam0g libpq5 libsasl2-2 libssl3t64 libstdc++6 libsystemd0 libxml2 libxxhash0 libzstd1 zlib1g"

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages" "$work/tree"
: >"$work/status"
echo "deb [signed-by=$keys] http://deb.debian.org/debian trixie main" >"$work/sources.list"
# The system's own settings stay in force (a proxy, say); apt reads this file after them.
cat >"$work/apt.conf" <<EOT
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$work";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "";
EOT

say "fetching PostgreSQL 17 with TimescaleDB for the tests (36 MB, kept for the next run)"
export APT_CONFIG="$work/apt.conf"
# shellcheck disable=SC2086  # a list of package names
{ quietly "$work/log" apt-get update --error-on=any && cd "$work/packages" && quietly "$work/log" apt-get download $packages; } ||
    fail "TimescaleDB for the tests could not be fetched (the reason stands above)" "check the network"
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$work/tree"
done

# A program that starts another one (initdb, postgres) does so by name: each name is a script that adds the loader.
loader=$(cd "$work/tree" && ls usr/lib/*/ld-linux*.so*)
mkdir "$work/tree/real"
for program in postgres initdb; do
    mv "$work/tree/$programs/$program" "$work/tree/real/$program"
    cat >"$work/tree/$programs/$program" <<EOT
#!/bin/sh
exec "$folder/$loader" --argv0 "$folder/$programs/$program" --library-path "$folder/$(dirname "$loader")" \\
    "$folder/real/$program" "\$@"
EOT
    chmod 755 "$work/tree/$programs/$program"
done
chmod 755 "$work/tree"
# Whoever was faster has put the same there.
mv -T "$work/tree" "$folder" 2>/dev/null || [ -x "$folder/$programs/postgres" ]
