#!/usr/bin/env bash
# The images and the package, built for real: two builds of the image from two places have one digest, the program in it serves
# without anything around it, and says what it cannot do; so do the one for arm64, by emulation, and the one with the machine's C
# library, whose very program the package brings. Takes more than an hour on two cores; called by `tests/run --all`, which brings
# what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly bytes_max=$((25 * 1024 * 1024)) rounds=20
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
scratch=$(mktemp -d)
server=
leave() {
    local code=$?
    [ -z "$server" ] || kill "$server" 2> /dev/null || true
    rm -rf "$scratch"
    exit $code
}
trap leave EXIT
say() { printf '   %s\n' "$*"; }
wrong() { printf 'tests/image.sh: %s\n' "$*" >&2; exit 1; }

unpack() { # unpack IMAGE FOLDER: all that a container of it sees
    local manifest layer
    manifest=$(tar xOf "$1" index.json | jq -r '.manifests[0].digest' | tr : /)
    layer=$(tar xOf "$1" "blobs/$manifest" | jq -r '.layers[0].digest' | tr : /)
    mkdir "$2"
    tar xOf "$1" "blobs/$layer" | tar xz -C "$2"
}

serves_alone() { # serves_alone FOLDER: with nothing but what is there, and /proc; public authorities neither
    mkdir "$1/proc"
    unshare --map-root-user chroot "$1" /usr/bin/lanyard --version
    unshare --map-root-user --mount --pid --fork sh -c 'mount -t proc proc "$0/proc" && XDG_RUNTIME_DIR=/ exec chroot "$0" \
        /usr/bin/lanyard dev --once --dir /dev-try' "$1" > "$scratch/alone" 2>&1 || wrong "$(cat "$scratch/alone")"
    grep "spiffe://" "$scratch/alone" || wrong "no identity: $(cat "$scratch/alone")"
}

# ── two builds, one digest ──────────────────────────────────────────────────────────
one=$(CARGO_TARGET_DIR=$target helm/image/build "$target/image" | tail -n 1)
git archive --format tar --prefix elsewhere/ HEAD | tar x -C "$scratch"
git diff --quiet HEAD || wrong "the tree has changes that are not committed; the second build would be of another one"
two=$(CARGO_TARGET_DIR=$scratch/target "$scratch/elsewhere/helm/image/build" "$scratch/image" | tail -n 1)
say "first:  $one" && say "second: $two"
[ "$one" = "$two" ] || wrong "two builds differ"
bytes=$(stat -c %s "$target/image/lanyard.tar")
[ "$bytes" -lt "$bytes_max" ] || wrong "the image has $bytes bytes"

# ── nothing around it ───────────────────────────────────────────────────────────────
unpack "$target/image/lanyard.tar" "$scratch/root"
[ "$(find "$scratch/root" -perm /111 -type f)" = "$scratch/root/usr/bin/lanyard" ] || wrong "more than one program in the image"
program=$scratch/root/usr/bin/lanyard
file -b "$program" | grep -q "static" || wrong "not static: $(file -b "$program")"
if strings "$program" | grep -F -e "$PWD/" -e "$HOME/.cargo"; then wrong "the program names the machine that built it"; fi
if strings "$program" | grep -F "$(date '+%b %e %Y')"; then wrong "the program names the day it was built"; fi
serves_alone "$scratch/root"

# ── arm64 ───────────────────────────────────────────────────────────────────────────
arm=$(LANYARD_TRIPLE=aarch64-unknown-linux-musl CARGO_TARGET_DIR=$target helm/image/build "$target/image-arm64" | tail -n 1)
say "arm64:  $arm"
[ "$(stat -c %s "$target/image-arm64/lanyard.tar")" -lt "$bytes_max" ] || wrong "the image for arm64 is too large"
tar xOf "$target/image-arm64/lanyard.tar" index.json | jq -e '.manifests[0].platform.architecture == "arm64"' > /dev/null \
    || wrong "the image does not say that it is for arm64"
unpack "$target/image-arm64/lanyard.tar" "$scratch/arm64"
arm_program=$scratch/arm64/usr/bin/lanyard
file -b "$arm_program" | grep "aarch64.*statically linked" || wrong "not static, or not of arm64: $(file -b "$arm_program")"
# Emulated: slow, and a real program of that machine all the same.
qemu-aarch64-static "$arm_program" --version
XDG_RUNTIME_DIR=$scratch qemu-aarch64-static "$arm_program" dev --once --dir "$scratch/dev-arm64" > "$scratch/dev-arm64.txt"
grep "spiffe://" "$scratch/dev-arm64.txt" || wrong "no identity: $(cat "$scratch/dev-arm64.txt")"

# ── PKCS#11 is refused in words ─────────────────────────────────────────────────────
printf '[keys]\nroot_place = "hsm"\n[[keys.place]]\nname = "hsm"\nin = "pkcs11"\nmodule = "m.so"\ntoken = "t"\npin_file = "p"\n' \
    > "$scratch/server.toml"
"$program" config check "$scratch/server.toml" > "$scratch/said" 2>&1 && wrong "the static build takes PKCS#11"
grep "this is the static build" "$scratch/said" || wrong "$(cat "$scratch/said")"

# ── the second tag: with this machine's C library ───────────────────────────────────
LANYARD_TRIPLE=x86_64-unknown-linux-gnu CARGO_TARGET_DIR=$target helm/image/build "$target/image-glibc" | tail -n 1
unpack "$target/image-glibc/lanyard.tar" "$scratch/glibc"
serves_alone "$scratch/glibc"
cp "$scratch/server.toml" "$scratch/glibc/server.toml"
if unshare --map-root-user chroot "$scratch/glibc" /usr/bin/lanyard config check /server.toml 2>&1 | grep "static build"; then
    wrong "the second tag is static"
fi
say "glibc:  $(stat -c %s "$target/image-glibc/lanyard.tar") bytes"

# ── it starts ───────────────────────────────────────────────────────────────────────
# The best of some starts of a server with its keys made, on the wall and on the processor. Told, not judged: a busy machine says
# nothing of the program.
XDG_RUNTIME_DIR=$scratch "$program" dev --once --dir "$scratch/dev" > "$scratch/dev.txt"
health=$(sed -n 's/^health = "\(.*\)"/\1/p' "$scratch/dev/server.toml")
best=999999999 work=999999
for _ in $(seq $rounds); do
    began=$(date +%s%N)
    "$program" server --config "$scratch/dev/server.toml" 2> "$scratch/server.log" &
    server=$!
    until (exec 3<> "/dev/tcp/${health/://}") 2> /dev/null; do kill -0 "$server" 2> /dev/null || wrong "$(cat "$scratch/server.log")"; done
    took=$((($(date +%s%N) - began) / 1000))
    [ $took -ge $best ] || best=$took
    ticks=$(awk '{ print $14 + $15 }' "/proc/$server/stat")
    [ "$ticks" -ge $work ] || work=$ticks
    kill $server && wait $server || true
    server=
done
say "listens $((best / 1000)).$((best / 100 % 10)) ms after its start, at best of $rounds; $((work * 1000 / $(getconf CLK_TCK))) ms of a processor"

# ── the package ─────────────────────────────────────────────────────────────────────
# Of the program that was just built, as it is.
deb=$(CARGO_TARGET_DIR=$target cargo deb --no-build --no-strip --profile dist --target x86_64-unknown-linux-gnu --quiet | tail -n 1)
dpkg-deb --contents "$deb"
for path in usr/bin/lanyard usr/lib/systemd/system/lanyard.service usr/lib/systemd/system/lanyard-agent.service \
    usr/lib/sysusers.d/lanyard.conf usr/share/doc/lanyard/copyright; do
    dpkg-deb --contents "$deb" | grep -q " \./$path$" || wrong "the package lacks $path"
done
dpkg-deb --contents "$deb" | awk '$2 != "root/root" { print; bad = 1 } END { exit bad }' || wrong "files of others than root"
dpkg-deb --field "$deb" Package Version Architecture Maintainer Depends Description
mkdir "$scratch/package"
dpkg-deb --extract "$deb" "$scratch/package"
cmp "$scratch/package/usr/bin/lanyard" "$scratch/glibc/usr/bin/lanyard" || wrong "the package's program is not the second tag's"
file -b "$scratch/package/usr/bin/lanyard" | grep -qw "stripped" || wrong "the package's program is not stripped"
"$scratch/package/usr/bin/lanyard" config check "$scratch/server.toml" 2>&1 | grep -q "static build" && wrong "the package's build is static"
for script in postinst postrm prerm; do
    dpkg-deb --ctrl-tarfile "$deb" | tar xO "./$script" | sh -n || wrong "$script is no script"
done
say "package: $(stat -c %s "$deb") bytes"
tests/package.sh "$deb"
