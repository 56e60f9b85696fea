#!/usr/bin/env bash
# Starts a Kubernetes cluster of one node on this machine, for the end-to-end suite: programs from tests/tools, images
# from archives, nothing pulled. Prints the path of its kubeconfig. Needs root. `make cluster`.
#
# A cluster that runs already is left alone; what is left of one that does not is cleared away first. Pod security
# admission is on; NetworkPolicies are enforced after network-policies.sh alone; pods do not reach the world outside. There is a default
# StorageClass with a few volumes to bind. tests/cluster/down.sh removes everything.
#
#   EVENTCAST_CLUSTER_DIR      the folder it lives in; default target/cluster
#   EVENTCAST_CLUSTER_FAMILY   IPv4 (default), IPv6, or dual: nodes, pods and Services have addresses of both families
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=control-plane.sh
source "$here/control-plane.sh"
# shellcheck source-path=SCRIPTDIR source=node.sh
source "$here/node.sh"

volumes=16

# What would go wrong later without a word of sense.
check_machine() {
  # Unix sockets have 107 bytes for their path; the kubelet's longest adds 40 to the folder's.
  ((${#cluster} <= 65)) || fail "the path is too long for sockets: set EVENTCAST_CLUSTER_DIR to a shorter one: $cluster"
  local address
  for address in "${node_addresses[@]}"; do
    if grep -q "[[:space:]]$address/" < <(ip -brief address show dev lo); then
      fail "another cluster of this kind runs on this machine ($address is taken): stop it with its own \
EVENTCAST_CLUSTER_DIR and tests/cluster/down.sh"
    fi
  done
  if grep -q '^:KUBE-' < <({ iptables-save && ip6tables-save; } 2>/dev/null); then
    fail "this machine is a node of another Kubernetes cluster: set KUBECONFIG to it instead"
  fi
}

prepare_machine() {
  local name one
  mkdir -p "$cluster"/{addresses,conf/network,containerd,etcd,kubelet/plugins,log/pods,pki,run}
  modprobe -q br_netfilter 2>/dev/null || true # without modules it is built in, or the sysctl below is missing
  for name in "${sysctls[@]}"; do sysctl "$name" 2>/dev/null; done >"$cluster/run/sysctls" || true
  echo "$family" >"$cluster/run/family"
  sysctl -qw net.ipv4.ip_forward=1
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
  if [[ $family != IPv4 ]]; then
    sysctl -qw net.ipv6.conf.all.forwarding=1
    sysctl -qw net.bridge.bridge-nf-call-ip6tables=1 2>/dev/null || true
  fi
  for one in "${families[@]}"; do
    ip address add "${node_addresses[$one]}/${whole_address[$one]}" dev lo
    refuse_untranslated --append "$one"
  done
}

# The pool that a provisioner would make on demand. Nobody sets the owner of a hostPath: everybody may write.
add_volumes() {
  local number
  kubectl apply -f "$here/storage.yaml" >/dev/null
  for ((number = 0; number < volumes; number++)); do
    install -d -m 777 "$cluster/volumes/$number"
    sed "s#NUMBER#$number#; s#FOLDER#$cluster/volumes/$number#" "$here/volume.yaml"
    echo ---
  done | kubectl apply -f - >/dev/null
}

need_root
if is_running kubelet && kubectl get --raw /readyz >/dev/null 2>&1; then
  if [[ $family != "${EVENTCAST_CLUSTER_FAMILY:-$family}" ]]; then
    fail "a cluster with $family runs: tests/cluster/down.sh stops it"
  fi
  say "runs already"
  echo "$kubeconfig"
  exit 0
fi
"$repository/tests/tools/install.sh" cluster
"$here/down.sh"
set_family # what a cluster that was there had no longer counts
check_machine
"$here/images.sh"
prepare_machine
began=$SECONDS
write_identities
write_node_configuration
start_etcd
start_containerd
start_api
start_controllers
"$here/load.sh" "$target"/images/testbed/*.tar
start_node
add_volumes
sed "s#DNS_ADDRESSES#$(of_families dns_addresses)#; s#DNS_ADDRESS#${dns_addresses[$main_family]}#" \
  "$here/dns.yaml" | kubectl apply -f - >/dev/null
wait_for "the cluster's DNS is ready" 60 kubelet \
  kubectl -n kube-system wait --for=condition=Available deployment/coredns --timeout=1s
say "up after $((SECONDS - began)) s: export KUBECONFIG=$kubeconfig"
echo "$kubeconfig"
