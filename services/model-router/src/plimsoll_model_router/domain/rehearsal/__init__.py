"""The rehearsal model: not a language model, but an honest stand-in for one that learns only from its context.

It needs no network, no key and no weights, and always answers the same question in the same way.
"""
