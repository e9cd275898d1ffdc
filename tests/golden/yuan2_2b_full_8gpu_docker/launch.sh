#!/bin/sh
# yuan2_2b_full_8gpu_docker-20260101-000000-abcd: start one node by hand with   sh launch.sh NODE_RANK
#   NODE_RANK 0 is node1
NODE_RANK=${1:?usage: sh launch.sh NODE_RANK}
cd /workspace/llmctl/runs/yuan2_2b_full_8gpu_docker-20260101-000000-abcd || exit 2
exec sh ./container.sh "$NODE_RANK"
