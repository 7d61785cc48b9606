"""The protocols, one folder each, none importing another; beside them what all of them must do alike.

`registry` lists them; `spec` says what a folder holds and how one is added.
"""
