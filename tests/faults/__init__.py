"""Faults: kills, full disks, damage, wrong clocks. ``CROPFIT_FAULTS=full`` runs them at length."""
