#!/usr/bin/env bash
# The Debian package, installed for real: tests/package.sh FILE.deb. In a Debian of its own, of this machine's release, which is
# thrown away: what is there afterwards, an upgrade over itself, a removal, a purge, and an installation after that.
# Called by tests/image.sh; needs mmdebstrap, and to be root or to become it by sudo.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly units=(lanyard.service lanyard-agent.service) exposed_max=20 # of 100, as in tests/process/units.rs
wrong() { printf 'tests/package.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '   %s\n' "$*"; }
deb=$(realpath "${1:?which package?}")
scratch=$(mktemp -d)
root=$scratch/root
become=()
[ "$(id -u)" = 0 ] || become=(sudo -n)
trap '"${become[@]}" rm -rf --one-file-system "$scratch"' EXIT
command -v mmdebstrap > /dev/null || wrong "mmdebstrap is missing: install the Debian package of that name"

# ── a Debian ────────────────────────────────────────────────────────────────────────
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
# Its mounts are its own: one that is interrupted leaves none of this machine's below what is removed at the end.
"${become[@]}" unshare --mount mmdebstrap --quiet --variant=apt --include=systemd "$release" "$root"
# Whoever is asked to start something writes it down; nobody is asked by mistake, for scripts believe that systemd runs.
"${become[@]}" mkdir -p "$root/run/systemd/system"
printf '#!/bin/sh\necho "$*" >> /asked\n' | "${become[@]}" install -m 755 /dev/stdin "$root/usr/local/sbin/systemctl"

within() { # within COMMAND...: as root of that Debian, with processes and mounts that end with it
    "${become[@]}" unshare --mount --pid --fork sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" \
        env -i PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
}

# packaged ASKED OPTION...: what dpkg is told, and what its scripts then ask of systemd, each line.
packaged() {
    local wanted=$1 asked
    shift
    : | "${become[@]}" install -m 644 /dev/stdin "$root/asked"
    within dpkg "$@" > "$scratch/said" 2>&1 || wrong "dpkg $*: $(cat "$scratch/said")"
    asked=$(paste -sd ';' "$root/asked")
    [ "$asked" = "$wanted" ] || wrong "dpkg $* asked systemd for: $asked, and not for: $wanted"
}

# ── installed ───────────────────────────────────────────────────────────────────────
"${become[@]}" cp "$deb" "$root/lanyard.deb"
packaged daemon-reload --install /lanyard.deb
within lanyard --version
[ -z "$(within dpkg-query --show --showformat '${Conffiles}' lanyard)" ] || wrong "the package has configuration of its own"
if within dpkg --listfiles lanyard | grep '^/etc/\|^/var/'; then wrong "the package has files where operators have theirs"; fi
for unit in "${units[@]}"; do
    is=$(within env SYSTEMD_OFFLINE=1 /usr/bin/systemctl is-enabled "$unit" || true)
    [ "$is" = disabled ] || wrong "$unit is $is after the installation"
    said=$(within systemd-analyze verify --man=no "/usr/lib/systemd/system/$unit" 2>&1) || wrong "$unit: $said"
    [ -z "$said" ] || wrong "$unit: $said"
    within systemd-analyze security --no-pager --offline=true --threshold=$exposed_max "$unit" > "$scratch/closed" 2>&1 \
        || wrong "$unit is too open: $(cat "$scratch/closed")"
    say "$(grep 'Overall exposure level' "$scratch/closed")"
    user=$(sed -n 's/^User=//p' "$root/usr/lib/systemd/system/$unit")
    within getent passwd "$user" | grep -q ':/usr/sbin/nologin$' || wrong "no user $user, or one who can log in"
done
[ "$(within stat -c '%a %U %G' /etc/lanyard)" = "755 root root" ] || wrong "/etc/lanyard is not root's alone"
[ -z "$(within ls -A /etc/lanyard)" ] || wrong "/etc/lanyard is not empty"

# ── used ────────────────────────────────────────────────────────────────────────────
# A server's keys and journal, made by the installed program as the unit's user, and files that an operator wrote.
within install --directory --owner lanyard --group lanyard --mode 700 /var/lib/lanyard
as_server() { within setpriv --reuid lanyard --regid lanyard --clear-groups env XDG_RUNTIME_DIR=/tmp "$@"; }
as_server lanyard dev --once --dir /var/lib/lanyard/dev > "$scratch/dev" 2>&1 || wrong "$(cat "$scratch/dev")"
grep -q "spiffe://" "$scratch/dev" || wrong "no identity: $(cat "$scratch/dev")"
within sh -c 'cp /var/lib/lanyard/dev/server.toml /etc/lanyard/ && echo "# mine" >> /etc/lanyard/server.toml'
within sh -c 'mkdir /etc/systemd/system/lanyard.service.d && printf "[Service]\nLimitNOFILE=1024\n" > /etc/systemd/system/lanyard.service.d/own.conf'
within env SYSTEMD_OFFLINE=1 /usr/bin/systemctl --quiet enable lanyard.service
# Everything that is the operator's: names, modes, owners, contents.
theirs() {
    within sh -c 'cd / && find etc/lanyard etc/systemd/system var/lib/lanyard -printf "%M %u %g %p %l\n" | sort
        find etc/lanyard etc/systemd/system var/lib/lanyard -type f -exec sha256sum {} + | sort; grep lanyard etc/passwd etc/group'
}
theirs > "$scratch/before"
[ "$(grep -c ' var/lib/lanyard/' "$scratch/before")" -ge 10 ] || wrong "nothing to lose: $(cat "$scratch/before")"
kept() { theirs | diff "$scratch/before" - || wrong "$1 has changed what is the operator's"; }

# ── upgraded, removed, purged, and back again ───────────────────────────────────────
packaged daemon-reload --install /lanyard.deb
kept "an upgrade"
[ "$(within env SYSTEMD_OFFLINE=1 /usr/bin/systemctl is-enabled lanyard.service)" = enabled ] || wrong "an upgrade disabled the server"
packaged "stop lanyard.service lanyard-agent.service;daemon-reload" --remove lanyard
[ ! -e "$root/usr/bin/lanyard" ] || wrong "the program stays after a removal"
kept "a removal"
packaged "" --purge lanyard
if within dpkg-query --status lanyard > /dev/null 2>&1; then wrong "the package is still known after a purge"; fi
kept "a purge"
packaged daemon-reload --install /lanyard.deb
kept "an installation after a purge"
as_server lanyard audit verify --config /var/lib/lanyard/dev/server.toml > "$scratch/journal" 2>&1 || wrong "$(cat "$scratch/journal")"
say "installed, upgraded, removed, purged and back: $(grep -c ' var/lib/lanyard/' "$scratch/before") files and folders of a server unharmed"
