"""Many objects fitted with one model: what travels to workers, what comes back, the table of it.

    ids, settings ──▶ targets ──sow──▶ recipe(target) = load, fit, analyse ──row──▶ table

`cropfit.catalogue` is the face of it.
"""
