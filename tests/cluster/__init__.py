"""The Hub on a real cluster: the one that HUB_TEST_KUBECONFIG names, as `make test-cluster` sets it.

HUB_TEST_SESSION_IMAGE is the image of deploy/visidata that its nodes have or can fetch. All is done in namespaces that
the tests make and remove, and by exactly the account that deploy/kubernetes gives the Hub; the administrator's makes
what the account may not, and plays the cluster's other users. HUB_TEST_RESTART_API is a command that restarts the API
server and returns; without it, the test of that is left out, and the header says so.
"""
