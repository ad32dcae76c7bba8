"""Literal texts inside of expressions."""

_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def text(literal: str) -> str:
    """The expression whose value is this text, whatever it holds: text("it's") is the expression 'it\\'s'."""
    return f"'{''.join(_ESCAPES.get(char) or _plain(char) for char in literal)}'"


def _plain(char: str) -> str:
    return char if char.isprintable() else f"\\U{ord(char):08x}"
