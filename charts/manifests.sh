#!/usr/bin/env bash
# Renders plain manifests for those who install without Helm, and the schemas of EventChannels and BrokerPools, into a folder.
#
#   manifests.sh FOLDER       crds.yaml install.yaml install-namespaced.yaml kustomization.yaml {eventchannel,brokerpool}.schema.json
#
# Everything is in the namespace eventcast-system. install-namespaced.yaml has no object outside of it: its operator watches that namespace alone.
set -euo pipefail

folder=${1:?usage: manifests.sh FOLDER}
charts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
namespace=eventcast-system
helm=${EVENTCAST_HELM:-$("$charts/../tests/tools/install.sh" path helm)}

render() {
  "$helm" template eventcast "$charts/eventcast" --namespace "$namespace" --skip-tests --kube-version 1.30.0 "$@" |
    sed 's#app.kubernetes.io/managed-by: Helm#app.kubernetes.io/managed-by: manifests#'
}

mkdir -p "$folder"
render --show-only templates/crds.yaml >"$folder/crds.yaml"

with_namespace() {
  cat <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    app.kubernetes.io/part-of: eventcast
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
END
  render --set crds.enabled=false "$@"
}
with_namespace >"$folder/install.yaml"
with_namespace --set "watchNamespaces={$namespace}" \
  --set rbac.aggregate=false,rbac.kubernetesIdentities=false,rbac.clientRoles=false >"$folder/install-namespaced.yaml"

cat >"$folder/kustomization.yaml" <<'END'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - crds.yaml
  - install.yaml
END
cp "$charts"/../crds/*.schema.json "$folder/"
