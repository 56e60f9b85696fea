#!/usr/bin/env bash
# Sends a signal to what runs in a pod of the cluster of up.sh, past kubelet and containerd: a crash, or a process that hangs.
#
#   signal.sh SIGNAL NAMESPACE POD
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

signal=${1:?usage: signal.sh SIGNAL NAMESPACE POD} namespace=${2:?a namespace} pod=${3:?the name of a pod}
need_root
mapfile -t processes < <(processes_of "$namespace" "$pod")
((${#processes[@]})) || fail "no process of the pod $namespace/$pod runs"
kill -s "$signal" "${processes[@]}"
