"""The checks: `common` for every model, one module per category. Category modules never import one another."""
