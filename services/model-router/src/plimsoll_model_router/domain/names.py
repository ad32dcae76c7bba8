"""What names and labels look like in the registry."""

import re

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
NAME_REMEDY = "use lower-case letters, digits and hyphens, beginning with a letter, 63 characters at most"
