"""Collecting logs on a customer's machine: what the desk asks for, what is read, consent, the bundle, its way to the desk.

This side loads nothing of the service: it runs where nobody has a configuration, and on machines that are in trouble.
"""
