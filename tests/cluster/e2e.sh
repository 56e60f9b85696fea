#!/usr/bin/env bash
# Runs the end-to-end suite on the cluster that KUBECONFIG names, whose nodes must be able to have the images of the
# chart (EVENTCAST_HELM_ARGUMENTS can name another place); without KUBECONFIG on a cluster of its own. `make e2e`.
#
#   e2e.sh [TEST]     a part of the name of a test; default: all
#   e2e.sh heart      installing, rolling, losing pods, upgrading, the delivery probe, memory of a stream: what CI runs
#
# Prints at the end what each disturbance cost the subscribers. On the test cluster of this folder (`make cluster`, and KUBECONFIG
# as it prints it) scenarios also use the machine: they kill processes and add a node. On another cluster these are skipped, and
# the table says so; so is the upgrade, unless EVENTCAST_E2E_PREVIOUS names the chart of a release whose images its nodes can have.
#
# EVENTCAST_CLUSTER_FAMILY=IPv6 gives the cluster of its own addresses of that family alone, EVENTCAST_CLUSTER_FAMILY=dual of both.
# EVENTCAST_E2E_FLEET=300 gives so many channels with brokers of their own another image, instead of 20: on two processors 25 minutes
# instead of 4.
# EVENTCAST_HELM names another helm: .tools/bin/helm4, which tests/tools/install.sh helm4 installs.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The scenarios of `heart`.
heart='test(/^(e2e_delivery|e2e_install|e2e_memory)::/) + test(/^e2e_upgrade::an_upgrade/) + test(/^e2e_brokers::(rolls|a_deleted)/)'

# Empties the volumes that scenarios have left, so that a cluster that is kept has always some.
free_volumes() {
  local volume folder
  kubectl get persistentvolumes -o jsonpath='{range .items[?(@.status.phase=="Released")]}{.metadata.name} {.spec.hostPath.path}{"\n"}{end}' |
    while read -r volume folder; do
      [[ $folder == "$cluster"/volumes/* ]] || continue
      find "$folder" -mindepth 1 -delete
      kubectl patch persistentvolume "$volume" --type=json --patch '[{"op": "remove", "path": "/spec/claimRef"}]' >/dev/null
    done
}

stage() { "$repository/tests/tools/stage.sh" "end-to-end: $1" "${@:2}"; }

run_tests() {
  if [[ ${1:-} == heart ]]; then
    "$repository/tests/tools/install.sh" cargo-nextest
    stage "build tests" cargo build --locked --workspace --bins --tests
    stage "tests" "$repository/tests/tools/install.sh" exec cargo nextest run --locked --workspace --run-ignored only \
      -E "binary(e2e) & ($heart)"
  else
    IGNORED=only stage "tests" tests/tools/some.sh "e2e${1:+::$1}"
  fi
}

if [[ -z ${KUBECONFIG:-} ]]; then need_root; fi
"$repository/tests/tools/install.sh" kubectl helm helm4 prometheus
if [[ ${1:-} != heart && $EUID == 0 ]]; then "$repository/tests/tools/install.sh" network-policies; fi
EVENTCAST_KUBECTL=$(tool kubectl)
EVENTCAST_HELM=$(tool helm)
EVENTCAST_HELM4=$(tool helm4)
if [[ -z ${KUBECONFIG:-} ]]; then
  trap '"$here/down.sh"' EXIT
  stage "install programs of Kubernetes" "$repository/tests/tools/install.sh" cluster
  stage "build images" make --no-print-directory -C "$repository" images
  stage "start a cluster" make --no-print-directory -C "$repository" cluster
  KUBECONFIG=$kubeconfig
fi
export EVENTCAST_KUBECTL EVENTCAST_HELM EVENTCAST_HELM4 KUBECONFIG
if [[ $KUBECONFIG == "$kubeconfig" && $EUID == 0 ]]; then
  EVENTCAST_E2E_PREVIOUS=${EVENTCAST_E2E_PREVIOUS:-$("$here/previous.sh")}
  "$here/load.sh" "$target"/images/previous/*.tar
  free_volumes
  export EVENTCAST_E2E_PREVIOUS EVENTCAST_E2E_MACHINE=$here
fi
export EVENTCAST_E2E_TABLE=${EVENTCAST_E2E_TABLE:-$target/e2e.md}
rm -f "$EVENTCAST_E2E_TABLE"
cd "$repository"
code=0
run_tests "$@" || code=$?
if [[ -f $EVENTCAST_E2E_TABLE ]]; then
  echo
  cat "$EVENTCAST_E2E_TABLE"
fi
exit $code
