# Sourced on every node with NODE_RANK set: activation, environment, network interface, interpreter.
if ! command -v conda >/dev/null 2>&1; then
    for llmctl_base in "$HOME/miniconda3" "$HOME/anaconda3" "$HOME/miniforge3" /opt/conda; do
        if [ -x "$llmctl_base/bin/conda" ]; then PATH="$llmctl_base/bin:$PATH"; break; fi
    done
fi
eval "$(conda shell.bash hook)" || { echo "launch: conda was not found on $(hostname)" >&2; exit 78; }
{ source /usr/local/Ascend/ascend-toolkit/set_env.sh
} || { echo "launch: this line failed on $(hostname):" 'source /usr/local/Ascend/ascend-toolkit/set_env.sh' >&2; exit 78; }
{ conda activate llmctl
} || { echo "launch: this line failed on $(hostname):" 'conda activate llmctl' >&2; exit 78; }
. ./env.sh
case "$NODE_RANK" in
0) LLMCTL_NODE=node1 LLMCTL_SLOTS=8 LLMCTL_INTERFACE=enp67s0f5 ;;
1) LLMCTL_NODE=node2 LLMCTL_SLOTS=8 LLMCTL_INTERFACE=enp67s0f5 ;;
*) echo "launch: no node has rank $NODE_RANK" >&2; exit 2 ;;
esac
export LLMCTL_NODE
if [ -n "$LLMCTL_INTERFACE" ]; then
    export HCCL_SOCKET_IFNAME="=$LLMCTL_INTERFACE"
    export GLOO_SOCKET_IFNAME="$LLMCTL_INTERFACE"
fi
LLMCTL_PYTHON=python3
command -v "$LLMCTL_PYTHON" >/dev/null 2>&1 || { echo "launch: no $LLMCTL_PYTHON on $(hostname)" >&2; exit 127; }
