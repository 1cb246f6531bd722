"""Updates of agents: ordered by people, held by the broker until the device has heard, followed to their end.

    order -> pending -> acknowledged -> scheduled -> in_progress -> succeeded | failed
                  '----------- superseded | canceled

What a device says may come late, twice or in another order: a status only moves forward.
"""
