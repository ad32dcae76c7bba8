"""The verbs of the model-router: answering, the registry, and budgets."""
