"""Published encoders, one table a family; `catalog` finds a model by name."""
