"""The model router in OpenAI's form: existing clients work unchanged, with the same keys, budgets and limits."""
