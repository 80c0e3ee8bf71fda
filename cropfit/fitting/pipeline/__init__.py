"""Staged fits: each stage may hand what it found to those behind it.

    Stage ──▶ Stage ──▶ Stage        stage.py: a name, and the work that it does
      │ values  ▲                    inherit.py: what is handed on, and how it is taken
      └─────────┘
    folder/<stage>/                  keep.py: finished stages, and those that go on

Kinds of work: fitted.py and function.py, command.py and cosmosis.py, which run programs
by process.py. run.py goes through the chain, result.py tells what came of it, config.py
reads it from a file.
"""
