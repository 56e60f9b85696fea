#!/usr/bin/env bash
# Adds a second node to the cluster of up.sh, or removes it with its pods. It lives in a network namespace of its own, with its own
# containerd, kubelet and kube-proxy, and has the images of the first one. Scenarios that drain a node use it.
#
#   second-node.sh add|remove
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

second_ctr() { command ctr --address "$second_socket" --namespace k8s.io "$@"; }
in_namespace() { nsenter --net="$second_namespace" "$@"; }

# A link to the first node, which routes. The namespace is a file of ours: `ip netns add` would mount /run/netns a second time, and
# then nobody could remove the namespaces of the pods that are there already.
add_network() {
  local one gateway address prefix flags
  mkdir -p "$second"
  touch "$second_namespace"
  unshare --net="$second_namespace" true
  ip link add "$second_link" type veth peer name "$second_link-peer"
  ip link set "$second_link-peer" netns "$second_namespace"
  ip link set "$second_link" up
  in_namespace ip link set lo up
  in_namespace ip link set "$second_link-peer" name eth0
  in_namespace ip link set eth0 up
  for one in "${families[@]}"; do
    gateway=${second_gateways[$one]} address=${second_addresses[$one]} prefix=${link_prefix[$one]}
    flags=()
    if [[ $one == IPv6 ]]; then flags=(nodad); fi # nobody else has them: use them at once
    ip address add "$gateway/$prefix" dev "$second_link" "${flags[@]}"
    in_namespace ip address add "$address/$prefix" dev eth0 "${flags[@]}"
    in_namespace ip route add default via "$gateway"
    ip route add "${second_pod_networks[$one]}" via "$address"
  done
  in_namespace sysctl -qw net.ipv4.ip_forward=1
  in_namespace sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
  if [[ $family != IPv4 ]]; then
    in_namespace sysctl -qw net.ipv6.conf.all.forwarding=1
    in_namespace sysctl -qw net.bridge.bridge-nf-call-ip6tables=1 2>/dev/null || true
  fi
}

# That of the first node, with folders and addresses of its own. Two kubelets with one root of cgroups would remove each other's pods.
write_configuration() {
  mkdir -p "$second"/{addresses,conf/network,containerd,kubelet/plugins,log/pods}
  sed "s#$cluster/addresses#$second/addresses#
    s#${pod_networks[IPv4]}#${second_pod_networks[IPv4]}#; s#${pod_networks[IPv6]}#${second_pod_networks[IPv6]}#" \
    "$cluster/conf/network/10-bridge.conflist" >"$second/conf/network/10-bridge.conflist"
  sed "s#$containerd_socket#$second_socket#; s#$cluster/containerd/#$second/containerd/#; s#$cluster/conf/#$second/conf/#" \
    "$cluster/conf/containerd.toml" >"$second/conf/containerd.toml"
  sed "s#$containerd_socket#$second_socket#; s#^address: .*#address: ${second_addresses[$main_family]}#
    s#$cluster/log/#$second/log/#; s#$cluster/kubelet/#$second/kubelet/#" \
    "$cluster/conf/kubelet.yaml" >"$second/conf/kubelet.yaml"
  echo "cgroupRoot: /$second_cgroup" >>"$second/conf/kubelet.yaml"
}

add_cgroups() {
  local folder file
  for folder in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [[ -e $folder/cgroup.procs ]] || continue
    mkdir -p "$folder/$second_cgroup"
    for file in cpuset.cpus cpuset.mems; do # cgroup v1: empty at first, and then nothing may run in it
      if [[ -s $folder/$file && -e $folder/$second_cgroup/$file ]]; then
        cat "$folder/$file" >"$folder/$second_cgroup/$file" || true
      fi
    done
  done
}

add_images() {
  local images
  mapfile -t images < <(ctr images list --quiet | grep -v '^sha256:')
  ctr images export "$second/images.tar" "${images[@]}"
  second_ctr images import "$second/images.tar" >/dev/null
  rm "$second/images.tar"
}

add() {
  is_running kubelet || fail "the cluster does not run: tests/cluster/up.sh starts it"
  if is_running second-kubelet; then
    say "runs already"
    return
  fi
  remove
  add_network
  write_configuration
  add_cgroups
  start second-containerd nsenter --net="$second_namespace" containerd --config "$second/conf/containerd.toml"
  wait_for "containerd answers" 30 second-containerd second_ctr version
  add_images
  start second-kubelet nsenter --net="$second_namespace" "$(tool kubelet)" \
    --config "$second/conf/kubelet.yaml" --kubeconfig "$kubeconfig" --root-dir "$second/kubelet" --cert-dir "$cluster/pki" \
    --hostname-override "$second_node" --node-ip "$(of_families second_addresses)"
  start second-proxy nsenter --net="$second_namespace" "$(tool kube-proxy)" --kubeconfig "$kubeconfig" \
    --cluster-cidr "$(of_families cluster_networks)" --proxy-mode iptables --hostname-override "$second_node" --conntrack-max-per-core 0
  wait_for "the node registers" 60 second-kubelet kubectl get node "$second_node"
  wait_for "the node is ready" 60 second-kubelet kubectl wait --for=condition=Ready "node/$second_node" --timeout=1s
}

no_tasks() { [[ -z $(second_ctr tasks list --quiet) ]]; }

remove() {
  local pods id
  if is_running second-kubelet && is_running api; then
    kubectl cordon "$second_node" >/dev/null 2>&1 || true
    pods=$(kubectl get pods --all-namespaces --field-selector "spec.nodeName=$second_node" \
      -o jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}' 2>/dev/null || true)
    while read -r namespace name; do
      [[ -z $name ]] || kubectl -n "$namespace" delete pod "$name" --force --grace-period=0 --wait=false >/dev/null 2>&1 || true
    done <<<"$pods"
    try_for 20 no_tasks || say "pods are left after 20 s: removing them by force"
  fi
  stop second-kubelet second-proxy
  if is_running second-containerd; then
    for id in $(second_ctr tasks list --quiet); do second_ctr tasks delete --force "$id" >/dev/null 2>&1 || true; done
  fi
  stop second-containerd
  stop_shims "$second_socket" "$second/containerd"
  remove_cgroups "/sys/fs/cgroup/$second_cgroup" /sys/fs/cgroup/*/"$second_cgroup"
  remove_mounts "$second/"
  if is_running api; then kubectl delete node "$second_node" --ignore-not-found >/dev/null 2>&1 || true; fi
  ip link delete "$second_link" 2>/dev/null || true # the route goes with it
  rm -rf "$second"
}

need_root
case ${1:-} in
  add | remove) "$1" ;;
  *) fail "usage: second-node.sh add|remove" ;;
esac
