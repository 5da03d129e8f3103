#!/usr/bin/env bash
# Train on several GPUs of one or several machines: tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# With several machines run it on each, with NNODES, NODE_RANK, MASTER_ADDR (of the first) and PORT set.
# SIGTERM and SIGUSR1 are passed on to the processes, which finish their step, save and end; torchrun gives
# them TORCH_ELASTIC_SHUTDOWN_TIMEOUT (30) seconds for it.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
fi
config=$1
gpus=$2
shift 2
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export PET_SIGNALS_TO_HANDLE="${PET_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1}" # of torchrun --signals-to-handle
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}" --nproc_per_node "$gpus" \
    --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
