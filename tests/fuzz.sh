#!/usr/bin/env bash
# Gives every reader of outside bytes inputs led by coverage: `tests/fuzz.sh [SECONDS] [TARGET…]`, an hour each unless said.
# Corpora are kept below the target folder and grow from run to run. An input that breaks a law ends its target and is
# kept; give it a name in tests/vectors/hostile/<target>/, where this and `cargo test --test hostile` replay it.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    printf 'tests/fuzz.sh: %s\n' "$*" >&2
    exit 1
}

seconds=3600
case "${1-}" in
    "") ;;
    *[!0-9]*) sed -n '2,4s/^# //p' tests/fuzz.sh; exit 2 ;;
    *) seconds=$1; shift ;;
esac
readonly seconds per_input=120 rss_mb=2048
all=$(sed -n 's/^path = "fuzzers\/\(.*\)\.rs"$/\1/p' tests/fuzz/Cargo.toml)
read -r -d '' -a targets < <(printf '%s\0' "${*:-$all}") || true
for name in "${targets[@]}"; do
    [ -e "tests/fuzz/fuzzers/$name.rs" ] || die "no target $name; there are:" $all
done

# libFuzzer comes as C++ with its crate. The counters are the compiler's own, so that stable Rust is enough.
command -v c++ > /dev/null || die "NOTHING WAS FUZZED: a C++ compiler is missing, install the Debian package g++"
host=$(rustc -vV | sed -n 's/^host: //p')
folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
readonly host folder
counters=(passes=sancov-module llvm-args=-sanitizer-coverage-{level=4,inline-8bit-counters,pc-table,trace-compares})
CARGO_TARGET_DIR=$folder RUSTFLAGS=$(printf -- '-C %s ' "${counters[@]}") \
    cargo build --manifest-path tests/fuzz/Cargo.toml --release --locked --target "$host"

# Readers of files are given their files in memory, where there is room for that.
scratch=$(mktemp -d -p /dev/shm 2> /dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The longest input worth making; edits of journal and index are short.
longest() {
    case "$1" in
        config | policy) echo 2000 ;; # each name is compared with those that are known
        header_block) echo 2000 ;; # the library that we are held against takes its time with coded strings
        identity) echo 2200 ;;
        index) echo 36 ;;
        journal) echo 200 ;;
        *) echo 20000 ;;
    esac
}

fuzz() {
    local name=$1 corpus=$folder/corpus/$1 seeds=$folder/seeds/$1 found=$folder/found kept=tests/vectors/hostile/$1
    mkdir -p "$corpus" "$seeds" "$found" "$scratch/$name"
    local folders=("$corpus" "$seeds")
    [ ! -d "$kept" ] || folders+=("$kept")
    LANYARD_FUZZ_SEEDS=$seeds TMPDIR=$scratch/$name RUST_BACKTRACE=0 RUST_LOG=off \
        nice -n 19 "$folder/$host/release/$name" "${folders[@]}" \
        -max_total_time="$seconds" -max_len="$(longest "$name")" -timeout=$per_input -rss_limit_mb=$rss_mb \
        -artifact_prefix="$found/$name-" -print_final_stats=1 -verbosity=1 > "$folder/$name.log" 2>&1
}

stat() { # stat NAME WHAT: one of libFuzzer's final numbers
    sed -n "s/^stat::$2: *//p" "$folder/$1.log" | tail -n 1
}

table=("$(printf '%-14s %8s %12s %8s %8s %8s  %s' target seconds executions per-sec corpus rss-MiB verdict)")
failed=0
for name in "${targets[@]}"; do
    began=$SECONDS verdict=ok
    fuzz "$name" || { verdict=FAILED; failed=$((failed + 1)); }
    size=$(find "$folder/corpus/$name" -type f | wc -l)
    table+=("$(printf '%-14s %8d %12s %8s %8d %8s  %s' "$name" $((SECONDS - began)) "$(stat "$name" number_of_executed_units)" \
        "$(stat "$name" average_exec_per_sec)" "$size" "$(stat "$name" peak_rss_mb)" $verdict)")
    printf '%s\n' "${table[-1]}"
    [ $verdict = ok ] || grep -aE 'panicked|assertion|ERROR|Test unit written|SUMMARY' -A1 "$folder/$name.log" | tail -n 12
    rm -rf "${scratch:?}/$name"
done
printf '\n── fuzzers\n'
printf '   %s\n' "${table[@]}"
[ $failed = 0 ] || die "$failed of ${#targets[@]} targets found something: see $folder/found"
