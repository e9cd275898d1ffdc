#!/bin/bash
# baichuan13b_2x8npu-20260101-000000-abcd: start one node by hand with   bash launch.sh NODE_RANK
#   NODE_RANK 0 is node1
#   NODE_RANK 1 is node2
# pdsh: only on NODE_RANK 0, from where DeepSpeed reaches the others.
NODE_RANK=${1:?usage: bash launch.sh NODE_RANK}
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
[ "$NODE_RANK" = 0 ] || { echo "launch: with pdsh only node 0 starts" >&2; exit 2; }
export PDSH_RCMD_TYPE=ssh PDSH_SSH_ARGS_APPEND='-o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10'
# DeepSpeed's launcher starts inside; pdsh puts each node's place in this list, which is its rank, for %n.
exec pdsh -S -f 2 -w node1,node2 \
    sh /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd/container.sh %n
