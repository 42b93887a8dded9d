#!/bin/bash
# Make hosts that share this machine's disk and have addresses of their own: network namespaces on a bridge.
# Usage, as root: hosts_up.sh [NAME ...]. The bridge lives in a namespace too: the machine's own network is not touched.
# PREFIX and NETWORK (10.88.0) may be set. Run a command on one with on_host.sh; hosts_down.sh removes all.
set -euo pipefail
prefix=${PREFIX:-alflow}
network=${NETWORK:-10.88.0}
declare -A number=([head]=1 [cpu1]=11 [cpu2]=12 [gpu1]=21)
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(head cpu1 cpu2 gpu1)

ip netns add "$prefix-switch"
ip -n "$prefix-switch" link add bridge0 type bridge
ip -n "$prefix-switch" link set bridge0 up
for name in "${names[@]}"; do
  space=$prefix-$name
  ip netns add "$space"
  ip -n "$prefix-switch" link add "to-$name" type veth peer name eth0 netns "$space"
  ip -n "$prefix-switch" link set "to-$name" master bridge0 up
  ip -n "$space" addr add "$network.${number[$name]}/24" dev eth0
  ip -n "$space" link set eth0 up
  ip -n "$space" link set lo up
  mkdir -p "/etc/netns/$space"
  {
    echo "127.0.0.1 localhost"
    for other in "${names[@]}"; do echo "$network.${number[$other]} $other"; done
  } > "/etc/netns/$space/hosts"
done
