"""Any checkpoint file as parameters of ours; knows no family."""
