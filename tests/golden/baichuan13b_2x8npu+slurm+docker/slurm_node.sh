#!/bin/sh
# baichuan13b_2x8npu-20260101-000000-abcd: one node's part of the job:   sh slurm_node.sh attend|save
case "$SLURMD_NODENAME" in
node1) NODE_RANK=0 ;;
node2) NODE_RANK=1 ;;
*) echo "launch: $SLURMD_NODENAME is none of the run's nodes" >&2; exit 2 ;;
esac
case "$NODE_RANK" in
0) LLMCTL_NODE=node1 LLMCTL_SLOTS=8 ;;
1) LLMCTL_NODE=node2 LLMCTL_SLOTS=8 ;;
esac
our_devices() {
    printf '%s\n' "$LLMCTL_GRES" | while read -r llmctl_nodes llmctl_numbers; do
        scontrol show hostnames "$llmctl_nodes" | grep -qxF "$SLURMD_NODENAME" || continue
        printf '%s\n' "$llmctl_numbers" | tr , '\n' | while IFS=- read -r llmctl_low llmctl_high; do
            seq "$llmctl_low" "${llmctl_high:-$llmctl_low}"
        done | paste -s -d , -
    done
}
if [ -z "$ASCEND_RT_VISIBLE_DEVICES" ]; then
    ASCEND_RT_VISIBLE_DEVICES=$(our_devices)
    # Of devices without files Slurm knows the number alone: the first ones.
    ASCEND_RT_VISIBLE_DEVICES=${ASCEND_RT_VISIBLE_DEVICES:-$(seq -s , 0 $((LLMCTL_SLOTS - 1)))}
fi
export ASCEND_RT_VISIBLE_DEVICES
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
LLMCTL_PYTHON=$(command -v python3 || command -v python3) || { echo "launch: no python3 on $(hostname)" >&2; exit 127; }
case "$1" in
attend) exec "$LLMCTL_PYTHON" -S -I supervisor.py attend /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd "$LLMCTL_NODE" "$NODE_RANK" bash baichuan13b_2x8npu-20260101-000000-abcd ;;
save) exec "$LLMCTL_PYTHON" -S -I supervisor.py save /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd "$LLMCTL_NODE" baichuan13b_2x8npu-20260101-000000-abcd ;;
esac
