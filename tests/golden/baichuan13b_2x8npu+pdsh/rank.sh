#!/bin/bash
# One rank of baichuan13b_2x8npu-20260101-000000-abcd, started by DeepSpeed on its node, in that node's own environment.
unset DS_ACCELERATOR
NODE_RANK=${CROSS_RANK:?started by deepspeed.launcher.launch}
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
. ./enter.sh
export LLMCTL_LOG_DIR=/data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd/logs/"$LLMCTL_NODE"
exec "$LLMCTL_PYTHON" -u -m llmctl_engine engine.json
