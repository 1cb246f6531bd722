"""The pipeline over Kafka: the stages of the direct transport as three processes that scale apart.

    broker -> connector -> raw topic -> processor -> processed topic -> sink -> database
                                            `-----> dead-letter topic ---^

Needs the extra `kafka`.
"""
