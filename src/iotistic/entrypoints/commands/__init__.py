"""One module per user command, each exposing `app: cyclopts.App` under the command's name.

The catalogue in `iotistic.entrypoints.catalogue` names them; nothing here is imported before it is used.
"""
