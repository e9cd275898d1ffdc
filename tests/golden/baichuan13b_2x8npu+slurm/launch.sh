#!/bin/bash
# baichuan13b_2x8npu-20260101-000000-abcd: start one node by hand with   bash launch.sh NODE_RANK
#   NODE_RANK 0 is node1
#   NODE_RANK 1 is node2
NODE_RANK=${1:?usage: bash launch.sh NODE_RANK}
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
. ./enter.sh
# DeepSpeed's launcher tells each rank its device by number; this node's are those that Slurm gave.
LLMCTL_WORLD=$("$LLMCTL_PYTHON" -c '
import base64, json, sys
world, node, given = json.loads(base64.urlsafe_b64decode(sys.argv[1])), sys.argv[2], sys.argv[3].split(",")
world[node] = [int(number) for number in given][: len(world[node])]
print(base64.urlsafe_b64encode(json.dumps(world).encode()).decode())
' eyJub2RlMSI6IFswLCAxLCAyLCAzLCA0LCA1LCA2LCA3XSwgIm5vZGUyIjogWzAsIDEsIDIsIDMsIDQsIDUsIDYsIDddfQ== "$LLMCTL_NODE" "$ASCEND_RT_VISIBLE_DEVICES") || exit 2
exec "$LLMCTL_PYTHON" -u -m deepspeed.launcher.launch --world_info="$LLMCTL_WORLD" \
    --node_rank="$NODE_RANK" --master_addr="$LLMCTL_MASTER_ADDR" --master_port="$LLMCTL_MASTER_PORT" \
    --no_local_rank --module llmctl_engine engine.json
