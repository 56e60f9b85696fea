#!/usr/bin/env bash
# Brings nginx, HAProxy and Envoy into the running cluster of up.sh, as images eventcast.test/NAME:1: the programs that tests/tools
# installs, with the libraries of this machine. Scenarios with proxies inside of the cluster use it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

archives=$target/images/testbed

# Unless the archive is newer than the program.
pack() { # NAME
  local program library
  program=$(tool "$1")
  if [[ $archives/$1.tar -nt $program ]]; then return; fi
  mkdir "$libraries/$1"
  while read -r library; do
    install -D -m 755 "$library" "$libraries/$1$library"
  done < <(ldd "$program" | grep -o '/[^ ]*')
  "$repository/charts/pack.sh" --files "$libraries/$1" "$archives/$1.tar" "eventcast.test/$1:1" "$program" >&2
}

"$repository/tests/tools/install.sh" proxies
mkdir -p "$archives"
libraries=$(mktemp -d)
trap 'rm -rf "$libraries"' EXIT
for name in nginx haproxy envoy; do pack "$name"; done
"$here/load.sh" "$archives"/{nginx,haproxy,envoy}.tar
