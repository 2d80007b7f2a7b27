#!/usr/bin/env bash
# Install and start SLURM with accounting on this one host. Read README.md first: it needs root.
# A second call finds SLURM up and does nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
host=$(hostname -s)
conf=/etc/slurm
state=/var/lib/tiebreak-slurm
mark="# written by tests/slurm/up.sh of tiebreak"

fail() { echo "up.sh: $*" >&2; exit 1; }

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds.
wait_for() {
    local seconds=$1 what=$2
    shift 2
    for _ in $(seq $((seconds * 5))); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    fail "$what is not up after $seconds s; see $state/log"
}

node_is_up() { sinfo --noheader --format=%T | grep -qE '^(idle|mixed|allocated)$'; }
is_up() { node_is_up && sacct --noheader; }

install_packages() {
    command -v slurmctld slurmdbd munged mariadbd sacct >/dev/null && return
    # Without systemd the packages would start their daemons through init scripts, with settings
    # that are not ours; this file is Debian's way to say no.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends \
        slurm-wlm slurm-client slurmdbd slurm-wlm-mysql-plugin munge mariadb-server >/dev/null
}

write_config() {
    # SLURM asks the resolver for its own host.
    getent hosts "$host" >/dev/null || echo "127.0.0.1 $host" >>/etc/hosts
    local memory_mb=$(($(awk '/^MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 10))
    cat >$conf/slurm.conf <<CONF
$mark
ClusterName=tiebreak
SlurmctldHost=$host(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$state/slurmctld
SlurmdSpoolDir=$state/slurmd
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory_mb State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    # root enters MariaDB by its socket, so there is no password here.
    cat >$conf/slurmdbd.conf <<CONF
$mark
AuthType=auth/munge
DbdHost=$host
DbdAddr=127.0.0.1
CommunicationParameters=NoInAddrAny
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=tiebreak_slurm
PidFile=$state/slurmdbd.pid
LogFile=$state/log/slurmdbd.log
CONF
    chmod 600 $conf/slurmdbd.conf
}

start_munge() {
    munge --no-input >/dev/null 2>&1 && return
    install -d -o munge -g munge -m 755 /run/munge
    [ -s /etc/munge/munge.key ] || runuser -u munge -- /usr/sbin/mungekey --create
    runuser -u munge -- /usr/sbin/munged --force --pid-file=/run/munge/tiebreak-slurm.pid
    wait_for 10 munged munge --no-input
}

start_database() {
    mariadb-admin ping >/dev/null 2>&1 && return
    install -d -o mysql -g mysql /run/mysqld
    # No port, only the socket.
    runuser -u mysql -- setsid /usr/sbin/mariadbd --skip-networking --skip-log-error \
        --pid-file=/run/mysqld/tiebreak-slurm.pid >$state/log/mariadbd.log 2>&1 </dev/null &
    wait_for 60 mariadbd mariadb-admin ping
}

start_slurm() {
    install -d $state/slurmctld $state/slurmd
    slurmdbd
    wait_for 60 slurmdbd sacctmgr --noheader show cluster
    # The cluster must be known before slurmctld starts, or it would need a restart.
    sacctmgr --immediate --quiet add cluster tiebreak >/dev/null || true
    slurmctld
    slurmd
    wait_for 60 "the node" node_is_up
    wait_for 30 sacct sacct --noheader
}

[ "$(id -u)" = 0 ] || fail "needs root"
[ ! -d /run/systemd/system ] || fail "this host runs systemd; use its own SLURM"
for file in $conf/slurm.conf $conf/slurmdbd.conf; do
    [ ! -e $file ] || grep -qxF "$mark" $file || fail "$file is not ours; move it away"
done
if ! is_up >/dev/null 2>&1; then
    install_packages
    bash "$here/down.sh"
    install -d -m 755 $state/log
    chmod 755 $state
    write_config
    start_munge
    start_database
    start_slurm
fi
sinfo
