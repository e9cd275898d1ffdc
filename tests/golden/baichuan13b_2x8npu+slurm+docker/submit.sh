#!/bin/sh
# Hand baichuan13b_2x8npu-20260101-000000-abcd to Slurm; prints the number of the job.
cd /data/llmctl/runs/baichuan13b_2x8npu-20260101-000000-abcd || exit 2
mkdir -p logs/node1 || exit 1
# The job gets these variables of its submitter and no others.
for llmctl_name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case "$llmctl_name" in
    PATH | HOME | USER | LOGNAME | SHELL | LANG | SLURM_CONF | PWD) ;;
    *) unset "$llmctl_name" ;;
    esac
done
sbatch --parsable --job-name=baichuan13b_2x8npu-20260101-000000-abcd --nodes=2 '--nodelist=node[1-2]' --gres=npu:8 --ntasks-per-node=1 --signal=B:USR1@120 --no-requeue --output=logs/node1/slurm.log --open-mode=append --export=ALL \
    slurm.sh >slurm.job.new && mv slurm.job.new slurm.job && cat slurm.job
