#!/bin/bash
# End what slurm_up.sh started in DIR: its jobs, its daemons (by their pid files).
dir=$(realpath -m "$1")
export SLURM_CONF="$dir/slurm.conf"
timeout 5 scancel --user=root 2> /dev/null
sleep 1
for file in "$dir"/run/slurmd.*.pid "$dir"/run/slurmctld.pid "$dir"/run/munged.pid; do
  [ -s "$file" ] && kill "$(cat "$file")" 2> /dev/null
done
exit 0
