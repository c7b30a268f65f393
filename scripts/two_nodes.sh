#!/bin/sh
# Two nodes with a process each on one machine: two network namespaces, which see each other through one cable only.
#   scripts/two_nodes.sh PYTHON ARGUMENT…        needs root and iproute2; the exit code is that of the worse node
# For example: scripts/two_nodes.sh .venv/bin/python -m regulo train trainer=ddp_cpu trainer.devices=auto debug=fast
set -eu
python=$1; shift
a=regulo-a-$$ b=regulo-b-$$ cable=rg$$
clean() {
    for node in "$a" "$b"; do
        for pid in $(ip netns pids "$node" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
        ip netns delete "$node" 2>/dev/null || true
    done
}
trap clean EXIT
trap 'exit 143' TERM INT
ip netns add "$a"
ip netns add "$b"
ip link add "${cable}a" netns "$a" type veth peer name "${cable}b" netns "$b"
ip -n "$a" address add 10.77.0.1/24 dev "${cable}a"
ip -n "$b" address add 10.77.0.2/24 dev "${cable}b"
for node in "$a" "$b"; do ip -n "$node" link set lo up; done
ip -n "$a" link set "${cable}a" up
ip -n "$b" link set "${cable}b" up
node() { # NAMESPACE RANK CABLE-END ARGUMENT…
    where=$1 rank=$2 end=$3; shift 3
    ip netns exec "$where" env GLOO_SOCKET_IFNAME="$end" \
        "$python" -m torch.distributed.run --nnodes 2 --nproc-per-node 1 --node-rank "$rank" \
        --master-addr 10.77.0.1 --master-port 29400 "$@"
}
node "$b" 1 "${cable}b" "$@" & second=$!
first_code=0 second_code=0
node "$a" 0 "${cable}a" "$@" || first_code=$?
wait "$second" || second_code=$?
[ "$first_code" -ge "$second_code" ] && exit "$first_code"
exit "$second_code"
