"""A Ray cluster of two nodes on this machine, with one core each, for as long as its input is open.

Prints its address. A line of input kills the second node, as a power cut would; the end of input ends it all.
"""

import sys

if __name__ == "__main__":
    from ray.cluster_utils import Cluster  # an extra, which other tests do without

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        second = cluster.add_node(**node)
        cluster.wait_for_nodes(timeout=200)
        print(f"address: {cluster.address}", flush=True)
        if sys.stdin.readline():
            cluster.remove_node(second, allow_graceful=False)
            print("killed", flush=True)
            sys.stdin.read()
    finally:
        cluster.shutdown()
