#!/bin/sh
# baichuan13b_2x8npu-20260101-000000-abcd: start one node's container by hand with   sh container.sh NODE_RANK
NODE_RANK=${1:?usage: sh container.sh NODE_RANK}
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
case "$NODE_RANK" in
0) LLMCTL_NODE=node1 ;;
1) LLMCTL_NODE=node2 ;;
*) echo "launch: no node has rank $NODE_RANK" >&2; exit 2 ;;
esac
LLMCTL_RUN_ID=baichuan13b_2x8npu-20260101-000000-abcd
LLMCTL_LOG_DIR=/data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd/logs/"$LLMCTL_NODE"
export LLMCTL_NODE LLMCTL_RUN_ID LLMCTL_LOG_DIR
command -v docker >/dev/null 2>&1 || { echo "launch: no docker on $(hostname)" >&2; exit 127; }
set -- --mount=type=bind,source=/data/llmctl,destination=/data/llmctl --ipc=host
for llmctl_path in /dev/davinci[0-9]* /dev/davinci_manager /dev/devmm_svm /dev/hisi_hdc; do
    if [ -e "$llmctl_path" ]; then set -- "$@" --device="$llmctl_path"; fi
done
for llmctl_path in /usr/local/Ascend/driver /usr/local/dcmi /usr/local/bin/npu-smi /etc/ascend_install.info; do
    if [ -e "$llmctl_path" ]; then
        set -- "$@" --mount="type=bind,source=$llmctl_path,destination=$llmctl_path,ro"
    fi
done
if [ "$(id -u)" != 0 ]; then
    set -- "$@" --env=HOME=/tmp --env=USER
    for llmctl_group in $(id -G); do set -- "$@" --group-add="$llmctl_group"; done
fi
# What is secret stands in env.sh, which is read inside: neither in these words nor in the runtime's own records.
exec docker run --rm --name="llmctl-$LLMCTL_RUN_ID-$LLMCTL_NODE" \
    --label="llmctl.run=$LLMCTL_RUN_ID" --label="llmctl.node=$LLMCTL_NODE" \
    --env=LLMCTL_RUN_ID --env=LLMCTL_NODE --env=LLMCTL_LOG_DIR \
    --env=LLMCTL_MASTER_ADDR --env=LLMCTL_MASTER_PORT --env=ASCEND_RT_VISIBLE_DEVICES \
    --network=host --user="$(id -u):$(id -g)" --workdir=/data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd --entrypoint=bash \
    "$@" llmctl-cann:8.2 ./inside.sh "$NODE_RANK"
