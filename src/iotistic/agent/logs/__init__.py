"""What containers and the agent itself say: kept for a while here, and sent to the cloud in small measure.

Engine.logs -> LogCollector --.                  .--> recent(), follow()    device API, iotctl
                               +--> LogHub (ring)+--> LogFiles              if they are wanted
structlog ---> OwnLog --------'                  '--> Sieve -> buffer -> LogShipper -> cloud
"""
