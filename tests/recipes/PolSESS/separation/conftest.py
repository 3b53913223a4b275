"""Puts the helpers of these tests on the path, for the folders below."""
