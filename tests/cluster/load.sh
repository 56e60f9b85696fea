#!/usr/bin/env bash
# Brings archives of images into the running cluster of up.sh, as `kind load image-archive` does.
#
#   load.sh ARCHIVE...
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root
is_running containerd || fail "the cluster does not run: tests/cluster/up.sh starts it"
for archive in "$@"; do
  [[ -f $archive ]] || fail "no archive at $archive: make images"
  ctr images import "$archive" >/dev/null
  if is_running second-containerd; then
    command ctr --address "$second_socket" --namespace k8s.io images import "$archive" >/dev/null
  fi
done
