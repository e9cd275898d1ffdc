#!/bin/sh
# yuan2_2b_full_8gpu-20260101-000000-abcd: one node's part of the job:   sh slurm_node.sh attend|save
NODE_RANK=$SLURM_NODEID
case "$NODE_RANK" in
0) LLMCTL_NODE=task0 LLMCTL_SLOTS=8 ;;
1) LLMCTL_NODE=task1 LLMCTL_SLOTS=8 ;;
esac
our_devices() {
    printf '%s\n' "$LLMCTL_GRES" | while read -r llmctl_nodes llmctl_numbers; do
        scontrol show hostnames "$llmctl_nodes" | grep -qxF "$SLURMD_NODENAME" || continue
        printf '%s\n' "$llmctl_numbers" | tr , '\n' | while IFS=- read -r llmctl_low llmctl_high; do
            seq "$llmctl_low" "${llmctl_high:-$llmctl_low}"
        done | paste -s -d , -
    done
}
if [ -z "$CUDA_VISIBLE_DEVICES" ]; then
    CUDA_VISIBLE_DEVICES=$(our_devices)
    # Of devices without files Slurm knows the number alone: the first ones.
    CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-$(seq -s , 0 $((LLMCTL_SLOTS - 1)))}
fi
export CUDA_VISIBLE_DEVICES
cd /workspace/llmctl/runs/yuan2_2b_full_8gpu-20260101-000000-abcd || exit 2
LLMCTL_PYTHON=$(command -v python3 || command -v python3) || { echo "launch: no python3 on $(hostname)" >&2; exit 127; }
case "$1" in
attend) exec "$LLMCTL_PYTHON" -S -I supervisor.py attend /workspace/llmctl/runs/yuan2_2b_full_8gpu-20260101-000000-abcd "$LLMCTL_NODE" "$NODE_RANK" sh yuan2_2b_full_8gpu-20260101-000000-abcd ;;
save) exec "$LLMCTL_PYTHON" -S -I supervisor.py save /workspace/llmctl/runs/yuan2_2b_full_8gpu-20260101-000000-abcd "$LLMCTL_NODE" yuan2_2b_full_8gpu-20260101-000000-abcd ;;
esac
