#!/usr/bin/env bash
# Train on a Slurm cluster: tools/slurm_train.sh PARTITION JOB CONFIG [arguments of train.py]
# GPUS (8) in all, GPUS_PER_NODE (8), CPUS_PER_TASK (5), WARNING (300) and SRUN_ARGS are read from the environment.
#
# WARNING seconds before the time limit Slurm sends SIGUSR1 to the processes, and SIGTERM where it takes the nodes for another
# job. The run then finishes its step, or a k-NN validation it is in, saves, and ends with exit code 75. What comes next
# depends on where this script was started:
# - from a shell, srun makes the allocation itself. Such a job cannot be requeued, so the script, which is still there, starts
#   the next one, with --resume; leave it running (in tmux, for instance).
# - in a batch job (sbatch --requeue --signal=USR1@300 --time ... --wrap 'tools/slurm_train.sh PARTITION JOB CONFIG ...', with the
#   same --ntasks, --gres and so on; there the warning is asked for with the allocation), the allocation is about to end: the job
#   puts itself back into the queue, and begins with --resume when Slurm starts it again, also after a node has failed.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
fi
partition=$1
job=$2
config=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
per_node=$((per_node < gpus ? per_node : gpus))
stopped=75 # what train.py exits with where a signal came and it has saved
resume=()
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    resume=(--resume)
fi
while true; do
    code=0
    # shellcheck disable=SC2086  # SRUN_ARGS is meant to be split
    srun --partition "$partition" --job-name "$job" --ntasks "$gpus" --ntasks-per-node "$per_node" \
        --gres "gpu:$per_node" --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        --signal "USR1@${WARNING:-300}" ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@" ${resume[@]+"${resume[@]}"} || code=$?
    if [ "$code" -ne "$stopped" ]; then
        exit "$code"
    fi
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        exec scontrol requeue "$SLURM_JOB_ID"
    fi
    resume=(--resume)
done
