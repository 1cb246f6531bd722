"""K3s (or any Kubernetes) as an engine, over its HTTP API.

engine      what the agent wants of an engine, as changes of Kubernetes objects
client      requests, streams, and what Kubernetes' refusals mean
access      where the API is and who we are there: inside the cluster, or by a kubeconfig
plain_yaml  the little YAML that kubeconfigs are written in
names       what objects are called, their labels and annotations
making      a service as a Deployment or Job
template    the pods of such a service
reading     what Kubernetes says of it, as the planner compares it
sight       everything of ours at once
pulling     images, by pods that do nothing else
watching    lists that are followed
happenings  what happened to pods, as events of containers
printing    logs
"""
