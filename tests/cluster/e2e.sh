#!/usr/bin/env bash
# Runs the end-to-end suite on the cluster that KUBECONFIG names, whose nodes must be able to have the images of the
# chart (EVENTCAST_HELM_ARGUMENTS can name another place); without KUBECONFIG on a cluster of its own. `make e2e`.
#
#   e2e.sh [TEST]     a part of the name of a test; default: all
#
# EVENTCAST_HELM names another helm: .tools/bin/helm4, which tests/tools/install.sh helm4 installs.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$repository/tests/tools/install.sh" kubectl helm
EVENTCAST_KUBECTL=$(tool kubectl)
EVENTCAST_HELM=$(tool helm)
if [[ -z ${KUBECONFIG:-} ]]; then
  need_root
  trap '"$here/down.sh"' EXIT
  make --no-print-directory -C "$repository" cluster
  KUBECONFIG=$kubeconfig
fi
export EVENTCAST_KUBECTL EVENTCAST_HELM KUBECONFIG
cd "$repository"
IGNORED=only tests/tools/some.sh "e2e${1:+::$1}"
