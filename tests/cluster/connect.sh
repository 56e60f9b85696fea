#!/usr/bin/env bash
# Connects from the network of a pod of the cluster of up.sh to an address. Fails if that takes more than three seconds.
#
#   connect.sh NAMESPACE POD ADDRESS PORT
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage="usage: connect.sh NAMESPACE POD ADDRESS PORT"
namespace=${1:?$usage} pod=${2:?$usage} address=${3:?$usage} port=${4:?$usage}
need_root
pid=$(processes_of "$namespace" "$pod" | head -n 1)
[[ -n $pid ]] || fail "no process of the pod $namespace/$pod runs"
nsenter --net="/proc/$pid/ns/net" timeout 3 bash -c "</dev/tcp/$address/$port" 2>/dev/null
