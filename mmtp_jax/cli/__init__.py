"""The command ``mmtp``: it parses, calls the library, prints, plots, and does nothing else.

``main`` finds the command, each module of ``commands`` is one or two of them, and the rest is
what they share: ``settings`` (options and TOML from one declaration), ``console`` (messages and
files), ``progress`` and ``plots``.
"""
