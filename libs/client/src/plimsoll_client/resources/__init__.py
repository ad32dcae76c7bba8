"""The mesh by noun: one small class per kind of resource, each a thin and typed view of the gateway."""
