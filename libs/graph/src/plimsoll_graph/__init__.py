"""The graph language: agents as data, in the domain's own terms; read from YAML or JSON, checked, or built in Python."""
