#!/bin/sh
# yuan2_2b_full_8gpu_docker-20260101-000000-abcd: start one node by hand with   sh inside.sh NODE_RANK
#   NODE_RANK 0 is node1
NODE_RANK=${1:?usage: sh inside.sh NODE_RANK}
cd /workspace/llmctl/runs/yuan2_2b_full_8gpu_docker-20260101-000000-abcd || exit 2
. ./enter.sh
exec "$LLMCTL_PYTHON" -u -m deepspeed.launcher.launch --world_info=eyJub2RlMSI6IFswLCAxLCAyLCAzLCA0LCA1LCA2LCA3XX0= \
    --node_rank="$NODE_RANK" --master_addr=node1 --master_port=29500 \
    --no_local_rank --module llmctl_engine engine.json
