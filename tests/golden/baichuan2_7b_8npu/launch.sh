#!/bin/bash
# baichuan2_7b_8npu-20260101-000000-abcd: start one node by hand with   bash launch.sh NODE_RANK
#   NODE_RANK 0 is node1
NODE_RANK=${1:?usage: bash launch.sh NODE_RANK}
cd /data/llmctl/runs/baichuan2_7b_8npu-20260101-000000-abcd || exit 2
. ./enter.sh
exec "$LLMCTL_PYTHON" -u -m torch.distributed.run --nnodes=1 \
    --nproc-per-node="$LLMCTL_SLOTS" --log-dir=/dev/null --node-rank="$NODE_RANK" \
    --master-addr=node1 --master-port=29500 \
    -m llmctl_engine engine.json
