#!/usr/bin/env bash
# A real SLURM of one node on this machine, with accounting: cluster.sh install | start | stop (eval what `start` prints).
# Needs root and Debian. All it runs is its own: configuration, keys, database, ports and logs, in $CLUSTER; nothing in /etc
# changes. Without accounting (slurmdbd) submitit would never learn that a job was killed. CPUS: jobs at once, all cores.
set -euo pipefail
# A short path that every user may enter: munge and mariadb run as their own, and a socket's path has 107 characters.
export CLUSTER=${CLUSTER:-${TMPDIR:-/tmp}/weightgen-slurm} DEBIAN_FRONTEND=noninteractive
export SLURM_CONF=$CLUSTER/slurm.conf PATH=$PATH:/usr/sbin:/sbin
PACKAGES="slurm-wlm munge slurmdbd mariadb-server"

install() {
    local missing
    missing=$(for package in $PACKAGES; do dpkg -s "$package" >/dev/null 2>&1 || echo "$package"; done)
    [ -z "$missing" ] && return
    echo "installing $(echo $missing)"
    local policy=/usr/sbin/policy-rc.d own=
    if [ ! -e $policy ]; then # the packages' own services stay off
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && own=1
    fi
    local status=0
    { apt-get update -qq && apt-get install -y -qq $PACKAGES; } >"$CLUSTER-apt.log" 2>&1 || status=$?
    if [ -n "$own" ]; then rm -f $policy; fi
    [ $status = 0 ] || { tail -20 "$CLUSTER-apt.log"; exit $status; }
}

within() { # within SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    until "${@:2}" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "not within $1 s: ${*:2}; see $CLUSTER/log"; return 1; }
        sleep 0.5
    done
}

daemon() { # daemon NAME COMMAND...: in the background, its process id kept for `stop`
    setsid "${@:2}" >"$CLUSTER/log/$1" 2>&1 </dev/null &
    echo $! >"$CLUSTER/pid/$1"
}

start() {
    local host sql="mariadb --socket=$CLUSTER/mariadb/socket --user=root"
    host=$(hostname -s)
    [ ! -e "$CLUSTER/pid" ] || stop
    mkdir -p "$CLUSTER"/{log,pid,state,spool,munge,mariadb}
    chmod 755 "$CLUSTER" && chown munge: "$CLUSTER/munge" && chmod 755 "$CLUSTER/munge" && chown mysql: "$CLUSTER/mariadb"

    (umask 077 && head -c 128 /dev/urandom >"$CLUSTER/munge/key") && chown munge: "$CLUSTER/munge/key"
    daemon munged runuser -u munge -- munged --foreground --key-file="$CLUSTER/munge/key" \
        --socket="$CLUSTER/munge/socket" --pid-file="$CLUSTER/munge/pid" --seed-file="$CLUSTER/munge/seed" \
        --log-file="$CLUSTER/munge/log" --force

    mariadb-install-db --no-defaults --user=mysql --datadir="$CLUSTER/mariadb" --skip-test-db >"$CLUSTER/log/mariadb-install" 2>&1
    daemon mariadbd mariadbd --no-defaults --user=mysql --datadir="$CLUSTER/mariadb" --bind-address=127.0.0.1 --port=26830 \
        --socket="$CLUSTER/mariadb/socket" --pid-file="$CLUSTER/mariadb/pid"
    within 30 $sql -e 'select 1'
    $sql -e "create database slurm; create user slurm@'127.0.0.1' identified by 'slurm'; grant all on slurm.* to slurm@'127.0.0.1'"

    cat >"$CLUSTER/slurmdbd.conf" <<END
AuthType=auth/munge
AuthInfo=socket=$CLUSTER/munge/socket
DbdHost=localhost
DbdPort=26819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=26830
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
PidFile=$CLUSTER/state/slurmdbd.pid
END
    chmod 600 "$CLUSTER/slurmdbd.conf"
    cat >"$SLURM_CONF" <<END
ClusterName=weightgen
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$CLUSTER/munge/socket
SlurmctldPort=26817
SlurmdPort=26818
StateSaveLocation=$CLUSTER/state
SlurmdSpoolDir=$CLUSTER/spool
SlurmctldPidFile=$CLUSTER/state/slurmctld.pid
SlurmdPidFile=$CLUSTER/state/slurmd.pid
MailProg=/bin/true
# Containers have no cgroups of their own:
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=26819
AccountingStoragePass=$CLUSTER/munge/socket
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
MinJobAge=300
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-$(getconf _NPROCESSORS_ONLN)} RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * .8)}' /proc/meminfo)
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    echo "CgroupPlugin=cgroup/v1" >"$CLUSTER/cgroup.conf"
    within 10 munge --socket="$CLUSTER/munge/socket" -n
    daemon slurmdbd slurmdbd -D
    within 30 sacctmgr -n show cluster
    sacctmgr -i add cluster weightgen >/dev/null 2>&1 || true
    daemon slurmctld slurmctld -D -c
    daemon slurmd slurmd -D -N "$host"
    within 60 sh -c 'sinfo -h -o %T | grep -q idle'
    echo "SLURM $(sinfo --version | cut -d' ' -f2) is up" >&2
    echo "export SLURM_CONF=$SLURM_CONF"
}

stop() {
    [ -d "$CLUSTER/pid" ] || return 0
    timeout 20 scancel --user=root >/dev/null 2>&1 || true
    local name pid
    for name in slurmd slurmctld slurmdbd mariadbd munged; do
        [ -e "$CLUSTER/pid/$name" ] || continue
        pid=$(cat "$CLUSTER/pid/$name")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 40); do kill -0 "$pid" 2>/dev/null || break; sleep 0.25; done
        kill -9 -- "-$pid" 2>/dev/null || true
    done
    rm -rf "$CLUSTER"
    echo "SLURM is stopped" >&2
}

case "${1:-}" in
install | start | stop) "$1" ;;
*) echo "usage: cluster.sh install | start | stop" && exit 2 ;;
esac
