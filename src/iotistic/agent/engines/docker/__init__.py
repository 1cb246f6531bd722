"""Docker, over its socket.

engine      what the agent wants of an engine, as calls of Docker's API
client      the socket: requests, streams, and what its refusals mean
names       what containers, networks and volumes are called, and their labels
making      a service as Docker is asked for it
reading     what Docker says of a container, as the planner compares it
handover    the service's name in its networks goes from one container to the next
pulling     images, with progress and credentials
keyring     credentials of registries, from a file
settings    what can be set about it
removing    images that nothing needs
networking  networks with a subnet that is written down
happenings  Docker's events
printing    what containers printed
"""
