#!/bin/bash
# baichuan13b_2x8npu-20260101-000000-abcd: start one node by hand with   bash inside.sh NODE_RANK
#   NODE_RANK 0 is node1
#   NODE_RANK 1 is node2
NODE_RANK=${1:?usage: bash inside.sh NODE_RANK}
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
. ./enter.sh
exec "$LLMCTL_PYTHON" -u -m deepspeed.launcher.launch --world_info=eyJub2RlMSI6IFswLCAxLCAyLCAzLCA0LCA1LCA2LCA3XSwgIm5vZGUyIjogWzAsIDEsIDIsIDMsIDQsIDUsIDYsIDddfQ== \
    --node_rank="$NODE_RANK" --master_addr="$LLMCTL_MASTER_ADDR" --master_port="$LLMCTL_MASTER_PORT" \
    --no_local_rank --module llmctl_engine engine.json
