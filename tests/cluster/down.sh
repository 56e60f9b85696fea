#!/usr/bin/env bash
# Stops the cluster of up.sh and removes every trace: pods, processes, mounts, network, iptables, cgroups, its folder.
# No error where there is none. `make cluster-down`.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

no_tasks() { [[ -z $(ctr tasks list --quiet) ]]; }

# Pods go by the kubelet's hand while it has one: it undoes their mounts and network. Controllers first, so that none
# comes back.
remove_pods() {
  stop controllers scheduler
  if is_running kubelet && is_running api; then
    timeout 10 "$(tool kubectl)" --kubeconfig "$kubeconfig" delete pods --all --all-namespaces --force \
      --grace-period=0 --wait=false >/dev/null 2>&1 || true
    try_for 20 no_tasks || say "pods are left after 20 s: removing them by force"
  fi
  stop kubelet
  local id
  for id in $(ctr tasks list --quiet); do ctr tasks delete --force "$id" >/dev/null 2>&1 || true; done
}

# kube-proxy clears up after itself; what the kubelet marks as its own is all that is left with that name.
remove_rules() {
  local table command one
  remove_policies
  for one in IPv4 IPv6; do refuse_untranslated --delete "$one" 2>/dev/null || true; done
  "$(tool kube-proxy)" --cleanup >/dev/null 2>&1 || true
  for command in iptables ip6tables; do
    for table in filter nat mangle; do
      if grep -q KUBE- < <("$command-save" -t "$table" 2>/dev/null); then
        "$command-save" -t "$table" | grep -v KUBE- | "$command-restore" -T "$table"
      fi
    done
  done
}

# Those of our pods, by their addresses. A pipe to `grep -q` would fail with `pipefail`: grep ends at the first match, and `ip` writes on.
network_namespaces() {
  local namespace
  for namespace in $(ip netns list 2>/dev/null | grep -o '^cni-[^ ]*'); do
    if grep -qE "$pod_prefixes" < <(ip -netns "$namespace" address show 2>/dev/null); then echo "$namespace"; fi
  done
}

remove_network() { # NETWORK_NAMESPACE...: some may have lost their address meanwhile, and many are gone
  local namespace result id one
  for namespace in "$@" $(network_namespaces); do ip netns delete "$namespace" 2>/dev/null || true; done
  for result in /var/lib/cni/results/eventcast-*-eth0; do
    id=${result#*/eventcast-}
    rm -f /var/lib/cni/results/*"-${id%-eth0}-"*
  done
  ip link delete "$bridge" 2>/dev/null || true
  for one in IPv4 IPv6; do ip address delete "${node_addresses[$one]}/${whole_address[$one]}" dev lo 2>/dev/null || true; done
  if [[ -f $cluster/run/sysctls ]]; then sysctl -q --load "$cluster/run/sysctls" 2>/dev/null || true; fi
}

# What kubelet, containerd and the network plugins keep in places of their own choice. No other kubelet runs here, or up.sh
# would have refused; of folders only empty ones go.
remove_strays() {
  find /var/log/containers -lname "$cluster/*" -delete 2>/dev/null || true
  rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  rmdir --parents --ignore-fail-on-non-empty /var/log/containers /var/lib/kubelet/device-plugins /var/lib/cni/results \
    /run/containerd/runc/k8s.io /run/containerd/s 2>/dev/null || true
}

[[ -d $cluster ]] || exit 0
need_root
[[ -d $cluster/run ]] || fail "$cluster is not a folder of a cluster: look what it is, and remove it yourself"
"$here/second-node.sh" remove
mapfile -t namespaces < <(network_namespaces)
if is_running containerd; then remove_pods; fi
stop kubelet proxy policies controllers scheduler api etcd containerd
stop_shims "$containerd_socket" "$cluster/containerd"
remove_cgroups /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods
remove_mounts "$cluster/"
remove_rules
remove_network "${namespaces[@]}"
remove_strays
if grep -q " $cluster/" /proc/mounts; then fail "still mounted below $cluster: see /proc/mounts"; fi
rm -rf "$cluster"
