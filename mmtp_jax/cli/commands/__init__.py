"""The subcommands of ``mmtp``.

Each module has ``add_parser``, which may import nothing heavy, and functions that run a command;
these import the library.
"""
