#!/usr/bin/env bash
# Installs what the tests need beyond Rust, unless it is there: from apt, npm, PyPI and the Go module proxy alone.
#
#   install.sh [PART...]              default: all
#     all          nats-server browsers examples clients apiserver kubectl helm helm4 promtool oidc-server otelcol proxies nats api-tools
#     apiserver    etcd and kube-apiserver, for the suites of the operator: four minutes the first time
#     clients      node-clients python-clients go-clients
#     examples     packages of the applications in docs/examples
#     api-tools    what checks the descriptions of the API
#     proxies      nginx, haproxy and envoy, for tests of brokers behind them
#     otelcol      an OpenTelemetry Collector, for tests of traces
#     nats         the command line of NATS, for tests of backups
#     network-policies  what enforces NetworkPolicies in the test cluster
#     cluster      what a node of Kubernetes needs beside them, for end-to-end tests (as root)
#     checks       what `make lint` needs: cargo-deny cargo-shear typos shellcheck actionlint zizmor mdbook
#     release      what makes, signs and checks a release: cargo-auditable auditable2cdx crane cosign helm krew
#     cross        compilers for arm64 and Windows, and qemu-user to run what they make
#     cargo-nextest, cargo-llvm-cov, cargo-mutants
#   install.sh path PROGRAM           prints which program is used: the one EVENTCAST_<PROGRAM> names, else one in
#                                     KUBEBUILDER_ASSETS, on the PATH, or built here
#   install.sh exec COMMAND...        runs a command with those of the suites named in EVENTCAST_<PROGRAM>
#
# What is not of the system goes to .tools/ (programs: .tools/bin) and to the node_modules of tests/clients/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$root/.tools

say() { echo "install.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}
has() { command -v "$1" >/dev/null; }
has_any() { command -v "$@" >/dev/null; }

# Runs a command and shows its output only if it fails.
quietly() {
  local log
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    rm "$log"
  else
    cat "$log" >&2
    rm "$log"
    return 1
  fi
}

# Sets a variable to a new folder of .tools, which is gone when this script ends.
temporaries=()
temporary() {
  local made
  made=$(mktemp -d "$tools/new.XXXXXX")
  temporaries+=("$made")
  trap 'rm -rf "${temporaries[@]}"' EXIT
  printf -v "$1" %s "$made"
}

# One installation at a time. A process that had to wait checks again, so that nothing is installed twice.
ensure() { # PART [ARGUMENT]
  local part=$1
  shift
  if "have_$part" "$@"; then return; fi
  mkdir -p "$tools/bin"
  exec 9>"$tools/.lock"
  flock 9
  if ! "have_$part" "$@"; then "install_$part" "$@"; fi
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    has sudo || fail "neither root nor sudo: run as root: $*"
    sudo "$@"
  fi
}

apt_update() { quietly as_root apt-get -o DPkg::Lock::Timeout=120 update; }

apt_install() {
  has apt-get || fail "there is no apt-get here: install by hand: $*"
  local install=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=120
    install --no-install-recommends "$@")
  say "apt-get install $*"
  if ! quietly "${install[@]}" 2>/dev/null; then
    apt_update
    quietly "${install[@]}"
  fi
}

# Takes a program out of a package of Debian that is not installed, because it would start a service.
from_package() { # PACKAGE FILE
  local folder libraries
  has apt-get || fail "there is no apt-get here: put ${2##*/} on the PATH, or name it in $(variable_of "${2##*/}")"
  temporary folder
  say "${2##*/} from Debian's package $1"
  if ! quietly env -C "$folder" apt-get download "$1" 2>/dev/null; then
    apt_update
    quietly env -C "$folder" apt-get download "$1"
  fi
  dpkg-deb --fsys-tarfile "$folder/$1"_*.deb | tar -xO "./$2" >"$folder/program"
  chmod +x "$folder/program"
  if ldd "$folder/program" | grep -q 'not found'; then
    mapfile -t libraries < <(dpkg-deb -f "$folder/$1"_*.deb Depends | tr ',' '\n' | grep -oE '^ *lib[^ ]+')
    apt_install "${libraries[@]// /}"
  fi
  mv "$folder/program" "$tools/bin/${2##*/}"
}

# Stamps: a hash of what an installation was made from.

hash_of() { cat "$@" | sha256sum; }
is_stamped() { # STAMP SOURCE...
  [[ -f $1 && $(<"$1") == "$(hash_of "${@:2}")" ]]
}
stamp() { hash_of "${@:2}" >"$1"; }

# Programs

variable_of() { # kube-apiserver: EVENTCAST_KUBE_APISERVER
  local name=${1//-/_}
  echo "EVENTCAST_${name^^}"
}

suits() { # PROGRAM FILE
  [[ -f $2 && -x $2 ]] && { [[ $1 != nats-server ]] || is_new_nats_server "$2"; }
}

find_program() {
  local variable found
  variable=$(variable_of "$1")
  if [[ -n ${!variable:-} ]]; then
    [[ -x ${!variable} ]] || fail "$variable is not a program: ${!variable}"
    echo "${!variable}"
    return
  fi
  for found in "${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/$1}" "$(type -P "$1")" "$tools/bin/$1"; do
    if suits "$1" "$found"; then
      echo "$found"
      return
    fi
  done
  return 1
}

path_of() {
  local part=$1
  case $1 in
    etcd | kube-apiserver) part=apiserver ;;
    kube-* | kubelet | coredns) part=cluster ;;
    validate-krew-manifest) part=krew ;;
    qemu-*) part=cross ;;
    nginx | haproxy | envoy) part=proxies ;;
  esac
  find_program "$1" || fail "$1 is not installed: run tests/tools/install.sh $part"
}

# What is not installed is not named: a test that needs it says so.
with_programs() {
  local program path
  for program in nats-server etcd kube-apiserver kubectl helm helm4 promtool prometheus oidc-server otelcol nginx haproxy envoy nats; do
    if path=$(find_program "$program"); then export "$(variable_of "$program")=$path"; fi
  done
  PATH=$PATH:$tools/bin exec "$@"
}

# shellcheck source=/dev/null # each is checked by itself
for file in "$root"/tests/tools/install/*.sh; do source "$file"; done

# Each part in a process of its own: one that fails does not keep the others from being installed.
parts() {
  local part failed=0
  for part in "$@"; do "${BASH_SOURCE[0]}" "$part" || failed=1; done
  return $failed
}

part() {
  case $1 in
    all) parts nats-server browsers examples clients apiserver kubectl helm helm4 promtool oidc-server otelcol proxies nats api-tools ;;
    checks) parts cargo-deny cargo-shear typos shellcheck actionlint zizmor mdbook ;;
    release) parts cargo-auditable auditable2cdx crane cosign helm krew ;;
    cross | crane | cosign | krew) ensure "${1//-/_}" ;;
    clients) parts node-clients python-clients go-clients ;;
    nats-server | browsers | examples | node-clients | python-clients | go-clients) ensure "${1//-/_}" ;;
    apiserver | kubectl | helm | helm4 | promtool | prometheus | cluster | network-policies | oidc-server | otelcol | proxies | nats | api-tools) ensure "${1//-/_}" ;;
    cargo-* | auditable2cdx | typos | shellcheck | actionlint | zizmor | mdbook) ensure check_program "$1" ;;
    *) fail "there is no part $1: the first lines of tests/tools/install.sh list them" ;;
  esac
}

case "${1:-all}" in
  path) path_of "${2:?the name of a program}" ;;
  exec) with_programs "${@:2}" ;;
  *) if (($# > 1)); then parts "$@"; else part "${1:-all}"; fi ;;
esac
