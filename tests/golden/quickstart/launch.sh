#!/bin/sh
# quickstart-20260101-000000-abcd: start one node by hand with   sh launch.sh NODE_RANK
#   NODE_RANK 0 is localhost
NODE_RANK=${1:?usage: sh launch.sh NODE_RANK}
cd /launcher/runs/quickstart-20260101-000000-abcd || exit 2
. ./enter.sh
exec "$LLMCTL_PYTHON" -u -m torch.distributed.run --nnodes=1 \
    --nproc-per-node="$LLMCTL_SLOTS" --log-dir=/dev/null --node-rank="$NODE_RANK" \
    --master-addr=127.0.0.1 --master-port=29500 \
    -m llmctl_engine engine.json
