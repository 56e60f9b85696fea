# What up.sh, down.sh and load.sh share: where the cluster lives, its addresses, its processes. Sourced, not run.
# shellcheck shell=bash disable=SC2034 # used by those who source this

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$repository/tests/cluster
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-$repository/target}")
# Everything the cluster writes lies here; down.sh removes the folder.
cluster=$(realpath --canonicalize-missing "${EVENTCAST_CLUSTER_DIR:-$target/cluster}")
kubeconfig=$cluster/kubeconfig
containerd_socket=$cluster/run/containerd.sock

# EVENTCAST_CLUSTER_FAMILY=IPv6: the cluster has addresses of that family alone. Not with a second node.
family=${EVENTCAST_CLUSTER_FAMILY:-IPv4}

# All from 198.18.0.0/15, which is set aside for test networks, or from a unique local network, so that no real network is in the way. The node's
# address is given to `lo`: the cluster listens there alone, on the ordinary ports, beside whatever else this machine runs.
case $family in
  IPv4)
    node_address=198.18.0.1 node_host=198.18.0.1 whole_address=32 everywhere=0.0.0.0/0
    pod_network=198.18.64.0/20 pod_prefix='inet 198\.18\.'
    cluster_network=198.18.64.0/19 # the pods of both nodes
    service_network=198.18.128.0/20
    api_service_address=198.18.128.1
    dns_address=198.18.128.10
    ;;
  IPv6)
    node_address=fd71:e7c5:18::1 node_host='[fd71:e7c5:18::1]' whole_address=128 everywhere=::/0
    pod_network=fd71:e7c5:18:64::/64 pod_prefix='inet6 fd71:e7c5:18:'
    cluster_network=fd71:e7c5:18:64::/63
    service_network=fd71:e7c5:18:128::/112
    api_service_address=fd71:e7c5:18:128::1
    dns_address=fd71:e7c5:18:128::10
    ;;
  *)
    echo "EVENTCAST_CLUSTER_FAMILY is $family: it can be IPv4 or IPv6" >&2
    exit 1
    ;;
esac
bridge=eventcast0
node=node0

# second-node.sh
second=$cluster/second
second_node=node1
second_namespace=$second/namespace # of the network
second_link=eventcast1
second_gateway=198.18.1.1
second_address=198.18.1.2
second_pod_network=198.18.80.0/20
second_socket=$cluster/run/containerd1.sock
second_cgroup=eventcast-node1

# What is sent to a Service whose address no rule translates yet is refused here, and does not leave this machine.
untranslated=(--destination "$service_network" --match comment --comment "of the eventcast test cluster" --jump REJECT)
# What kube-proxy changes in the kernel, put back by down.sh.
sysctls=(net.ipv4.ip_forward net.ipv4.conf.all.route_localnet net.bridge.bridge-nf-call-iptables
  net.ipv6.conf.all.forwarding net.bridge.bridge-nf-call-ip6tables)

say() { echo "${0##*/}: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# iptables of the cluster's family.
packet_filter() { if [[ $family == IPv6 ]]; then ip6tables "$@"; else iptables "$@"; fi; }

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
