#!/bin/bash
# baichuan13b_2x8npu-20260101-000000-abcd: start one node by hand with   bash launch.sh NODE_RANK
#   NODE_RANK 0 is node1
#   NODE_RANK 1 is node2
NODE_RANK=${1:?usage: bash launch.sh NODE_RANK}
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
exec sh ./container.sh "$NODE_RANK"
