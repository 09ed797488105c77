"""`make chaos`: three replicas, hundreds of sessions, and everything that can fail failing at once.

Real Hub processes on one real Postgres, against the emulated API server of `kube`, whose pods have no processes. People
start, stop, restart and delete sessions through the JSON API while replicas are killed, frozen and stopped, Postgres is
restarted, API calls fail, watches break and pods vanish. Then the faults end, and after some time every session must
have exactly the run that it should have, and nothing else may be left.

    plan.py      which fault comes when, from a seed (pure)
    check.py     what the world should be after it, and what in it is not so (pure)
    people.py    who ask for sessions, through whichever replica answers, and what they were promised
    replicas.py  the Hub's processes
    cluster.py   the emulated cluster, and what only a witness of every write to it can see
    run.py       all of it together

Knows the Hub by its outside alone: the JSON API, its table of sessions, the labels of its pods.
"""
