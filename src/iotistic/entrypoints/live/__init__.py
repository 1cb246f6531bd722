"""The live table of `iotistic up` and `iotistic watch`.

board.py   what is known, and what the screen says about it (no I/O)
feed.py    asks the API and fills the board
view.py    draws the board
screen.py  the loop
"""
