"""The broker's side of the control plane: who may use it, and what goes over it.

topics          filters as MQTT matches them; pure      model           users, rules, refusals
repository      rows of users and rules                 service         users and rules, as people change them
judging         may this name, may this topic           asking_routes   /mosquitto-auth, for brokers that ask
rendering       files that Mosquitto reads; pure        keeper          keeps those files, and the broker with them
agent_crl       revoked agents, for the authority       changes         hears of changes in the database
announcing      tells devices of new targets            brokers         brokers that devices are sent to
observing       samples traffic and $SYS                shape           the schema of payloads; pure
"""
