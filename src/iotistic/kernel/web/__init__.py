"""What every HTTP face shares: problem answers, health, metrics, credentials, and a server.

An app is made by `app.create_app`, its routes state what they need through an `auth.AccessRule`, and
`server.serve` runs it inside a loop that somebody else owns.
"""
