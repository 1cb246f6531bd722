"""The agent's watch over what its device measures: anomalies are found here, also without a cloud.

machine, sensors -> Measured -> Watches (detection/) -> rules, lessons -> incidents -> Journal -> cloud, people
"""
