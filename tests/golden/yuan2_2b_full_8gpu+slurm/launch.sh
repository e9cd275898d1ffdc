#!/bin/sh
# yuan2_2b_full_8gpu-20260101-000000-abcd: start one node by hand with   sh launch.sh NODE_RANK
#   NODE_RANK 0 is task0
#   NODE_RANK 1 is task1
NODE_RANK=${1:?usage: sh launch.sh NODE_RANK}
cd /workspace/llmctl/runs/yuan2_2b_full_8gpu-20260101-000000-abcd || exit 2
. ./enter.sh
exec "$LLMCTL_PYTHON" -u -m deepspeed.launcher.launch --world_info=eyJ0YXNrMCI6IFswLCAxLCAyLCAzLCA0LCA1LCA2LCA3XSwgInRhc2sxIjogWzAsIDEsIDIsIDMsIDQsIDUsIDYsIDddfQ== \
    --node_rank="$NODE_RANK" --master_addr="$LLMCTL_MASTER_ADDR" --master_port="$LLMCTL_MASTER_PORT" \
    --no_local_rank --module llmctl_engine engine.json
