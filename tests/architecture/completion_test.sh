#!/usr/bin/env bash
# Presses Tab, so to say, at many places of holm's command line, in bash; zsh's completion must at least load.
# usage: completion_test.sh TREE        with HOLM_PROGRAM=.../holm
set -euo pipefail

completions=$(realpath "$1")/packaging/completions
: "${HOLM_PROGRAM:?names the program to be completed}"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
problems=0

# What it has of containers and templates is made up, so that neither root nor an installation is needed.
cat >holm <<TEXT
#!/bin/sh
case "\$*" in
  *"--state-dir /elsewhere list -a -H -o name") echo remote ;;
  "list -a -H -o name") printf 'web\nworker\n' ;;
  "template list") printf 'NAME     KIND\nbusybox  busybox\ndebian   debian\n' ;;
  *--help) exec '$HOLM_PROGRAM' "\$@" ;;
  *) echo "unexpected: \$*" >&2; exit 1 ;;
esac
TEXT
chmod +x holm
PATH=$place:$PATH
mkdir folder
touch web.toml notes.txt

# shellcheck source=packaging/completions/holm.bash
. "$completions/holm.bash"

# complete_words WORD...: what Tab offers for the last word, sorted, on one line.
complete_words() {
  COMP_WORDS=(holm "$@") COMP_CWORD=$# COMPREPLY=()
  _holm
  printf '%s\n' "${COMPREPLY[@]}" | sort -u | tr '\n' ' ' | sed 's/^ //; s/ $//'
}

# expect WANTED WORD...
expect() {
  local wanted=$1 offered
  shift
  offered=$(complete_words "$@")
  [[ $offered == "$wanted" ]] && return
  printf "holm %s: offers '%s' instead of '%s'\n" "$*" "$offered" "$wanted"
  problems=$((problems + 1))
}

# expect_among WANTED WORD...: one of several.
expect_among() {
  local wanted=$1 offered
  shift
  offered=$(complete_words "$@")
  [[ " $offered " == *" $wanted "* ]] && return
  printf "holm %s: does not offer '%s', but '%s'\n" "$*" "$wanted" "$offered"
  problems=$((problems + 1))
}

block() { sed -n "/^$1:\$/,/^\$/{/^  [^ ]/p}"; }
verbs_of() { holm "$@" --help | block Subcommands | sed 's/^  \([a-z-]*\).*/\1/'; }
options_of() { holm "$@" --help | block Options | sed -n 's/^  \(-[^ ]*\).*/\1/p' | tr , '\n'; }

# expect_options VERB...: every one of a verb's options is offered.
expect_options() {
  local option offered
  offered=$(complete_words "$@" -)
  for option in $(options_of "$@"); do
    [[ " $offered " == *" $option "* ]] && continue
    printf "holm %s: does not offer '%s', but '%s'\n" "$*" "$option" "$offered"
    problems=$((problems + 1))
  done
}

[[ $(complete -p holm) == *'-F _holm holm' ]] || { echo "bash does not know the completion"; problems=1; }
count=0
for verb in $(verbs_of); do
  count=$((count + 1))
  expect_among "$verb" "${verb:0:2}"
  expect_among "$verb" --json "${verb:0:2}"
  parts=$(verbs_of "$verb")
  [[ -n $parts ]] || expect_options "$verb"
  for part in $parts; do
    expect_among "$part" "$verb" "${part:0:1}"
    expect_options "$verb" "$part"
  done
done
((count >= 24)) || { echo "only $count verbs were found in 'holm --help'"; problems=1; }

expect 'web worker' stop ''
expect 'web worker' stop -t 10 w
expect 'web worker' stop web ''
expect 'web worker' exec -u root ''
expect '' exec web ''
expect '' run web.toml -- ''
expect 'folder web web.toml worker' start ''
expect 'folder web.toml' config check ''
expect 'folder holm notes.txt web.toml' template import alpine ''
expect 'busybox debian' template remove ''
expect 'busybox debian' template build ''
expect 'bookworm trixie' template build --suite ''
expect 'web worker' rename ''
expect '' rename web ''
expect '' clone web ''
expect 'folder holm notes.txt web.toml' save web ''
expect 'folder holm notes.txt web web.toml worker' restore ''
expect 'inspect list remove web worker' checkpoint ''
expect 'web worker' checkpoint list ''
expect 'folder holm notes.txt web web.toml worker' checkpoint inspect ''
expect '' checkpoint web ''
expect 'name,pid name,pids' list -o name,pi
expect 'last' counters --since la
expect 'TERM' kill --signal = TE
expect 'remote' --state-dir /elsewhere stop ''
expect '' version ''

if command -v zsh >/dev/null; then
  zsh -f -n "$completions/_holm" || problems=$((problems + 1))
  # shellcheck disable=SC2016  # zsh expands it
  zsh -f -c 'fpath=($1 $fpath); autoload -Uz compinit && compinit -u -D && [[ $_comps[holm] == _holm ]] && autoload +X _holm' \
    zsh "$completions" || { echo "zsh does not load the completion"; problems=$((problems + 1)); }
else
  echo "skipped in part: needs zsh"
fi
((problems == 0))
