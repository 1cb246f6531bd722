"""Jobs: what devices are asked to run, when, and what became of it on each.

    template, document --> execute --> job --open--> parts, one for each device
                 schedule --due------^                  |   ^
                                                 notify, poll  report
                                                        v   |
                                                       device

model       jobs, orders; why they are refused       arrivals    a part's life, in whichever order things come
filters     which devices are meant, as a tree       selection   the same as SQL with parameters
documents   what devices get of a document           schedules   when a schedule is due
orders      what is asked for, checked               placing     a job's devices are chosen
settling    a job is over when its parts are         due_parts   parts that something is to be done with
service     execute, cancel, read, delete            delivery    poll and report, for devices
scheduling  schedules: made, paused, due             catalogue   templates and handlers
keeper      what time brings: starts, ends, retries  messages    MQTT
*rows       rows of each                             *routes     HTTP; schemas and shown are its shapes

- A job's parts are the truth; its own status is what they come to, settled in the transaction that ends the last.
- Locks are taken in the order: parts, then jobs; whoever adds parts holds the job's advisory lock.
"""
