#!/bin/bash
# baichuan13b_2x8npu-20260101-000000-abcd: start one node by hand with   bash launch.sh NODE_RANK
#   NODE_RANK 0 is node1
#   NODE_RANK 1 is node2
# pdsh: only on NODE_RANK 0, from where DeepSpeed reaches the others.
NODE_RANK=${1:?usage: bash launch.sh NODE_RANK}
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
. ./enter.sh
[ "$NODE_RANK" = 0 ] || { echo "launch: with pdsh only node 0 starts" >&2; exit 2; }
export PDSH_RCMD_TYPE=ssh PDSH_SSH_ARGS_APPEND='-o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10'
# Only what stands in our own file goes to the other nodes: no ~/.deepspeed_env, no PYTHON* variables, and, since the
# runner takes itself to be on a CPU, none of this node's PATH and LD_LIBRARY_PATH. Each rank enters by rank.sh.
export DS_ENV_FILE=/data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd/deepspeed_env
for llmctl_name in $(env | sed -nE 's/^((PYTHON|MLFLOW|MV2|UCX)[A-Za-z0-9_]*)=.*/\1/p'); do
    unset "$llmctl_name"
done
# Asked to end, this runner ends every DeepSpeed job of this user on all nodes, by name. So it is not asked.
export LLMCTL_STOP=KILL
DS_ACCELERATOR=cpu exec "$LLMCTL_PYTHON" -u -m deepspeed.launcher.runner \
    --hostfile hostfile --launcher pdsh --force_multi --no_ssh_check \
    --master_addr node1 --master_port 29500 \
    --no_python --no_local_rank bash /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd/rank.sh
