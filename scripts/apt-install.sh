#!/bin/sh
# apt-install.sh PACKAGE...: the part that runs as root.
# Debian starts a service as soon as it is installed; mosquitto's would take port 1883 for a broker that
# nobody asked for. policy-rc.d is Debian's way to say no.
set -eu

export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

install() {
    apt-get install --yes --no-install-recommends "$@"
}

# A fresh image has no package lists, an old one has stale ones; both show as a failing install.
install "$@" || { apt-get update && install "$@"; }

for package in "$@"; do
    case $package in
    mosquitto | redis-server | docker-registry) units=$package.service ;;
    docker.io) units="docker.service docker.socket containerd.service" ;;
    *) units= ;;
    esac
    if [ -n "$units" ] && command -v systemctl >/dev/null 2>&1; then
        # shellcheck disable=SC2086  a list of units
        systemctl disable $units || true
    fi
done
