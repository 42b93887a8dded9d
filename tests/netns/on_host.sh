#!/bin/bash
# Run a command on a host of hosts_up.sh: on_host.sh HOST COMMAND ...
# `ip netns exec` would hide the control groups, without which slurmd does not start: so only the network, the host
# name and /etc/hosts are the host's own.
host=$1
shift
space=${PREFIX:-alflow}-$host
exec nsenter --net="/run/netns/$space" unshare --uts --mount --propagation private sh -c '
  mount --bind "/etc/netns/$0/hosts" /etc/hosts && hostname "$1" && shift && exec "$@"' "$space" "$host" "$@"
