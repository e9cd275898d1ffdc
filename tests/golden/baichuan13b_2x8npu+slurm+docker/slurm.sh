#!/bin/sh
# baichuan13b_2x8npu-20260101-000000-abcd: the batch script. It starts one supervisor on every node and waits for them.
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
echo "slurm: job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, restart ${SLURM_RESTART_COUNT:-0}"
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    echo "slurm: no more than 0 restarts (launch.slurm.requeue)"
    exit 75
fi
llmctl_first=node1
LLMCTL_MASTER_ADDR=$(scontrol show node -o "$llmctl_first" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
LLMCTL_MASTER_ADDR=${LLMCTL_MASTER_ADDR:-$llmctl_first}
LLMCTL_MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export LLMCTL_MASTER_ADDR LLMCTL_MASTER_PORT
# Which devices of each node are ours, as `NODES NUMBERS`, where Slurm itself sets no variable for them.
LLMCTL_GRES=$(scontrol show job -d "$SLURM_JOB_ID" |
    sed -n 's/^ *Nodes=\([^ ]*\) .*GRES=.*npu[^(]*(IDX:\([0-9,-]*\)).*/\1 \2/p')
export LLMCTL_GRES
on_all() {
    srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpu-bind=none \
        ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} "$@"
}
near_the_limit() {
    llmctl_saved=1
    echo "slurm: the time limit is near; asking the ranks for a checkpoint"
    on_all --overlap sh ./slurm_node.sh save
}
trap near_the_limit USR1
trap : TERM
on_all --kill-on-bad-exit=1 --wait=0 sh ./slurm_node.sh attend &
llmctl_step=$!
while :; do
    wait "$llmctl_step"
    llmctl_code=$?
    kill -0 "$llmctl_step" 2>/dev/null || break
done
exit "$llmctl_code"
