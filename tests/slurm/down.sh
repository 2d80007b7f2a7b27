#!/usr/bin/env bash
# Stop what up.sh started, and nothing else: every daemon is named by its own pid file.
set -euo pipefail
state=/var/lib/tiebreak-slurm

stop() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    # A pid file can outlive its process, and the number be another's by now.
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]; then
        kill "$pid"
        for _ in $(seq 150); do
            [ -d "/proc/$pid" ] || break
            sleep 0.2
        done
        if [ -d "/proc/$pid" ]; then
            echo "down.sh: $2 ($pid) does not end" >&2
            exit 1
        fi
    fi
    rm -f "$1"
}

[ "$(id -u)" = 0 ] || { echo "down.sh: needs root" >&2; exit 1; }
stop $state/slurmd.pid slurmd
stop $state/slurmctld.pid slurmctld
stop $state/slurmdbd.pid slurmdbd
stop /run/mysqld/tiebreak-slurm.pid mariadbd
stop /run/munge/tiebreak-slurm.pid munged
