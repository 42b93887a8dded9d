#!/bin/bash
# Remove the hosts of hosts_up.sh.
prefix=${PREFIX:-alflow}
for space in $(ip netns list | awk '{print $1}' | grep "^$prefix-"); do
  ip netns del "$space"
  rm -rf "/etc/netns/$space"
done
exit 0
