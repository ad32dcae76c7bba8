"""The verbs of memory: documents and searches, conversations, uploads, evaluation, watching, upkeep."""
