# What up.sh, down.sh and load.sh share: where the cluster lives, its addresses, its processes. Sourced, not run.
# shellcheck shell=bash disable=SC2034 # used by those who source this

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$repository/tests/cluster
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-$repository/target}")
# Everything the cluster writes lies here; down.sh removes the folder.
cluster=$(realpath --canonicalize-missing "${EVENTCAST_CLUSTER_DIR:-$target/cluster}")
kubeconfig=$cluster/kubeconfig
containerd_socket=$cluster/run/containerd.sock

# All from 198.18.0.0/15, which is set aside for test networks, or from a unique local network, so that no real network is in the way. The node's
# addresses are given to `lo`: the cluster listens there alone, on the ordinary ports, beside whatever else this machine runs.
declare -A node_addresses=([IPv4]=198.18.0.1 [IPv6]=fd71:e7c5:18::1)
declare -A whole_address=([IPv4]=32 [IPv6]=128) everywhere=([IPv4]=0.0.0.0/0 [IPv6]=::/0)
declare -A pod_networks=([IPv4]=198.18.64.0/20 [IPv6]=fd71:e7c5:18:64::/64)
declare -A cluster_networks=([IPv4]=198.18.64.0/19 [IPv6]=fd71:e7c5:18:64::/63) # the pods of both nodes
declare -A service_networks=([IPv4]=198.18.128.0/20 [IPv6]=fd71:e7c5:18:128::/112)
declare -A api_service_addresses=([IPv4]=198.18.128.1 [IPv6]=fd71:e7c5:18:128::1)
declare -A dns_addresses=([IPv4]=198.18.128.10 [IPv6]=fd71:e7c5:18:128::10)
pod_prefixes='inet6? (198\.18\.|fd71:e7c5:18:)'

# Sets the family of the cluster that there is, or else that of EVENTCAST_CLUSTER_FAMILY: IPv4, IPv6 or `dual`, where nodes, pods and
# Services have addresses of both. The control plane listens on the main one.
set_family() {
  family=${EVENTCAST_CLUSTER_FAMILY:-IPv4}
  if [[ -f $cluster/run/family ]]; then family=$(<"$cluster/run/family"); fi
  case $family in
    IPv4 | IPv6) families=("$family") ;;
    dual) families=(IPv4 IPv6) ;;
    *)
      echo "EVENTCAST_CLUSTER_FAMILY is $family: it can be IPv4, IPv6 or dual" >&2
      exit 1
      ;;
  esac
  main_family=${families[0]}
  node_address=${node_addresses[$main_family]}
  node_host=$node_address
  if [[ $main_family == IPv6 ]]; then node_host="[$node_address]"; fi
}

# The entries of an array above for the families of the cluster, with commas between them.
of_families() { # ARRAY
  local -n entries=$1
  local one joined=()
  for one in "${families[@]}"; do joined+=("${entries[$one]}"); done
  commas "${joined[@]}"
}
commas() {
  local IFS=,
  echo "$*"
}

set_family
bridge=eventcast0
node=node0

# second-node.sh
second=$cluster/second
second_node=node1
second_namespace=$second/namespace # of the network
second_link=eventcast1
declare -A second_gateways=([IPv4]=198.18.1.1 [IPv6]=fd71:e7c5:18:1::1)
declare -A second_addresses=([IPv4]=198.18.1.2 [IPv6]=fd71:e7c5:18:1::2) link_prefix=([IPv4]=30 [IPv6]=126)
declare -A second_pod_networks=([IPv4]=198.18.80.0/20 [IPv6]=fd71:e7c5:18:65::/64)
second_socket=$cluster/run/containerd1.sock
second_cgroup=eventcast-node1

# What kube-proxy changes in the kernel, put back by down.sh.
sysctls=(net.ipv4.ip_forward net.ipv4.conf.all.route_localnet net.bridge.bridge-nf-call-iptables
  net.ipv6.conf.all.forwarding net.bridge.bridge-nf-call-ip6tables)

say() { echo "${0##*/}: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# What is sent to a Service whose address no rule translates yet is refused here, and does not leave this machine.
refuse_untranslated() { # --append|--delete FAMILY
  local filter=iptables chain
  if [[ $2 == IPv6 ]]; then filter=ip6tables; fi
  for chain in OUTPUT FORWARD; do
    "$filter" "$1" "$chain" --destination "${service_networks[$2]}" --match comment --comment "of the eventcast test cluster" --jump REJECT
  done
}

# The rules of network-policies.sh.
policies_chain=EVENTCAST-POLICIES
remove_policies() {
  local filter
  for filter in iptables ip6tables; do
    "$filter" --table mangle --delete POSTROUTING --match conntrack --ctstate NEW --jump "$policies_chain" 2>/dev/null || continue
    "$filter" --table mangle --flush "$policies_chain"
    "$filter" --table mangle --delete-chain "$policies_chain"
  done
}

tool() { "$repository/tests/tools/install.sh" path "$1"; }
kubectl() { "$(tool kubectl)" --kubeconfig "$kubeconfig" "$@"; }
ctr() { command ctr --address "$containerd_socket" --namespace k8s.io "$@"; }

need_root() {
  ((EUID == 0)) || fail "the one-node cluster needs root (namespaces, mounts, iptables): run as root, or set KUBECONFIG \
to a cluster of your own instead"
}

# Processes: a file for each with its id and the time it started, so that an id that was given again is not taken for it.

started_at() { # PID: field 22 of its stat, counted from behind its name, which may hold anything; fails for the dead
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086 # one argument for each field
  set -- ${stat##*) }
  [[ $1 != Z ]] && echo "${20}"
}

is_running() { # NAME
  local pid time
  [[ -f $cluster/run/$1.pid ]] && read -r pid time <"$cluster/run/$1.pid" && [[ $(started_at "$pid") == "$time" ]]
}

pid_of() { cut -d ' ' -f 1 "$cluster/run/$1.pid"; }

# In a session of its own, so that the keyboard's signals do not reach it, and without open files of the caller: it would hold their locks.
start() { # NAME PROGRAM [ARGUMENT...]
  local name=$1
  shift
  (
    for file in "/proc/$BASHPID/fd"/*; do
      if ((${file##*/} > 2)); then eval "exec ${file##*/}>&-"; fi
    done
    exec setsid "$@"
  ) >"$cluster/log/$name.log" 2>&1 </dev/null &
  echo "$! $(started_at $!)" >"$cluster/run/$name.pid"
}

stop() { # NAME...: all at once; who is not gone in five seconds is killed
  local name signal
  for signal in TERM KILL; do
    for name in "$@"; do
      if is_running "$name"; then kill -s "$signal" "$(pid_of "$name")" 2>/dev/null || true; fi
    done
    for name in "$@"; do try_for 5 gone "$name" || true; done
  done
}
gone() { ! is_running "$1"; }

# The processes of a pod, without the one that keeps its namespaces.
processes_of() { # NAMESPACE POD
  local uid file folder
  uid=$(kubectl -n "$1" get pod "$2" -o jsonpath='{.metadata.uid}')
  grep -ls "/pod$uid/" /proc/[0-9]*/cgroup | while read -r file; do
    folder=${file%/cgroup}
    if [[ $(cat "$folder/comm" 2>/dev/null) != pause ]]; then echo "${folder#/proc/}"; fi
  done
}

# Removing what is left of a node

# Of containerd's children only those that it did not see off are left.
stop_shims() { # SOCKET FOLDER: those of one containerd
  local folder pid
  for folder in /proc/[0-9]*; do
    if tr '\0' ' ' 2>/dev/null <"$folder/cmdline" | grep -q "^[^ ]*containerd-shim[^ ]* .*$1 "; then
      pid=${folder#/proc/}
      kill -KILL "$pid" 2>/dev/null || true
    fi
  done
  for folder in "$2"/state/io.containerd.runtime.v2.task/k8s.io/*/; do
    [[ -f $folder/address ]] || continue
    rm -rf "/run/containerd/runc/k8s.io/$(basename "$folder")" "$(sed 's#^unix://##' "$folder/address")"
  done
}

remove_mounts() { # FOLDER/: all below it
  local mount
  awk -v below="$1" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount "$mount" 2>/dev/null || umount --lazy "$mount" || true
  done
}

# Containers whose containerd is gone live on; their cgroups tell who they are.
remove_cgroups() { # FOLDER...
  find "$@" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | xargs --no-run-if-empty kill -KILL \
    2>/dev/null || true
  try_for 5 are_removed "$@" || say "not removed: cgroups below $*"
}
are_removed() {
  find "$@" -depth -type d -exec rmdir {} + 2>/dev/null || true
  [[ -z $(find "$@" -maxdepth 0 2>/dev/null) ]]
}

# Waiting

try_for() { # SECONDS COMMAND...: until it succeeds
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

wait_for() { # WHAT SECONDS PROCESS COMMAND...: until it succeeds; fails at once when the process is gone
  local what=$1 deadline=$((SECONDS + $2)) process=$3 why
  shift 3
  until why=$("$@" 2>&1); do
    if ! is_running "$process"; then
      why="$process ended"
    elif ((SECONDS < deadline)); then
      sleep 0.1
      continue
    fi
    say "$what: ${why:-not in time}; the end of $cluster/log/$process.log:"
    tail -n 25 "$cluster/log/$process.log" >&2
    fail "the cluster is left as it is, to be looked at; tests/cluster/down.sh removes it"
  done
}
