# The node: containerd, the pods' network, kubelet, kube-proxy. Sourced by up.sh.
# shellcheck shell=bash disable=SC2154 # variables of lib.sh

write_node_configuration() {
  local one ranges=() routes=() dns
  for one in "${families[@]}"; do
    ranges+=("[{\"subnet\": \"${pod_networks[$one]}\"}]")
    routes+=("{\"dst\": \"${everywhere[$one]}\"}")
  done
  dns=$(of_families dns_addresses)
  # Pods reach each other, Services and this machine, and nothing beyond: there is no masquerading.
  cat >"$cluster/conf/network/10-bridge.conflist" <<END
{"cniVersion": "0.4.0", "name": "eventcast", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$cluster/addresses",
            "ranges": [$(commas "${ranges[@]}")], "routes": [$(commas "${routes[@]}")]}}]}
END
  # No AppArmor and no change of OOM scores: not every virtual machine and container permits these. A plugin less that
  # would make a folder outside of ours.
  cat >"$cluster/conf/containerd.toml" <<END
version = 2
root = "$cluster/containerd/root"
state = "$cluster/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "$containerd_socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "eventcast.test/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$cluster/conf/network"
END
  # This machine's search domains are none of the pods' business.
  : >"$cluster/conf/resolv.conf"
  cat >"$cluster/conf/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: "$node_address"
healthzPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: "$cluster/pki/api.crt"}}
authorization: {mode: AlwaysAllow}
tlsCertFile: "$cluster/pki/api.crt"
tlsPrivateKeyFile: "$cluster/pki/api.key"
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: ["${dns//,/\", \"}"]
clusterDomain: cluster.local
containerRuntimeEndpoint: "unix://$containerd_socket"
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
maxPods: 500
podLogsDir: "$cluster/log/pods"
volumePluginDir: "$cluster/kubelet/plugins"
resolvConf: "$cluster/conf/resolv.conf"
syncFrequency: 2s
nodeStatusUpdateFrequency: 4s
END
}

start_containerd() {
  start containerd containerd --config "$cluster/conf/containerd.toml"
  wait_for "containerd answers" 30 containerd ctr version
}

start_node() {
  start kubelet "$(tool kubelet)" --config "$cluster/conf/kubelet.yaml" --kubeconfig "$kubeconfig" \
    --root-dir "$cluster/kubelet" --cert-dir "$cluster/pki" --hostname-override "$node" --node-ip "$(of_families node_addresses)"
  start_proxy
  wait_for "the node registers" 60 kubelet kubectl get node "$node"
  wait_for "the node is ready" 60 kubelet kubectl wait --for=condition=Ready "node/$node" --timeout=1s
}

start_proxy() {
  # conntrack's size is the whole machine's: leave it
  start proxy "$(tool kube-proxy)" --kubeconfig "$kubeconfig" --cluster-cidr "$(of_families cluster_networks)" --proxy-mode iptables \
    --hostname-override "$node" --conntrack-max-per-core 0 \
    --healthz-bind-address "$node_address" --metrics-bind-address "$node_address"
}
