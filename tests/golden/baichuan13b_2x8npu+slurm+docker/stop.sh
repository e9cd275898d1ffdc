#!/bin/sh
# End what baichuan13b_2x8npu-20260101-000000-abcd has in containers on one node:   sh stop.sh NODE SECONDS
llmctl_node=${1:?usage: sh stop.sh NODE SECONDS}
llmctl_seconds=${2:?usage: sh stop.sh NODE SECONDS}
command -v docker >/dev/null 2>&1 || exit 0
found() {
    docker ps --all --quiet --filter label=llmctl.run=baichuan13b_2x8npu-20260101-000000-abcd \
        --filter "label=llmctl.node=$llmctl_node"
}
llmctl_left=$(found) || exit 1
[ -n "$llmctl_left" ] || exit 0
docker stop -t "$llmctl_seconds" "$llmctl_left" >/dev/null 2>&1
for llmctl_try in 1 2 3 4 5 6 7 8 9 10; do
    llmctl_left=$(found) || exit 1
    [ -n "$llmctl_left" ] || exit 0
    docker rm --force "$llmctl_left" >/dev/null 2>&1
    sleep 0.5
done
echo "container $llmctl_left is still there" >&2
exit 1
