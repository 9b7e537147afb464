#!/usr/bin/env bash
# Run snakemake in this folder. A killed run leaves a lock behind, and Snakemake cannot tell whether its owner is still alive.
# This script removes the lock, but only when no process that was started in this folder is still running.
set -euo pipefail
cd -P .  # /proc shows the real path of a process's folder

alive() {
    local process command
    for process in /proc/[0-9]*; do
        [ "${process#/proc/}" != "$$" ] || continue
        [ "$(readlink "$process/cwd" 2>/dev/null)" = "$PWD" ] || continue
        command=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline") || continue
        case "$command" in
            *bin/snakemake* | *"-m snakemake"* | *.snakemake/scripts/* | *workflow/scripts/*)
                echo "${process#/proc/}: ${command:0:120}"
                ;;
        esac
    done
}

# On a shared file system the run may be on another machine, whose processes cannot be listed from here.
record=.snakemake/launched-on
if [ -d "$record" ]; then
    echo "$PWD/$record is a folder, where a file is written; remove it: rm -r $record" >&2
    exit 1
fi
if [ -n "$(ls -A .snakemake/locks 2>/dev/null)" ]; then
    host=$(cat "$record" 2>/dev/null || true)
    host=${host:-$(uname -n)}
    if [ "$host" != "$(uname -n)" ]; then
        echo "This folder was locked by a run on $host. If it is dead, unlock it there, or here with: snakemake --unlock" >&2
        exit 1
    fi
    living=$(alive)
    if [ -n "$living" ]; then
        printf 'This folder is in use; wait for these processes, or end them, and try again:\n%s\n' "$living" >&2
        exit 1
    fi
    echo "Clearing the lock of a run that was killed (nothing of it is alive on this machine)."
    snakemake --unlock "$@" >/dev/null
fi
# Returning the memory of every large tensor to the system costs a fifth of a training step on a CPU, because new pages are zeroed.
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-4294967296} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-8589934592}
export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456}
# Threads that spin while they wait make a step up to ten times slower when other processes are busy; not spinning at all costs
# a quarter on an idle machine. 1,000 of the library's 300,000 turns cost a tenth there.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}
mkdir -p .snakemake
uname -n >"$record"
exec snakemake "$@"
