# What the scripts of this folder share. Sourced, never run.
# shellcheck shell=bash

# The source tree, from wherever the script was called.
holm_tree() { cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P; }

if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  shift
  local line
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

is_root() { [[ $EUID -eq 0 ]]; }

# version_at_least 4.2.1-1 4.1: compares as dpkg does.
version_at_least() { dpkg --compare-versions "$1" ge "$2"; }

# timed "build" COMMAND...: runs it, says how long it took, passes its status on.
timed() {
  local title=$1 start=$EPOCHREALTIME status=0
  shift
  say "$title"
  # In a condition "set -e" would be off inside a function that is called; commands are called here, not functions.
  "$@" || status=$?
  note "${dim}$title: $(seconds_since "$start") s${plain}"
  return "$status"
}

# seconds_since $EPOCHREALTIME: with one digit after the point, whatever the locale writes there.
seconds_since() {
  local now=$EPOCHREALTIME
  local tenths=$(((${now//[.,]/} - ${1//[.,]/} + 50000) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# The build directory: HOLM_BUILD_DIR (relative to the tree), or build.
build_directory() {
  local directory=${HOLM_BUILD_DIR:-build}
  [[ $directory = /* ]] && printf '%s' "$directory" || printf '%s/%s' "$(holm_tree)" "$directory"
}

# How many compilers at a time: all CPUs, but not more than memory serves (a heavy source takes about 1 GiB).
build_jobs() {
  local cpus memory_kib
  cpus=$(nproc)
  memory_kib=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  local by_memory=$((memory_kib / 1048576))
  ((by_memory < 1)) && by_memory=1
  printf '%d' $((cpus < by_memory ? cpus : by_memory))
}

# configure_and_build TARGET...
configure_and_build() {
  local build
  build=$(build_directory)
  # HOLM_FUZZ_SECONDS asks for the fuzzers, too.
  timed "configure in $build" cmake -S "$(holm_tree)" -B "$build" -G Ninja --log-level=WARNING \
    -DHOLM_FUZZ="$([[ -n ${HOLM_FUZZ_SECONDS-} ]] && printf ON || printf OFF)"
  timed "build" cmake --build "$build" --parallel "$(build_jobs)" --target "$@"
}
