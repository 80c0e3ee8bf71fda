"""Labelled data that grows: functions with named outputs, and the files that collect them."""
