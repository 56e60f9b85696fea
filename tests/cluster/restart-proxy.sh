#!/usr/bin/env bash
# Restarts kube-proxy of the cluster of up.sh: the rules of Services stay, but nobody changes them meanwhile.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=node.sh
source "$here/node.sh"

need_root
stop proxy
start_proxy
wait_for "kube-proxy answers" 30 proxy bash -c "</dev/tcp/$node_address/10256"
