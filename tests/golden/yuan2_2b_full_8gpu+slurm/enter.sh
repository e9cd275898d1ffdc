# Sourced on every node with NODE_RANK set: activation, environment, network interface, interpreter.
. ./env.sh
case "$NODE_RANK" in
0) LLMCTL_NODE=task0 LLMCTL_SLOTS=8 LLMCTL_INTERFACE=enp67s0f5 ;;
1) LLMCTL_NODE=task1 LLMCTL_SLOTS=8 LLMCTL_INTERFACE=enp67s0f5 ;;
*) echo "launch: no node has rank $NODE_RANK" >&2; exit 2 ;;
esac
export LLMCTL_NODE
if [ -n "$LLMCTL_INTERFACE" ]; then
    export NCCL_SOCKET_IFNAME="=$LLMCTL_INTERFACE"
    export GLOO_SOCKET_IFNAME="$LLMCTL_INTERFACE"
fi
LLMCTL_PYTHON=python3
command -v "$LLMCTL_PYTHON" >/dev/null 2>&1 || { echo "launch: no $LLMCTL_PYTHON on $(hostname)" >&2; exit 127; }
