"""Jobs: what devices are asked to run, when, and what became of it on each.

    template, document --> execute --> job --open--> parts, one for each device
                 schedule --due------^                  |   ^
                                                 notify, poll  report
                                                        v   |
                                                       device

model       jobs, parts, orders; why they are refused   arrivals    a part's life, whatever comes in which order
filters     which devices are meant, as a small tree     selection   the same as SQL with parameters
documents   what devices get of a document               schedules   when a schedule is due
rows, part_rows, schedule_rows, catalogue_rows           rows
catalogue   templates and handlers                       service     execute, cancel, read, delete
scheduling  schedules: made, paused, due                 delivery    poll and report, for devices
keeper      what time brings: starts, ends, retries      messages    MQTT
routes, catalogue_routes, schedule_routes, device_routes

- A job's parts are the truth; its own status is what they come to, settled in the transaction that ends the last.
- Locks are taken in the order: parts, then jobs; whoever adds parts holds the job's advisory lock.
"""
