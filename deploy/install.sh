#!/bin/sh
# install.sh: put the Iotistic agent onto this device, as a service of systemd or as a container. Run it again to
# bring it up to date: what is as it should be is left alone. It runs nothing that it did not come with.
set -eu

usage() {
    cat <<'USAGE'
usage: install.sh [--source WHERE] [options]

  --source WHERE    what to install: a wheel (iotistic-*.whl), a folder of wheels (nothing else is asked then),
                    or the URL of a package index; without it, the wheel that lies beside this script.
                    With --method docker: a file made by `docker save`
  --version V       version to take from a folder or an index (default: the newest)
  --method M        systemd, docker, or auto (default): systemd where it runs and Python 3.11 can be had
  --image NAME      with docker: the agent's image (default: iotistic-agent)
  --forecasts       with numpy, for forecasts of the anomaly detection: 70 MB more. An image has it when it was
                    built with EXTRAS="agent forecast"
  --python PATH     Python to use, 3.11 or newer (default: the newest that is found)
  --root DIR        install below DIR, without users and services
  --no-start        do not start it yet
  --uninstall       remove the program; data and settings stay
  --purge           remove data, settings and the user too
  --dry-run         only say what would be done
  --help

Exit status: 0 done, 1 it could not be done, 2 the options are wrong.
USAGE
}

name=iotistic-agent
here=$(cd "$(dirname "$0")" && pwd)
source='' version='' method=auto image=iotistic-agent python='' root=''
start=yes task=install purge='' dry='' changed='' extras=agent

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  fix: %s\n' "$2" >&2
    exit 1
}
misused() {
    printf 'install.sh: %s; see --help\n' "$1" >&2
    exit 2
}

# act WHAT COMMAND...: do something that changes the device, or say that it would be done.
act() {
    what=$1
    shift
    changed=yes
    if [ -n "$dry" ]; then
        say "would $what"
    else
        say "$what"
        "$@" || fail "could not $what"
    fi
}

has() { command -v "$1" >/dev/null 2>&1; }

# ---------------------------------------------------------------- what kind of device this is

# 32-bit programs run on 64-bit kernels (Raspberry Pi OS on a Pi 4), so the kernel's word is not enough.
find_architecture() {
    machine=$(uname -m)
    bits=$(getconf LONG_BIT 2>/dev/null || echo 64)
    case $machine in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) [ "$bits" = 32 ] && arch=armv7l || arch=arm64 ;;
    armv7l | armv8l) arch=armv7l ;;
    *) fail "this device has a $machine processor, which the agent is not made for" \
        "it runs on x86-64, and on ARM from the Raspberry Pi 3 on" ;;
    esac
}

find_device_type() {
    model=
    if [ -r "$root/proc/device-tree/model" ]; then
        model=$(tr -d '\000' <"$root/proc/device-tree/model")
    fi
    case $model in
    *"Raspberry Pi 3"* | *"Raspberry Pi Zero 2"*) device=pi3 ;;
    *"Raspberry Pi "*) device=pi4 ;;
    *) [ "$arch" = amd64 ] && device=x86 || device=standalone ;;
    esac
}

find_distribution() {
    distribution=unknown family=unknown
    for file in "$root/etc/os-release" "$root/usr/lib/os-release"; do
        if [ -r "$file" ]; then
            distribution=$(sed -n 's/^PRETTY_NAME=//p' "$file" | tr -d '"')
            ids=" $(sed -n 's/^ID=//p; s/^ID_LIKE=//p' "$file" | tr -d '"' | tr '\n' ' ')"
            case $ids in
            *" debian "* | *" ubuntu "* | *" raspbian "*) family=debian ;;
            *" fedora "* | *" rhel "*) family=fedora ;;
            *" arch "*) family=arch ;;
            *" alpine "*) family=alpine ;;
            *suse*) family=suse ;;
            esac
            return
        fi
    done
}

# ---------------------------------------------------------------- Python

is_good_python() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "$python" ]; then
        is_good_python "$python"
        return
    fi
    for one in python3.14 python3.13 python3.12 python3.11 python3; do
        if has "$one" && is_good_python "$one"; then
            python=$(command -v "$one")
            return 0
        fi
    done
    return 1
}

install_packages() {
    case $family in
    debian)
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q && apt-get install -q -y --no-install-recommends "$@"
        ;;
    fedora) dnf install -q -y "$@" ;;
    suse) zypper --non-interactive install "$@" ;;
    arch) pacman -S --noconfirm --needed "$@" ;;
    *) return 1 ;;
    esac
}

need_python() {
    find_python && return
    [ -z "$python" ] || fail "$python is not Python 3.11 or newer with venv"
    if [ -z "$root" ]; then
        case $family in
        debian) act "install Python with apt-get" install_packages python3 python3-venv ;;
        fedora | suse | arch) act "install Python" install_packages python3 ;;
        esac
        if [ -n "$dry" ]; then
            python=python3
            return
        fi
        find_python && return
    fi
    fail "there is no Python 3.11 or newer with venv for $distribution" \
        "take a newer system (Debian 12, Ubuntu 24.04, Raspberry Pi OS 2023), or --method docker"
}

# ---------------------------------------------------------------- the program

prefix() { printf '%s' "$root/opt/$name"; }

find_source() {
    if [ -z "$source" ]; then
        for wheel in "$here"/iotistic-*.whl; do
            [ -e "$wheel" ] && source=$wheel
        done
        [ -n "$source" ] || fail "what is to be installed was not said, and no wheel lies beside this script" \
            "give --source with a wheel, a folder of wheels, or the URL of an index"
    fi
    case $source in
    http://*)
        fail "$source is not encrypted: whoever is in between could put another program into your device" \
            "take an index with https, or a folder of wheels"
        ;;
    https://*) kind=index ;;
    *.whl) kind=wheel ;;
    *) kind=folder ;;
    esac
    [ "$kind" = index ] || [ -e "$source" ] || fail "$source is not there"
}

# What is to be installed in one word: another word is another folder below the prefix.
fingerprint() {
    case $kind in
    wheel) cksum <"$source" ;;
    folder) cat "$source"/*.whl 2>/dev/null | cksum ;;
    index) printf '%s %s\n' "$source" "$version" | cksum ;;
    esac | { read -r sum size && printf '%s-%s' "$sum" "$size"; }
    [ "$extras" = agent ] || printf '%s' '-forecasts'
}

pip_install() {
    set -- "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-cache-dir
    wanted="iotistic[$extras]${version:+==$version}"
    case $kind in
    wheel) wanted="${source}[$extras]" ;;
    folder) set -- "$@" --no-index --find-links "$source" ;;
    index) set -- "$@" --index-url "$source" ;;
    esac
    # Of cffi, which cryptography needs, and of numpy only piwheels has a wheel for 32-bit ARM.
    if [ "$arch" = armv7l ] && [ "$kind" != folder ]; then
        set -- "$@" --extra-index-url https://www.piwheels.org/simple
    fi
    "$@" "$wanted"
}

# Every version has a folder of its own, and `current` points at one that is whole: a power cut in the middle
# leaves the agent that was there. The one before stays, as the way back.
install_program() {
    wanted_folder=$(prefix)/$(fingerprint)
    if [ -e "$wanted_folder/.whole" ] && "$wanted_folder/bin/python" -c '' 2>/dev/null; then
        say "the program is there: $wanted_folder"
    else
        act "make a Python environment in $wanted_folder" make_environment "$wanted_folder"
        act "install the agent from $source" fill_environment "$wanted_folder"
    fi
    before=$(readlink "$(prefix)/current" 2>/dev/null || true)
    if [ "$before" != "$wanted_folder" ]; then
        act "make it the current one" switch_to "$wanted_folder"
        for old in "$(prefix)"/*-*; do
            case $old in
            "$wanted_folder" | "$before" | *'*'*) ;;
            *) act "remove the older $old" rm -rf "$old" ;;
            esac
        done
    fi
}

make_environment() {
    rm -rf "$1"
    mkdir -p "$(prefix)"
    "$python" -m venv "$1"
}

fill_environment() {
    pip_install "$1" && "$1/bin/iotistic" version >/dev/null && load_extras "$1" && sync && touch "$1/.whole"
}

# The numpy of piwheels brings no OpenBLAS: without it numpy is there, and cannot be loaded.
load_extras() {
    [ "$extras" != agent ] || return 0
    if [ "$arch" = armv7l ] && [ "$family" = debian ] && [ -z "$root" ]; then
        install_packages libopenblas0 || true
    fi
    "$1/bin/python" -c 'import numpy'
}

switch_to() {
    ln -sfn "$1" "$(prefix)/current.new" && mv -T "$(prefix)/current.new" "$(prefix)/current"
}

install_links() {
    for program in iotistic iotctl; do
        link=$root/usr/local/bin/$program
        to=$(prefix)/current/bin/$program
        if [ -n "$dry" ] || [ -e "$to" ]; then
            if [ "$(readlink "$link" 2>/dev/null)" = "$to" ]; then
                continue
            elif [ -e "$link" ] || [ -L "$link" ]; then
                say "left alone: $link is not ours"
            else
                act "make $link" make_link "$to" "$link"
            fi
        fi
    done
}

make_link() { mkdir -p "$(dirname "$2")" && ln -s "$1" "$2"; }

# put FILE TO MODE: write a file if it is not as it should be.
put() {
    if ! cmp -s "$1" "$2"; then
        act "write $2" put_now "$1" "$2" "$3"
        written=yes
    fi
}

put_now() {
    mkdir -p "$(dirname "$2")" && cp "$1" "$2.new" && chmod "$3" "$2.new" && mv "$2.new" "$2"
}

make_folder() { mkdir -p "$1" && chmod "$2" "$1"; }

install_settings() {
    [ -d "$root/etc/$name" ] || act "make $root/etc/$name" make_folder "$root/etc/$name" 755
    if [ -e "$root/etc/$name/agent.env" ]; then
        say "left alone: the settings in $root/etc/$name/agent.env"
    else
        settings=$(mktemp)
        sed "s/^DEVICE_TYPE=.*/DEVICE_TYPE=$device/" "$here/agent/agent.env" >"$settings"
        put "$settings" "$root/etc/$name/agent.env" 600
        rm -f "$settings"
    fi
}

# ---------------------------------------------------------------- systemd

install_as_service() {
    need_python
    find_source
    [ -r "$here/agent/$name.service" ] || fail "agent/$name.service does not lie beside this script" \
        "take the whole folder deploy/"
    if [ -z "$root" ] && ! getent passwd "$name" >/dev/null 2>&1; then
        act "make the user $name" useradd --system --user-group --home-dir "/var/lib/$name" \
            --no-create-home --shell /usr/sbin/nologin "$name"
    fi
    install_program
    install_links
    install_settings
    written=''
    put "$here/agent/$name.service" "$root/etc/systemd/system/$name.service" 644
    if [ -z "$root" ] && getent group docker >/dev/null 2>&1; then
        group=$(mktemp)
        printf '[Service]\nSupplementaryGroups=docker\n' >"$group"
        put "$group" "/etc/systemd/system/$name.service.d/docker.conf" 644
        rm -f "$group"
    fi
    [ -z "$root" ] || return 0
    [ -L "$(wanted_link)" ] || act "enable $name" enable_service
    if [ ! -d /run/systemd/system ]; then
        say "systemd does not run here: the agent starts with the system"
        return 0
    fi
    [ -z "$written" ] || act "let systemd read its units again" systemctl daemon-reload
    [ "$start" = yes ] || return 0
    if [ -n "$changed" ] || ! systemctl is-active --quiet "$name"; then
        act "start $name" systemctl restart "$name"
    fi
}

# An image that is being made has the files of systemd, and perhaps not its programs.
enable_service() {
    if has systemctl; then
        systemctl enable --quiet "$name"
    else
        make_link "/etc/systemd/system/$name.service" "$(wanted_link)"
    fi
}

wanted_link() { printf '%s' "$root/etc/systemd/system/multi-user.target.wants/$name.service"; }

# ---------------------------------------------------------------- Docker

docker_options() {
    group=$(stat -c %g /var/run/docker.sock 2>/dev/null || echo 0)
    set -- --name "$name" --restart unless-stopped --network host --user 10001:10001 --group-add "$group" \
        --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges:true \
        --memory 256m --pids-limit 256 --env-file "/etc/$name/agent.env" \
        --volume "/var/lib/$name:/var/lib/$name" --volume /var/run/docker.sock:/var/run/docker.sock
    printf '%s\n' "$@"
}

run_container() {
    docker rm --force "$name" >/dev/null 2>&1 || true
    # shellcheck disable=SC2046  # a list of options, none of which has a space
    docker run --detach --label "iotistic.installed=$1" $(docker_options) "$image" >/dev/null
}

install_as_container() {
    [ -z "$root" ] || fail "--root has no meaning with Docker"
    [ "$extras" = agent ] || fail "--forecasts has no meaning with Docker: the image has numpy, or has it not" \
        "build it with --build-arg EXTRAS='agent forecast'"
    has docker && docker version >/dev/null 2>&1 || [ -n "$dry" ] || fail "Docker does not answer here" \
        "install Docker and start it, or --method systemd"
    if [ -n "$source" ]; then
        [ -r "$source" ] || fail "$source is not there"
        act "load the image from $source" docker load --quiet --input "$source"
    fi
    install_settings
    if [ "$(stat -c %u "/var/lib/$name" 2>/dev/null)" != 10001 ]; then
        act "make /var/lib/$name" make_data_folder
    fi
    id=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null || echo none)
    wanted=$({ docker_options; echo "$id"; cat "/etc/$name/agent.env" 2>/dev/null; } | cksum | tr ' ' -)
    found=$(docker inspect --format '{{index .Config.Labels "iotistic.installed"}}' "$name" 2>/dev/null || true)
    if [ "$wanted" = "$found" ] && [ "$id" != none ]; then
        say "the container is there: $name"
    elif [ "$start" = yes ]; then
        act "run the container $name of $image" run_container "$wanted"
    fi
}

make_data_folder() {
    mkdir -p "/var/lib/$name" && chown -R 10001:10001 "/var/lib/$name" && chmod 700 "/var/lib/$name"
}

# ---------------------------------------------------------------- and away again

remove() { if [ -e "$1" ] || [ -L "$1" ]; then act "remove $1" rm -rf "$1"; fi; }

uninstall() {
    if [ -z "$root" ]; then
        if [ -d /run/systemd/system ] && [ -e "/etc/systemd/system/$name.service" ]; then
            act "stop $name" systemctl disable --quiet --now "$name"
        fi
        if has docker && docker inspect "$name" >/dev/null 2>&1; then
            act "remove the container $name" docker rm --force "$name"
        fi
    fi
    for program in iotistic iotctl; do
        if [ "$(readlink "$root/usr/local/bin/$program" 2>/dev/null)" = "$(prefix)/current/bin/$program" ]; then
            remove "$root/usr/local/bin/$program"
        fi
    done
    remove "$(wanted_link)"
    remove "$root/etc/systemd/system/$name.service"
    remove "$root/etc/systemd/system/$name.service.d"
    remove "$(prefix)"
    if [ -z "$root" ] && [ -z "$dry" ] && has systemctl && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    if [ -n "$purge" ]; then
        remove "$root/etc/$name"
        remove "$root/var/lib/$name"
        if [ -z "$root" ] && getent passwd "$name" >/dev/null 2>&1; then
            act "remove the user $name" userdel "$name"
        fi
    fi
    [ -n "$changed" ] || say "nothing of the agent is here"
    [ -n "$purge" ] || say "kept: settings in $root/etc/$name, data in $root/var/lib/$name (--purge removes them)"
    say "the device's containers go on: docker ps --filter label=iotistic.app-id"
}

# ---------------------------------------------------------------- begin

choose_method() {
    case $method in
    systemd | docker) return ;;
    auto) ;;
    *) misused "--method is systemd, docker or auto" ;;
    esac
    if [ -n "$root" ]; then
        method=systemd
    elif [ -d /run/systemd/system ] && { find_python || [ "$family" = debian ] || [ "$family" = fedora ]; }; then
        method=systemd
    elif has docker && docker version >/dev/null 2>&1; then
        method=docker
    else
        fail "there is neither systemd with Python 3.11 nor a Docker that answers on $distribution" \
            "install Docker, or Python 3.11 where systemd runs; --dry-run --method M shows what would be done"
    fi
}

next_steps() {
    if [ -z "$changed" ]; then
        say "nothing was to be done"
        return
    fi
    say
    say "Next:"
    say "  iotctl provision KEY --api https://cloud.example    let the device into its cloud"
    say "  iotctl status                                       how it is"
    case $method in
    systemd) say "  journalctl -u $name -f                     what it does" ;;
    docker) say "  docker logs -f $name                       what it does" ;;
    esac
}

while [ $# -gt 0 ]; do
    case $1 in
    --source | --version | --method | --image | --python | --root)
        [ $# -ge 2 ] || misused "$1 wants a value"
        case $1 in
        --source) source=$2 ;;
        --version) version=$2 ;;
        --method) method=$2 ;;
        --image) image=$2 ;;
        --python) python=$2 ;;
        --root) root=${2%/} ;;
        esac
        shift
        ;;
    --no-start) start=no ;;
    --forecasts) extras=agent,forecast ;;
    --uninstall) task=uninstall ;;
    --purge) task=uninstall purge=yes ;;
    --dry-run) dry=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) misused "there is no option $1" ;;
    esac
    shift
done

if [ -z "$dry" ] && [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
    fail "this changes the system, which takes root" "sudo sh $0 ..., or --dry-run to see what it would do"
fi
case $task in
uninstall) uninstall ;;
install)
    find_architecture
    find_device_type
    find_distribution
    choose_method
    say "$distribution on $arch ($device), with $method"
    case $method in
    systemd) install_as_service ;;
    docker) install_as_container ;;
    esac
    next_steps
    ;;
esac
