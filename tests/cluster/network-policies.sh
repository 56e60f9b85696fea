#!/usr/bin/env bash
# Has the NetworkPolicies of the cluster of up.sh enforced on its first node, or no longer. What starts on this machine itself as root, such as probes
# of the kubelet and the suite, passes all the same.
#
#   network-policies.sh on|off
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The program judges the first packet of each connection, behind the translation of Services. A packet that it does not see is dropped.
on() {
  local one filter
  if is_running policies; then return; fi
  is_running kubelet || fail "the cluster does not run: tests/cluster/up.sh starts it"
  "$repository/tests/tools/install.sh" network-policies
  start policies "$(tool network-policies)" --kubeconfig "$kubeconfig" --node "$node"
  wait_for "the queue of packets is open" 60 policies grep -q '^ *100 ' /proc/net/netfilter/nfnetlink_queue
  for one in "${families[@]}"; do
    filter=(iptables --table mangle)
    if [[ $one == IPv6 ]]; then filter=(ip6tables --table mangle); fi
    "${filter[@]}" --new-chain "$policies_chain"
    "${filter[@]}" --append "$policies_chain" --match owner --uid-owner 0 --jump RETURN
    if [[ $one == IPv6 ]]; then "${filter[@]}" --append "$policies_chain" --protocol ipv6-icmp --jump RETURN; fi
    "${filter[@]}" --append "$policies_chain" --source "${cluster_networks[$one]}" --jump NFQUEUE --queue-num 100
    "${filter[@]}" --append "$policies_chain" --destination "${cluster_networks[$one]}" --jump NFQUEUE --queue-num 100
    "${filter[@]}" --append POSTROUTING --match conntrack --ctstate NEW --jump "$policies_chain"
  done
}

need_root
case ${1:-} in
  on) on ;;
  off)
    remove_policies
    stop policies
    ;;
  *) fail "usage: network-policies.sh on|off" ;;
esac
