#!/usr/bin/env bash
# Does what README.md says, word for word, in a folder of its own: blocks marked `sh first terminal` run until the end,
# blocks marked `sh second terminal` run one after the other in one shell, as a reader would type them.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly patience=60 # seconds until the first terminal is ready
scratch=$(mktemp -d)
export XDG_RUNTIME_DIR=$scratch/run TMPDIR=$scratch/tmp
mkdir -m 700 "$XDG_RUNTIME_DIR" "$TMPDIR"
readonly ready=$XDG_RUNTIME_DIR/lanyard-dev/dev.env

# The blocks of the README that carry a mark.
blocks() {
    awk -v mark="\`\`\`sh $1" '$0 == mark { inside = 1; next } /^```/ { inside = 0 } inside' README.md
}

first=$(blocks "first terminal")
second=$(blocks "second terminal")
[ -n "$first" ] && [ -n "$second" ] || { echo "README.md has no marked blocks any more" >&2; exit 1; }

# A process group of its own, so that Ctrl-C reaches what the shell started, as in a terminal.
set -m
bash -euc "$first" > "$scratch/first.txt" 2>&1 &
server=$!
set +m

leave() {
    local code=$?
    kill -INT -- -$server 2> /dev/null || true
    wait $server 2> /dev/null || true
    [ $code = 0 ] || { echo "── what the first terminal said"; cat "$scratch/first.txt"; }
    rm -rf "$scratch"
    exit $code
}
trap leave EXIT

for _ in $(seq $((patience * 10))); do
    [ -e "$ready" ] && break
    kill -0 $server 2> /dev/null || { echo "the first terminal ended early" >&2; exit 1; }
    sleep 0.1
done
[ -e "$ready" ] || { echo "not ready after $patience s" >&2; exit 1; }

# What is typed is shown as it is typed.
built=$(realpath "${CARGO_TARGET_DIR:-target}")
export PATH=$built/release:$PATH
printf '%s\n' "$second" > "$scratch/second.sh"
bash -euo pipefail -v "$scratch/second.sh"
