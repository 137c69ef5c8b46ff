#!/usr/bin/env bash
# A Slurm cluster of two nodes on this machine, to test launcher=slurm with. As root, with Debian's packages:
#
#   apt-get install slurmctld slurmd slurm-client munge                 # --accounting: slurmdbd mariadb-server
#   scripts/slurm_cluster.sh start [--accounting] FOLDER                # then: export SLURM_CONF=FOLDER/slurm.conf
#   scripts/slurm_cluster.sh stop FOLDER
#
# All its files are in FOLDER. It ends all that it started, and nothing else. The partition "short" has a limit of
# 10 minutes; "all", the default, has none. SLURM_CLUSTER_PORT (16816) is below the five ports that it takes.
set -euo pipefail

fail() {
  echo "slurm_cluster.sh: $1" >&2
  exit 1
}

wait_for() { # SECONDS WHAT COMMAND...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "$what did not start; its log is in $folder"
    sleep 0.3
  done
}

daemon() { # NAME COMMAND...: in a session of its own, its process id in NAME.pid
  local name=$1
  shift
  setsid "$@" >"$folder/$name.out" 2>&1 </dev/null &
  echo $! >"$folder/$name.pid"
}

write_settings() {
  local memory cores
  memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
  cores=${SLURM_CLUSTER_CORES:-4} # of each node; more than there are is no matter to Slurm
  cat >"$folder/slurm.conf" <<EOF
ClusterName=nctest
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.own.pid
SlurmdPidFile=$folder/slurmd-%n.own.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
SlurmdParameters=config_overrides
SlurmctldParameters=enable_configless
ReturnToService=2
SlurmdTimeout=20
MinJobAge=300
KillWait=30
JobAcctGatherType=jobacct_gather/none
$1
NodeName=n1,n2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 2)),$((port + 3)) CPUs=$cores RealMemory=$memory
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=n1,n2 MaxTime=10 State=UP
EOF
}

start_accounting() {
  local data=$folder/mariadb
  mkdir -p "$data"
  chown mysql "$data"
  mysql_install_db --user=mysql --datadir="$data" --auth-root-authentication-method=normal >"$folder/mariadb.setup" 2>&1 ||
    fail "MariaDB's tables could not be made (see $folder/mariadb.setup); its user mysql must be able to enter $folder"
  daemon mariadbd mariadbd --no-defaults --user=mysql --datadir="$data" --socket="$data/socket" --port=$((port + 4)) \
    --bind-address=127.0.0.1 --innodb-buffer-pool-size=128M --pid-file="$data/pid"
  wait_for 60 mariadbd mysqladmin --no-defaults --socket="$data/socket" -u root ping
  mysql --no-defaults --socket="$data/socket" -u root -e \
    "create database slurm_acct_db; create user slurm@127.0.0.1 identified by 'slurm'; grant all on slurm_acct_db.* to slurm@127.0.0.1"
  cat >"$folder/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 5))
SlurmUser=root
LogFile=$folder/slurmdbd.log
PidFile=$folder/slurmdbd.own.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 4))
StorageUser=slurm
StoragePass=slurm
EOF
  chmod 600 "$folder/slurmdbd.conf"
  daemon slurmdbd slurmdbd -D
  wait_for 60 slurmdbd bash -c "</dev/tcp/127.0.0.1/$((port + 5))"
}

start() {
  local name
  [[ $(id -u) -eq 0 ]] || fail "Slurm's daemons are started as root"
  for name in slurmctld slurmd sbatch munged; do
    command -v "$name" >/dev/null || fail "there is no $name; apt-get install slurmctld slurmd slurm-client munge"
  done
  [[ ! -e $folder/slurm.conf ]] || fail "$folder has a cluster already; stop it, or choose another folder"
  trap end_daemons EXIT # where something does not start
  mkdir -p "$folder/state" "$folder/spool-n1" "$folder/spool-n2"
  chmod 755 "$folder"
  (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
  daemon munged munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.own.pid" --seed-file="$folder/munge.seed" --log-file="$folder/munged.log"
  wait_for 20 munged test -S "$folder/munge.socket"
  local storage="AccountingStorageType=accounting_storage/none"
  if $accounting; then
    storage="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 5))
AccountingStoragePass=$folder/munge.socket" # the socket through which Slurm proves to slurmdbd who it is
  fi
  write_settings "$storage"
  export SLURM_CONF=$folder/slurm.conf
  if $accounting; then
    start_accounting
    sacctmgr -i add cluster nctest >"$folder/sacctmgr.out" 2>&1 || true
  fi
  daemon slurmctld slurmctld -D
  wait_for 30 slurmctld bash -c 'scontrol ping | grep -q "is UP"'
  for name in n1 n2; do
    daemon "slurmd-$name" slurmd -D -N "$name"
  done
  # shellcheck disable=SC2016 # the inner bash expands it
  wait_for 40 "a node" bash -c '[[ $(sinfo -h -N -p all -t idle -o %N | sort -u | wc -l) -eq 2 ]]'
  trap - EXIT
  echo "export SLURM_CONF=$folder/slurm.conf"
}

stop() {
  [[ -e $folder/slurm.conf ]] || fail "$folder has no cluster"
  export SLURM_CONF=$folder/slurm.conf
  timeout 20 scancel --full -u "$(id -un)" >/dev/null 2>&1 || true
  for ((i = 0; i < 50; i++)); do # jobs save their state
    [[ -n $(timeout 10 squeue -h 2>/dev/null || true) ]] || break
    sleep 0.3
  done
  end_daemons
}

end_daemons() {
  local name pid
  for name in slurmd-n1 slurmd-n2 slurmctld slurmdbd mariadbd munged; do
    [[ -e $folder/$name.pid ]] || continue
    pid=$(<"$folder/$name.pid")
    kill "$pid" 2>/dev/null || true
    for ((i = 0; i < 100; i++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$folder/$name.pid"
  done
  rm -f "$folder/slurm.conf"
}

port=${SLURM_CLUSTER_PORT:-16816}
accounting=false
arguments=()
for argument in "$@"; do
  if [[ $argument == --accounting ]]; then accounting=true; else arguments+=("$argument"); fi
done
[[ ${#arguments[@]} -eq 2 && ${arguments[0]} =~ ^(start|stop)$ ]] || fail "start [--accounting] FOLDER, or stop FOLDER"
mkdir -p "${arguments[1]}"
folder=$(cd "${arguments[1]}" && pwd)
"${arguments[0]}"
