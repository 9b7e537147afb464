#!/usr/bin/env bash
# cluster.sh up DIR | down DIR     -- throw-away one-machine SLURM, loopback only, no systemd, no cgroups
# DIR: absolute, short (unix socket limit 108 bytes); every parent o+x (munge socket) and not group/other-writable unless sticky (munge key)
# Knobs: PORT_BASE (26800) NODES (2) CPUS (2) MEM_MB (4000) GPUS (2) MIN_JOB_AGE (600); more CPUs and memory than there are may be declared
set -euo pipefail
CMD=${1:?up|down}; DIR=${2:?DIR}
PATH=$PATH:/usr/sbin:/sbin
PORT_BASE=${PORT_BASE:-26800} NODES=${NODES:-2} CPUS=${CPUS:-2} MEM_MB=${MEM_MB:-4000} GPUS=${GPUS:-2} MIN_JOB_AGE=${MIN_JOB_AGE:-600}
HOST=$(hostname -s) USER_=$(id -un)
export SLURM_CONF=$DIR/etc/slurm.conf

starttime() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }      # field 22: identifies a pid for ever
spawn() { # spawn NAME cmd...  : background, own session, pid + start time recorded
  local name=$1; shift
  setsid nohup "$@" >"$DIR/log/$name.out" 2>&1 </dev/null &
  local pid=$!
  echo "$pid $(starttime "$pid")" >"$DIR/run/$name.started"
}
alive() { # alive NAME -> 0 if the very process we started still runs (zombies count as dead)
  local pid st; [ -f "$DIR/run/$1.started" ] || return 1; read -r pid st <"$DIR/run/$1.started"
  [ -n "$st" ] && [ "$(starttime "$pid")" = "$st" ] && ! grep -q '^State:.Z' "/proc/$pid/status"
}
stop() { # stop NAME : TERM by pid, wait 10 s, KILL by pid; only if still the same process
  local pid _; [ -f "$DIR/run/$1.started" ] || return 0
  read -r pid _ <"$DIR/run/$1.started"
  if alive "$1"; then kill -TERM "$pid"; for _ in $(seq 100); do alive "$1" || break; sleep .1; done; fi
  if alive "$1"; then echo "KILL $1 $pid" >&2; kill -KILL "$pid" || true; fi
  rm -f "$DIR/run/$1.started"
}
wait_for() { # wait_for SECONDS cmd...
  local end=$(( SECONDS + $1 )); shift
  while [ $SECONDS -lt $end ]; do "$@" >/dev/null 2>&1 && return 0; sleep .2; done; return 1
}
write_conf() {
  umask 022; mkdir -p "$DIR"/{etc,run,log,spool/ctld,dev}
  ( umask 077; head -c 1024 /dev/urandom >"$DIR/etc/munge.key" )
  cat >"$DIR/etc/slurm.conf" <<EOF
ClusterName=lab
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=$USER_
SlurmdUser=$USER_
AuthType=auth/munge
AuthInfo=socket=$DIR/run/munge.socket
CredType=cred/munge
SlurmctldPort=$((PORT_BASE+17))
SlurmdPort=$((PORT_BASE+18))
SrunPortRange=$((PORT_BASE+100))-$((PORT_BASE+190))
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$DIR/spool/ctld
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd.%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldTimeout=30
SlurmdTimeout=60
InactiveLimit=0
KillWait=5
OverTimeLimit=0
MinJobAge=$MIN_JOB_AGE
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/log/jobcomp.txt
GresTypes=gpu
EOF
  echo "AccountingStorageType=accounting_storage/none" >>"$DIR/etc/slurm.conf"
  echo "AutoDetect=off" >"$DIR/etc/gres.conf"
  # fake GPU device files: symlinks to existing char devices; the trailing digit becomes CUDA_VISIBLE_DEVICES
  local -a real=(/dev/null /dev/zero /dev/full /dev/random /dev/urandom); local i g names=""
  for i in $(seq "$NODES"); do
    mkdir -p "$DIR/dev/n$i" "$DIR/spool/n$i"
    for g in $(seq 0 $((GPUS-1))); do ln -sfn "${real[$((g%5))]}" "$DIR/dev/n$i/nvidia$g"; done
    echo "NodeName=n$i NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT_BASE+200+i)) CPUs=$CPUS RealMemory=$MEM_MB Gres=gpu:$GPUS State=UNKNOWN" >>"$DIR/etc/slurm.conf"
    echo "NodeName=n$i Name=gpu File=$DIR/dev/n$i/nvidia[0-$((GPUS-1))]" >>"$DIR/etc/gres.conf"
    names+="${names:+,}n$i"
  done
  echo "PartitionName=main Nodes=$names Default=YES MaxTime=UNLIMITED DefaultTime=10 DefMemPerCPU=100 State=UP" >>"$DIR/etc/slurm.conf"
  # snakemake-executor-plugin-slurm-jobstep drops every SLURM_* variable (SLURM_CONF too) before its inner srun:
  # wrappers on PATH give it back, so /etc/slurm/slurm.conf is never needed nor touched
  mkdir -p "$DIR/bin"; local t real_t
  for t in srun sbatch salloc squeue scancel scontrol sinfo sacct sacctmgr sshare; do
    real_t=$(PATH=${PATH//$DIR\/bin:/} command -v "$t") || continue
    printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$real_t" >"$DIR/bin/$t"; chmod 755 "$DIR/bin/$t"
  done
}
nodes_idle() { [ "$(sinfo -h -N -t idle -o %N | wc -l)" = "$NODES" ]; }
up() {
  case "$(getent ahostsv4 "$HOST" | head -1)" in 127.*) ;; *) echo "hostname '$HOST' must resolve to 127.x (add '127.0.0.1 $HOST' to /etc/hosts): slurmctld and srun bind to it" >&2; return 1;; esac
  down                                                                              # leftovers of a killed earlier run in the same DIR
  write_conf
  spawn munged munged --foreground --key-file="$DIR/etc/munge.key" --socket="$DIR/run/munge.socket" \
        --pid-file="$DIR/run/munged.pid" --seed-file="$DIR/run/munged.seed" --num-threads=2
  wait_for 10 munge -n -S "$DIR/run/munge.socket" -o /dev/null || { cat "$DIR/log/munged.out"; return 1; }
  spawn slurmctld slurmctld -D -f "$SLURM_CONF"
  wait_for 20 scontrol ping || { tail "$DIR/log/slurmctld.out"; return 1; }
  for i in $(seq "$NODES"); do spawn "slurmd.n$i" slurmd -D -N "n$i" -f "$SLURM_CONF"; done
  wait_for 30 nodes_idle || { sinfo -Nel; tail "$DIR"/log/*.out; return 1; }
  wait_for 15 srun -Q -t1 --mem=10 true || { tail "$DIR"/log/*.out; return 1; }
  sinfo -N
}
down() {
  if alive slurmctld; then
    scancel --full --user="$USER_" 2>/dev/null || true
    wait_for 15 bash -c '[ -z "$(squeue -h)" ]' || squeue -h >&2
  fi
  for f in "$DIR"/run/slurmd.*.started; do [ -e "$f" ] && stop "$(basename "$f" .started)"; done
  stop slurmctld; stop munged
  # stray slurmstepd of THIS cluster only: recognised by our SLURM_CONF in their environment
  for p in /proc/[0-9]*; do
    [ "$(cat "$p/comm" 2>/dev/null)" = slurmstepd ] || continue
    { tr '\0' '\n' <"$p/environ"; } 2>/dev/null | grep -qxF "SLURM_CONF=$SLURM_CONF" || continue
    echo "KILL stray slurmstepd ${p#/proc/}" >&2; kill -KILL "${p#/proc/}" 2>/dev/null || true
  done
}
case $CMD in
  up) trap 'rc=$?; [ $rc = 0 ] || { echo "up failed, tearing down" >&2; down; }' EXIT; up;; down) down;; *) echo "usage: $0 up|down DIR" >&2; exit 2;;
esac
