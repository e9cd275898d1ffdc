#!/bin/sh
# yuan2_2b_full_8gpu-20260101-000000-abcd: start one node by hand with   sh launch.sh NODE_RANK
#   NODE_RANK 0 is task0
#   NODE_RANK 1 is task1
NODE_RANK=${1:?usage: sh launch.sh NODE_RANK}
cd /workspace/llmctl/runs/yuan2_2b_full_8gpu-20260101-000000-abcd || exit 2
. ./enter.sh
# DeepSpeed's launcher tells each rank its device by number; this node's are those that Slurm gave.
LLMCTL_WORLD=$("$LLMCTL_PYTHON" -c '
import base64, json, sys
world, node, given = json.loads(base64.urlsafe_b64decode(sys.argv[1])), sys.argv[2], sys.argv[3].split(",")
world[node] = [int(number) for number in given][: len(world[node])]
print(base64.urlsafe_b64encode(json.dumps(world).encode()).decode())
' eyJ0YXNrMCI6IFswLCAxLCAyLCAzLCA0LCA1LCA2LCA3XSwgInRhc2sxIjogWzAsIDEsIDIsIDMsIDQsIDUsIDYsIDddfQ== "$LLMCTL_NODE" "$CUDA_VISIBLE_DEVICES") || exit 2
exec "$LLMCTL_PYTHON" -u -m deepspeed.launcher.launch --world_info="$LLMCTL_WORLD" \
    --node_rank="$NODE_RANK" --master_addr="$LLMCTL_MASTER_ADDR" --master_port="$LLMCTL_MASTER_PORT" \
    --no_local_rank --module llmctl_engine engine.json
