"""All crops of a folder, grown in turns.

rules     what the TOML file beside the crops says, read again when it changes
rounds    gives turns at the crops that have work to the places that are free
"""
