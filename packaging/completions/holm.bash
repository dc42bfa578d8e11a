# Completion of holm's command line for bash. Verbs, options and what they take come from `holm ... --help`: there is no
# second list of them that could grow old.
# shellcheck shell=bash

# _holm_block TITLE HELP: the lines below "TITLE:" in a help text.
_holm_block() { sed -n "/^$1:\$/,/^\$/{/^  [^ ]/p}" <<<"$2"; }

# _holm_verbs HELP, _holm_options HELP: one a line.
_holm_verbs() { _holm_block Subcommands "$1" | sed 's/^  \([a-z-]*\).*/\1/'; }
_holm_options() { _holm_block Options "$1" | sed -n 's/^  \(-[^ ]*\).*/\1/p' | tr , '\n'; }
# Those that are followed by a value: "-t,--timeout TEXT".
_holm_value_options() { _holm_block Options "$1" | sed -n 's/^  \(-[^ ]*\) [A-Z].*/\1/p' | tr , '\n'; }

# _holm_is_one_of WORD LINES
_holm_is_one_of() { [[ $'\n'$2$'\n' == *$'\n'"$1"$'\n'* ]]; }

# _holm_offer CURRENT WORDS: completes with those that fit.
_holm_offer() {
  local found
  mapfile -t found < <(compgen -W "$2" -- "$1")
  COMPREPLY+=("${found[@]}")
}

# _holm_offer_files CURRENT [PATTERN]: directories, and files that fit.
_holm_offer_files() {
  local found
  mapfile -t found < <(compgen -d -- "$1"; compgen -f -X "!${2-*}" -- "$1")
  COMPREPLY+=("${found[@]}")
  compopt -o filenames 2>/dev/null
}

# _holm_offer_list CURRENT WORDS: the last part of a list with commas.
_holm_offer_list() {
  local begun=''
  [[ $1 != *,* ]] || begun=${1%,*},
  COMPREPLY=()
  _holm_offer "${1##*,}" "$2"
  COMPREPLY=("${COMPREPLY[@]/#/$begun}")
  compopt -o nospace 2>/dev/null
}

# _holm_value OPTION CURRENT HELP: completes an option's value.
_holm_value() {
  case $1 in
    --state-dir | --run-dir) _holm_offer_files "$2" '' ;;
    -s | --signal) _holm_offer "$2" 'TERM KILL HUP INT QUIT USR1 USR2 STOP CONT PWR WINCH' ;;
    -o | --columns) _holm_offer_list "$2" "$(_holm_block Columns "$3"$'\n' | sed 's/^  \([a-z]*\).*/\1/')" ;;
    --since)
      if [[ $3 == *'start or last'* ]]; then
        _holm_offer "$2" 'start last'
      else
        _holm_offer "$2" 'today yesterday 24h 7d 30d'
      fi
      ;;
    --until) _holm_offer "$2" 'now today yesterday' ;;
    --by) _holm_offer "$2" 'hour day month' ;;
    -d | --domain) _holm_offer "$2" "$("${_holm_command[@]}" list -a -H -o name 2>/dev/null)" ;;
    --textfile) _holm_offer_files "$2" '*.prom' ;;
    --suite) _holm_offer "$2" 'bookworm trixie' ;;
    -u | --user) _holm_offer "$2" 'root' ;;
  esac
}

# _holm_positional VERB HELP CURRENT NUMBER: completes what stands at a place, as the help calls it.
_holm_positional() {
  local kinds kind
  mapfile -t kinds < <(_holm_block Positionals "$2" | sed 's/^  [^ ]* *\([^ ]*\).*/\1/')
  kind=${kinds[$4]-}
  # The last one may be a list.
  [[ -n $kind || ${#kinds[@]} -eq 0 || ${kinds[-1]} != *... ]] || kind=${kinds[-1]}
  case $1:$kind in
    template*:*NAME*)
      [[ $1 == *import ]] || _holm_offer "$3" "$("${_holm_command[@]}" template list 2>/dev/null | sed '1d; s/ .*//')"
      ;;
    *:NEW-NAME) ;;
    checkpoint:*)
      case ${COMP_WORDS[COMP_CWORD - 1]} in
        checkpoint | --*) kind="list inspect remove" ;;
        inspect) _holm_offer_files "$3" && kind='' ;;
        list | remove) kind='' ;;
        *) return 0 ;;
      esac
      _holm_offer "$3" "$kind $("${_holm_command[@]}" list -a -H -o name 2>/dev/null)"
      return 0
      ;;
    *:KEY=VALUE*)
      _holm_offer "$3" "$(_holm_block Keys "$2" | sed 's/^  \([a-z_.]*\).*/\1=/')"
      compopt -o nospace 2>/dev/null
      ;;
    *:*NAME*) _holm_offer "$3" "$("${_holm_command[@]}" list -a -H -o name 2>/dev/null)" ;;
    *:busybox* | *:all) _holm_offer "$3" "${kind//|/ }" ;;
    *:DIR*) _holm_offer_files "$3" ;;
  esac
  case $1:$kind in
    save:*FILE* | restore:*FILE*) _holm_offer_files "$3" ;;
    *:*FILE*) _holm_offer_files "$3" '*.toml' ;;
  esac
}

_holm() {
  local current=${COMP_WORDS[COMP_CWORD]} verb='' help options number=0 i word option=''
  local _holm_command=("${COMP_WORDS[0]}")
  COMPREPLY=()
  help=$("${_holm_command[@]}" --help 2>/dev/null) || return 0
  options=$(_holm_options "$help")
  local values all_verbs
  values=$(_holm_value_options "$help")
  all_verbs=$(_holm_verbs "$help")

  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    if [[ $word == = ]]; then continue; fi
    if [[ -n $option ]]; then
      case $option in --state-dir | --run-dir) _holm_command+=("$option" "$word") ;; esac
      option=''
    elif [[ $word == -- ]]; then
      return 0  # what follows is the payload's
    elif [[ $word == -* ]]; then
      if _holm_is_one_of "$word" "$values"; then option=$word; fi
    elif _holm_is_one_of "$word" "$all_verbs"; then
      verb+=${verb:+ }$word
      # shellcheck disable=SC2086  # the verb may be two words
      help=$("${COMP_WORDS[0]}" $verb --help 2>/dev/null)
      options+=$'\n'$(_holm_options "$help")
      values+=$'\n'$(_holm_value_options "$help")
      all_verbs=$(_holm_verbs "$help")
    else
      number=$((number + 1))
      case $verb in run | exec) return 0 ;; esac
    fi
  done

  if [[ $current == = ]]; then current=''; fi
  if [[ -n $option ]]; then
    _holm_value "$option" "$current" "$help"
  elif [[ $current == -* ]]; then
    _holm_offer "$current" "$options"
  elif [[ -n $all_verbs ]]; then
    _holm_offer "$current" "$all_verbs"
  else
    _holm_positional "$verb" "$help" "$current" "$number"
  fi
}

complete -F _holm holm
