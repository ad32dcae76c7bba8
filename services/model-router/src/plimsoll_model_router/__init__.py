"""The model-router: any model provider behind one neutral contract."""
