# The environment of baichuan13b_2x8npu-20260101-000000-abcd; sourced after the activation lines of the recipe.
# The engine's folder comes first; what the activation put on the path stays (CANN's own modules are found there).
export PYTHONPATH=/data/llmctl/engine/0123456789abcdef"${PYTHONPATH:+:$PYTHONPATH}"
export LLMCTL_RUN_ID=baichuan13b_2x8npu-20260101-000000-abcd
export PYTHONUNBUFFERED=1
export OMP_NUM_THREADS=1
export TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1
export HCCL_CONNECT_TIMEOUT=1200
