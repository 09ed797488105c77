"""A small, faithful Kubernetes for tests: an API server over HTTP, and a node that turns pods into real processes.

Knows nothing of the Hub: what it does is what a real cluster does, and `test_server.py` says so to both.

    store.py   the objects, their versions and their history: pure but for the clock, no HTTP
    shapes.py  what the API server knows of an object's shape: defaults, validation, quotas, selectors, patches (pure)
    server.py  the store over HTTP, with faults that a test can switch on
    node.py    scheduler and kubelet: pods become processes, each at a loopback address of its own
"""
