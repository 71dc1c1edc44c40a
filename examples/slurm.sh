#!/bin/bash
# Fit over 2 hosts of 4 GPUs: sbatch examples/slurm.sh COHORT RUN [options of remind fit]
#
# One task per host; remind starts a process per GPU in it. What ends is taken up again from the last
# finished epoch: a process that dies by remind itself (--restarts), the job by --resume when SLURM
# requeues it, because a host failed or because its time is nearly over.
# COHORT and RUN must be on a file system that all hosts share.

#SBATCH --job-name=remind
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180

set -u
if [ $# -lt 2 ]; then
    echo "usage: sbatch $0 COHORT RUN [options of remind fit]" >&2
    exit 2
fi
cohort=$1 run=$2
shift 2

export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun does not take it over from sbatch

requeue() {
    echo "time is nearly over: requeued, to go on after the last finished epoch"
    trap '' TERM # that of the requeue
    scontrol requeue "$SLURM_JOB_ID"
    kill $(jobs -p) 2>/dev/null # srun
    wait
    exit 0
}
trap requeue USR1

srun --kill-on-bad-exit=1 remind fit "$cohort" --out "$run" \
    --nodes "$SLURM_JOB_NUM_NODES" --devices "${SLURM_GPUS_ON_NODE:-1}" \
    --restarts 3 --resume "$@" &

wait $!
