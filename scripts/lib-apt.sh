# Packages of Debian suites that need not be this machine's: package lists apart, nothing of the system changes. Sourced
# after lib.sh, never run.
# shellcheck shell=bash

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Where this machine gets Debian from, as its own apt configuration says.
debian_source() {
  local codename
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  # shellcheck disable=SC2016  # apt-get fills in these fields
  apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v codename="$codename" '
      $3 == "main" && $4 ~ /^[a-z+]+:/ && $4 !~ /^cdrom:/ && ($2 == codename || $2 ~ /^(old)*stable$|^testing$|^sid$|^unstable$/) {
        if ($1 == "Debian") { print $4; found = 1; exit }
        if (guess == "" && $4 ~ /\/debian\/?$/) guess = $4  # a mirror that calls itself otherwise
      }
      END { if (!found && guess != "") print guess }'
}

# apt with package lists, status and cache of its own below $work, which the caller makes and removes; the proxy and
# the like stay the machine's.
# shellcheck disable=SC2154  # $work is the caller's
private_apt() {
  local tool=$1
  shift
  "$tool" -qq -o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" \
    -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Default-Release= \
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
    -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 "$@"
}

# private_apt_read SUITE: reads that suite's package lists; private_apt then knows these and no others.
private_apt_read() {
  local suite=$1 source
  source=$(debian_source)
  [[ -n $source ]] || { warn "apt's configuration names no Debian archive to get packages from"; return 1; }
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
  : >"$work/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$source" "$suite" >"$work/sources.list"
  private_apt apt-get update 2>"$work/errors" || {
    warn "cannot read the package lists of Debian '$suite': $(sed -n 's/^[EW]: //p' "$work/errors" | head -n 1)"
    return 1
  }
}
