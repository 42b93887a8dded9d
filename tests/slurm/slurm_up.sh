#!/bin/bash
# Start a real Slurm on this machine without systemd: nodes cpu1 cpu2 (8 cores each) and gpu1 (8 cores, 4 fake GPUs),
# partitions cpu and gpu. Usage, as root: slurm_up.sh DIR [FIRST_PORT]; then SLURM_CONF=DIR/slurm.conf for the clients.
# With HOSTS=netns the nodes live in the network namespaces that hosts_up.sh made, with addresses of their own.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
dir=$(realpath -m "$1")
port=${2:-17800}
hosts=${HOSTS:-local}
mkdir -p "$dir"/{run,log,state,spool,dev}
chmod 755 "$dir" "$dir/run"
install -d -o munge -g munge -m 0700 "$dir/munge"

declare -A address=([head]=127.0.0.1 [cpu1]=127.0.0.1 [cpu2]=127.0.0.1 [gpu1]=127.0.0.1)
controller=$(hostname -s)
own_name() { echo "NodeHostname=localhost"; }
on() { shift; "$@"; }
if [ "$hosts" = netns ]; then
  network=${NETWORK:-10.88.0}
  address=([head]=$network.1 [cpu1]=$network.11 [cpu2]=$network.12 [gpu1]=$network.21)
  controller=head
  own_name() { :; }
  on() { "$here/../netns/on_host.sh" "$@"; }
fi
node() { # NAME PORT EXTRA
  echo "NodeName=$1 $(own_name) NodeAddr=${address[$1]} Port=$2 CPUs=8 Boards=1 SocketsPerBoard=1 CoresPerSocket=8" \
    "ThreadsPerCore=1 RealMemory=8000 ${3:-}"
}

for gpu in 0 1 2 3; do # a device file each, which Slurm counts as a GPU (same numbers as /dev/null)
  [ -e "$dir/dev/gpu$gpu" ] || mknod "$dir/dev/gpu$gpu" c 1 3
done
echo "NodeName=gpu1 Name=gpu File=$dir/dev/gpu[0-3]" > "$dir/gres.conf"
cat > "$dir/slurm.conf" <<CONF
ClusterName=alflow
SlurmctldHost=$controller(${address[head]})
SlurmctldPort=$port
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
KillWait=2
MinJobAge=300
SlurmdTimeout=20
SlurmdParameters=config_overrides
GresTypes=gpu
$(node cpu1 $((port + 1)))
$(node cpu2 $((port + 2)))
$(node gpu1 $((port + 3)) Gres=gpu:4)
PartitionName=cpu Nodes=cpu[1-2] Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=gpu1 MaxTime=INFINITE State=UP
CONF

if [ ! -s "$dir/munge/munge.key" ]; then
  head -c 128 /dev/urandom > "$dir/munge/munge.key"
  chown munge: "$dir/munge/munge.key"
  chmod 400 "$dir/munge/munge.key"
fi
chown munge: "$dir/run"
setpriv --reuid=munge --regid=munge --clear-groups munged --key-file="$dir/munge/munge.key" \
  --socket="$dir/run/munge.socket" --pid-file="$dir/run/munged.pid" --log-file="$dir/munge/munged.log" \
  --seed-file="$dir/munge/seed" > "$dir/log/munged.out" 2>&1
export SLURM_CONF="$dir/slurm.conf"
on head slurmctld -f "$SLURM_CONF" > "$dir/log/slurmctld.out" 2>&1
for name in cpu1 cpu2 gpu1; do
  mkdir -p "$dir/spool/$name"
  on $name slurmd -f "$SLURM_CONF" -N $name > "$dir/log/$name.out" 2>&1
done
for _ in $(seq 150); do
  [ "$(on head sinfo -h -N -o '%N %T' 2> /dev/null | sort -u | grep -c ' idle$')" = 3 ] && exit 0
  sleep 0.1
done
on head sinfo -N -l >&2
exit 1
